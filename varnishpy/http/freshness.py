"""How long a response may be kept: RFC 9111 section 4.2 as a server-side cache reads it.

The cache stands beside its origin and trusts it: clock differences are tolerated up to ``clock_skew`` and worked
around beyond, stale-while-revalidate (RFC 5861) sets the grace, and only some status codes are kept without being told
to. The result is what ``beresp.ttl``, ``.grace``, ``.keep`` and ``.age`` start with, and the text of the ``TTL`` log
record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from varnishpy.http.dates import parse_date
from varnishpy.http.message import Message

_MAX_SECONDS: Final = 0xFFFFFFFF  # delta-seconds saturate (RFC 9111 section 1.2.2)

# RFC 9110 section 15.1: cacheable by heuristics. 304 is the answer to our own revalidation and inherits a 200's rules.
_CACHEABLE: Final = frozenset((200, 203, 204, 300, 301, 304, 404, 410, 414))
# Kept only when the origin says for how long.
_ONLY_IF_TOLD: Final = frozenset((302, 307))


class FreshnessDefaults(Protocol):
    """The parameters that this calculation reads; ``params`` offers them."""

    @property
    def default_ttl(self) -> float: ...
    @property
    def default_grace(self) -> float: ...
    @property
    def default_keep(self) -> float: ...
    @property
    def clock_skew(self) -> float: ...


@dataclass(slots=True)
class Freshness:
    """Times of a fresh object. ``t_origin`` is wall-clock seconds, the rest durations in seconds.

    ``record`` is the text of the ``TTL`` log record, ``None`` for a pass, of which nothing is logged.
    """

    t_origin: float
    ttl: float
    grace: float
    keep: float
    record: str | None


def parse_seconds(text: str) -> int:
    """Delta-seconds as found in ``Age`` and Cache-Control: 0 for what makes no sense, saturated above 32 bits.

    Behind the digits nothing may follow but blanks and the next list element. So a fraction, which is not an integer,
    makes an ``Age`` ignored and a response stale (RFC 9111 sections 5.1 and 4.2.1).
    """
    text = text.lstrip(" \t")
    digits = 0
    for char in text:
        if char not in "0123456789":
            break
        digits += 1
    rest = text[digits:].lstrip(" \t\r\n")
    if not digits or (rest and rest[0] != ","):
        return 0
    if digits > 10:
        digits_text = text[:digits].lstrip("0")
        if len(digits_text) > 10:
            return _MAX_SECONDS
        return min(int(digits_text or "0"), _MAX_SECONDS)
    return min(int(text[:digits]), _MAX_SECONDS)


# a comma inside a quoted string does not end a directive (RFC 9111 section 5.2)
_QUOTED_PARTS: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')


def directives(cache_control: str) -> list[str]:
    """The members of a Cache-Control field, blanks and empty ones aside."""
    parts = _QUOTED_PARTS.findall(cache_control) if '"' in cache_control else cache_control.split(",")
    return [part for part in (each.strip(" \t") for each in parts) if part]


def directive(cache_control: str, name: str) -> str | None:
    """The argument of a Cache-Control directive, ``None`` when the directive is absent or has none.

    An argument may be quoted whatever its definition says (RFC 9111 section 5.2).
    """
    for part in directives(cache_control):
        found, equals, value = part.partition("=")
        if found.rstrip(" \t").lower() == name:
            if not equals:
                return None
            value = value.lstrip(" \t")
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return None


def compute(
    beresp: Message, now: float, defaults: FreshnessDefaults, *, private: bool = False, uncacheable: bool = False
) -> Freshness:
    """Freshness of a response just received.

    :param now: wall-clock time of the response
    :param private: this is a pass: only the age counts
    :param uncacheable: what the record says at its end
    """
    t_origin = now
    age = beresp.get("age")
    if age is not None:
        t_origin -= parse_seconds(age)
    if private:
        return Freshness(t_origin, -1.0, 0.0, 0.0, None)

    cache_control = beresp.joined("cache-control") or ""
    expires_text = beresp.get("expires")
    date_text = beresp.get("date")
    expires = parse_date(expires_text) if expires_text else 0.0
    date = parse_date(date_text) if date_text else 0.0
    max_age = 0
    status = beresp.status
    ttl = defaults.default_ttl
    if status in _CACHEABLE or status in _ONLY_IF_TOLD:
        if status in _ONLY_IF_TOLD:
            ttl = -1.0
        told = directive(cache_control, "s-maxage")
        if told is None:
            told = directive(cache_control, "max-age")
        if told is not None:
            max_age = parse_seconds(told)
            ttl = float(max_age)
        elif expires:
            ttl = _from_expires(expires, date, now, defaults.clock_skew)
        elif expires_text is not None:
            ttl = 0.0  # no date: in the past (section 5.3)
    else:
        ttl = -1.0

    grace = defaults.default_grace
    if ttl >= 0.0:
        stale = directive(cache_control, "stale-while-revalidate")
        if stale is not None:
            grace = float(parse_seconds(stale))
    keep = defaults.default_keep
    record = (
        f"RFC {ttl:.0f} {grace:.0f} {keep:.0f} {now:.0f} {t_origin:.0f} {date:.0f} {expires:.0f} {max_age} "
        f"{'uncacheable' if uncacheable else 'cacheable'}"
    )
    return Freshness(t_origin, ttl, grace, keep, record)


def _from_expires(expires: float, date: float, now: float, clock_skew: float) -> float:
    """Lifetime from ``Expires``, by our clock where the origin's agrees with it, else by the origin's alone."""
    if expires < date:
        return 0.0
    if not date or abs(date - now) < clock_skew:
        return max(0.0, expires - now)
    return float(int(expires - date))
