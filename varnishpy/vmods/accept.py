"""VMOD accept: Accept-like headers cut down to one of a few known values (after varnish-modules' VMOD accept)."""

from __future__ import annotations

import re

from varnishpy.base.locks import make_lock
from varnishpy.vmods.api import STRING, Ctx

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z/]+"
_ITEM = re.compile(rf"[ \t]*({_TOKEN}|\*)[ \t]*")
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')
_QUALITY = re.compile(r"[01](?:\.[0-9]*)?")


def _quality(text: str) -> float | None:
    if _QUALITY.fullmatch(text) is None:
        return None
    value = float(text)
    return value if value <= 1 else None


def _items(header: str) -> list[tuple[str, float]] | None:
    """The values with their quality (RFC 9110 section 12.4.2), or none at all if there is a mistake in it."""
    found: list[tuple[str, float]] = []
    at = 0
    while True:
        item = _ITEM.match(header, at)
        if item is None:
            return None
        at = item.end()
        quality = 1.0
        while (parameter := _PARAMETER.match(header, at)) is not None:
            at = parameter.end()
            if parameter[1].lower() == "q":
                given = _quality(parameter[2])
                if given is None:
                    return None
                quality = given
        found.append((item[1], quality))
        if at == len(header):
            return found
        if header[at] != ",":
            return None
        at += 1


class rule:
    """Values that are known, and which one stands for all others."""

    def __init__(self, ctx: Ctx, vcl_name: str, string: STRING) -> None:
        self._fallback = string
        self._known: dict[str, str] = {}  # in lower case to as added; replaced, never changed
        self._lock = make_lock("vmod_accept")

    def add(self, ctx: Ctx, string: STRING) -> None:
        """Know one more value."""
        if string is not None:
            with self._lock:
                self._known = {string.lower(): string} | self._known

    def remove(self, ctx: Ctx, string: STRING) -> None:
        """Know one less."""
        if string is not None:
            with self._lock:
                self._known = {low: value for low, value in self._known.items() if low != string.lower()}

    def filter(self, ctx: Ctx, string: STRING) -> STRING:
        """Of the known values in a header the one with the highest q, as it was added; else the fallback.

        So also where the header has a mistake anywhere. The first of equals counts.
        """
        best, best_quality = self._fallback, 0.0
        for value, quality in _items(string or "") or ():
            known = self._known.get(value.lower())
            if known is not None and quality > best_quality:
                best, best_quality = known, quality
        return best
