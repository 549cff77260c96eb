"""Which content codings a client takes (RFC 9110 section 12.5.3).

The cache itself knows gzip, in which it keeps objects for all clients. Other codings, those of ``http_codings``, make
variants: the one that a client gets is the first word of its Accept-Encoding as the cache has rewritten it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from varnishpy.http.message import Message

#: codings beside gzip that there are filters for (RFC 7932, RFC 8878)
CODINGS: Final = frozenset({"br", "zstd"})

# What counts of a weight: octets behind it that make no number are overlooked, as the reference overlooks them.
_NUMBER = re.compile(r"[0-9]*\.?[0-9]*", re.ASCII).match


def accepts_gzip(request: Message) -> bool:
    """Does the client take gzip?

    ``x-gzip`` is for clients of HTTP/1.0 and knows no weights: that it is there is enough. Otherwise the first ``gzip``
    decides, which must not have weight 0. VCL's ``req.can_gzip`` and delivery both ask here.
    """
    value = request.joined("accept-encoding")
    if value is None:
        return False
    if value == "gzip":
        return True
    weight: float | None = None
    for element in value.split(","):
        coding, _, parameters = element.partition(";")
        coding = coding.strip(" \t").lower()
        if coding == "x-gzip":
            return True
        if coding == "gzip" and weight is None:
            weight = _weight(parameters)
    return weight is not None and weight > 0.0


def chosen(request: Message, codings: Sequence[str]) -> str | None:
    """What Accept-Encoding becomes: one spelling for all clients that are served alike, so that variants are few.

    :param codings: those beside gzip that may be used, the best first
    """
    gzip = "gzip" if accepts_gzip(request) else None
    value = request.joined("accept-encoding") if codings else None
    if value:
        weights: dict[str, float] = {}
        for element in value.split(","):
            coding, _, parameters = element.partition(";")
            weights.setdefault(coding.strip(" \t").lower(), _weight(parameters))
        for coding in codings:
            if weights.get(coding, 0.0) > 0.0:
                return coding if gzip is None else f"{coding}, gzip"
    return gzip


def beyond_gzip(value: str | None) -> str:
    """The coding beside gzip that an Accept-Encoding made by `chosen` asks for, empty if none."""
    first = value.partition(",")[0] if value else ""
    return first if first in CODINGS else ""


def _weight(parameters: str) -> float:
    """The ``q`` of a list element; 1 where there is none, 0 where it is no number."""
    for parameter in parameters.split(";"):
        name, equals, value = parameter.partition("=")
        if equals and name.strip(" \t").lower() == "q":
            found = _NUMBER(value.strip(" \t"))
            digits = found[0] if found is not None else ""
            return float(digits) if digits.strip(".") else 0.0
    return 1.0
