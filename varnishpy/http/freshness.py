"""How long a response may be kept: RFC 9111 section 4.2 as a server-side cache reads it.

The cache stands beside its origin and trusts it: clock differences are tolerated up to ``clock_skew`` and worked
around beyond, stale-while-revalidate (RFC 5861) sets the grace, and only some status codes are kept without being told
to. The result is what ``beresp.ttl``, ``.grace``, ``.keep`` and ``.age`` start with, and the text of the ``TTL`` log
record.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from varnishpy.http.control import directive, in_force, names_in, surrogate_control, understood
from varnishpy.http.dates import parse_date
from varnishpy.http.message import Message
from varnishpy.params import params

_MAX_SECONDS: Final = 0xFFFFFFFF  # delta-seconds saturate (RFC 9111 section 1.2.2)

# RFC 9110 section 15.1: cacheable by heuristics. 304 is the answer to our own revalidation and inherits a 200's rules.
_CACHEABLE: Final = frozenset((200, 203, 204, 300, 301, 304, 404, 410, 414))
# Kept only when the origin says for how long: all that Varnish keeps then.
_ONLY_IF_TOLD: Final = frozenset((302, 307))
# RFC 9110 section 15.1 in full
_HEURISTIC: Final = _CACHEABLE | {308, 405, 501}
# Kept not even then: parts, which are not put together here, and answers about parts
_NEVER: Final = frozenset((206, 416))
# Never served stale (RFC 9111 sections 5.2.2.2, 5.2.2.8 and 5.2.2.10)
_REVALIDATED: Final = frozenset(("must-revalidate", "proxy-revalidate", "s-maxage"))
#: statuses whose meaning for a cache is known here (RFC 9111 section 5.2.2.3)
UNDERSTOOD: Final = _HEURISTIC | _ONLY_IF_TOLD | {303, 400, 401, 403, 406, 409, 411, 412, 413, 415, 500, 502, 503, 504}


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


@dataclass(slots=True, frozen=True)
class Policy:
    """In what the RFC is followed where Varnish goes another way: bits of ``feature``, see params/bits.py.

    :ivar compat: in nothing that is not asked for; otherwise any status of the classes 2, 3 and 4 is kept when told
    """

    compat: bool = False
    must_revalidate: bool = False
    explicit_grace: bool = False
    heuristic: bool = False
    age: bool = False
    all_statuses: bool = False
    no_cache: bool = False
    stale_if_error: bool = False
    targets: tuple[str, ...] = ()


_VARNISH: Final = Policy()


def current_policy() -> Policy:
    """What the parameters say at this moment."""
    feature = params.feature
    return Policy(
        compat=feature.cache_compat,
        must_revalidate=feature.must_revalidate,
        explicit_grace=feature.explicit_grace,
        heuristic=feature.heuristic,
        age=feature.age,
        all_statuses=feature.all_statuses,
        no_cache=feature.no_cache,
        stale_if_error=feature.stale_if_error,
        targets=current_targets(),
    )


def current_targets() -> tuple[str, ...]:
    """Lower-case names of the targeted fields that are obeyed at this moment."""
    return _names(params.targeted_fields) if params.feature.targeted else ()


@lru_cache(8)
def _names(text: str) -> tuple[str, ...]:
    return tuple(text.lower().replace(",", " ").split())


def current_directives(beresp: Message) -> str:
    """The cache directives in force for a response, in the syntax of Cache-Control: ``beresp.cache_control``."""
    surrogate = surrogate_control(beresp)
    if surrogate is not None:
        return surrogate
    control = in_force(beresp, current_targets())
    return understood(control, beresp.status in UNDERSTOOD) if params.feature.all_statuses else control.text


def compute(
    beresp: Message,
    now: float,
    defaults: FreshnessDefaults,
    *,
    private: bool = False,
    uncacheable: bool = False,
    policy: Policy = _VARNISH,
    asked: float = 0.0,
) -> Freshness:
    """Freshness of a response just received.

    :param now: wall-clock time of the response
    :param private: this is a pass: only the age counts
    :param uncacheable: what the record says at its end
    :param asked: wall-clock time of the request, 0 if not known
    """
    date_text = beresp.get("date")
    date = parse_date(date_text) if date_text else 0.0
    t_origin = now - _age(beresp, now, date, asked if policy.age else now, policy.age)
    if private:
        return Freshness(t_origin, -1.0, 0.0, 0.0, None)

    control = in_force(beresp, policy.targets)
    expires_text = None if control.targeted else beresp.get("expires")
    expires = parse_date(expires_text, not policy.compat) if expires_text else 0.0
    max_age = 0
    status = beresp.status
    told = directive(control.text, "s-maxage")
    if told is None:
        told = directive(control.text, "max-age")
    ttl = -1.0
    if told is not None or expires_text is not None:
        if status in _CACHEABLE or status in _ONLY_IF_TOLD or (not policy.compat and _may_be_told(status, policy)):
            if told is not None:
                max_age = parse_seconds(told)
                ttl = float(max_age)
            elif expires:
                ttl = _from_expires(expires, date, now, 0.0 if policy.age else defaults.clock_skew)
            else:
                ttl = 0.0  # no date: in the past (section 5.3)
    elif policy.heuristic:
        ttl = _heuristic(beresp, control.text, date or now, defaults.default_ttl, policy.all_statuses)
    elif status in _CACHEABLE:
        ttl = defaults.default_ttl

    names = names_in(control.text)
    keep = defaults.default_keep
    grace = defaults.default_grace
    if ttl >= 0.0 and "no-cache" in names and policy.no_cache:
        ttl, grace, keep = 0.0, 0.0, keep + grace  # stored, and asked about each time (section 5.2.2.4)
    if policy.explicit_grace:
        keep, grace = keep + grace, 0.0  # what Varnish would serve stale is asked about
    if ttl >= 0.0:
        stale = directive(control.text, "stale-while-revalidate")
        if stale is not None and not (policy.no_cache and "no-cache" in names):
            grace = float(parse_seconds(stale))
        if not names.isdisjoint(_REVALIDATED) and policy.must_revalidate:
            keep, grace = keep + grace, 0.0
        elif policy.stale_if_error:
            keep = max(keep, float(parse_seconds(directive(control.text, "stale-if-error") or "")))
    record = (
        f"RFC {ttl:.0f} {grace:.0f} {keep:.0f} {now:.0f} {t_origin:.0f} {date:.0f} {expires:.0f} {max_age} "
        f"{'uncacheable' if uncacheable else 'cacheable'}"
    )
    return Freshness(t_origin, ttl, grace, keep, record)


def _may_be_told(status: int, policy: Policy) -> bool:
    """Is a response of this status kept when it says how long? (RFC 9111 section 3: any final one may be)"""
    return status not in _NEVER and (status < 500 or policy.all_statuses)


def _age(beresp: Message, now: float, date: float, asked: float, apparent: bool) -> float:
    """The age of a response as it arrives, in seconds (section 4.2.3).

    :param asked: when it was asked for: it may have been on its way since then
    :param apparent: believe the origin's clock, whose ``Date`` may be older than its ``Age`` says
    """
    said = beresp.get("age")
    age = float(parse_seconds(said)) if said is not None else 0.0
    if asked:
        age += max(0.0, now - asked)
    return max(age, now - date) if apparent and date else age


def _heuristic(beresp: Message, cache_control: str, date: float, most: float, all_statuses: bool) -> float:
    """A tenth of the time since the response was modified, where nothing is said (section 4.2.2)."""
    status = beresp.status
    if status not in _HEURISTIC and not ("public" in names_in(cache_control) and all_statuses and status not in _NEVER):
        return -1.0
    modified_text = beresp.get("last-modified")
    modified = parse_date(modified_text) if modified_text else 0.0
    return min(most, max(0.0, (date - modified) / 10)) if modified else 0.0


def may_serve_on_error(stored: Message, expired_since: float, cut_off: float, policy: Policy) -> bool:
    """May a stored response be served although it is stale, because there is no new one?

    :param expired_since: seconds since it became stale
    :param cut_off: seconds for which that is so without ``stale-if-error`` (RFC 5861 section 4) too: the origin cannot
        be reached (RFC 9111 section 4.2.4); 0 if it can
    """
    text = in_force(stored, policy.targets).text
    if not names_in(text).isdisjoint(_REVALIDATED | {"no-cache"}):
        return False
    allowed = directive(text, "stale-if-error")
    return expired_since <= (parse_seconds(allowed) if allowed is not None else cut_off)


def _from_expires(expires: float, date: float, now: float, clock_skew: float) -> float:
    """Lifetime from ``Expires``, by our clock where the origin's agrees with it, else by the origin's alone."""
    if expires < date:
        return 0.0
    if not date or abs(date - now) < clock_skew:
        return max(0.0, expires - now)
    return float(int(expires - date))
