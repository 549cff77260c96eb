"""Validators: conditional delivery, strong and weak comparison, what a filter must do to an ETag (RFC 9110
sections 8.8, 13).
"""

from __future__ import annotations

import re
from typing import Final

from varnishpy.http.dates import parse_date
from varnishpy.http.message import Message

# An entity tag, or what some origins send in place of one (RFC 9110 section 8.8.3); its quotes may hold commas.
_TAGS: Final = re.compile(r'((?:W/)?"[^"]*"|[^", \t][^",]*)')


def is_weak(etag: str) -> bool:
    """Is this entity tag marked weak?"""
    return etag.startswith("W/")


def strong_match(one: str, other: str) -> bool:
    """RFC 9110 section 8.8.3.2, strong comparison."""
    return one == other and not is_weak(one)


def weak_match(one: str, other: str) -> bool:
    """RFC 9110 section 8.8.3.2, weak comparison."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def none_match(field: str, etag: str | None, strong: bool = False) -> bool:
    """Is the condition of an ``If-None-Match`` false, so that there is nothing to send? (RFC 9110 section 13.1.2)

    :param field: all lines of the header, joined: ``*`` or a list of entity tags
    :param etag: of what would be sent, if it has one
    :param strong: compare strongly, where the RFC wants the weak comparison
    """
    if field.strip(" \t") == "*":
        return True
    if etag is None:
        return False
    same = strong_match if strong else weak_match
    etag = etag.rstrip(" \t")
    return any(same(tag.rstrip(" \t"), etag) for tag in _TAGS.findall(field))


def not_modified(
    request: Message, response: Message, t_req: float, last_modified: float, strong_in_ranges: bool = False
) -> bool:
    """May a 200 to GET or HEAD be answered with 304?

    ``If-Modified-Since`` counts only where there is no ``If-None-Match`` (RFC 9110 section 13.2.2).

    :param t_req: when the request arrived; a date after that is ignored
    :param last_modified: the object's time of modification as stored, used where the response carries none
    :param strong_in_ranges: compare entity tags strongly when the request has a Range, as Varnish does
    """
    if response.status != 200:
        return False
    if request.has("if-none-match"):
        wanted = request.joined("if-none-match") or ""
        return none_match(wanted, response.get("etag"), strong_in_ranges and request.has("range"))
    since = request.get("if-modified-since")
    if since is None:
        return False
    moment = parse_date(since)
    if not moment or moment > t_req:
        return False
    modified = response.get("last-modified")
    if modified is not None:
        parsed = parse_date(modified)
        return bool(parsed) and parsed <= moment
    return last_modified <= moment


def range_applies(request: Message, response: Message) -> bool:
    """Does ``If-Range`` let the Range header count? (RFC 9110 section 13.1.5)"""
    condition = request.get("if-range")
    if condition is None:
        return True
    if is_weak(condition):
        return False
    if condition.startswith('"'):
        etag = response.get("etag")
        return etag is not None and strong_match(condition, etag)
    wanted = parse_date(condition)
    date = parse_date(response.get("date") or "")
    modified = parse_date(response.get("last-modified") or "")
    if not wanted or not date or not modified:
        return False
    return modified <= date + 60 and modified == wanted


def strong_last_modified(response: Message) -> str | None:
    """``Last-Modified`` when it is a strong validator: at least one second before ``Date`` (section 8.8.2.2)."""
    modified = response.get("last-modified")
    date = response.get("date")
    if modified is None or date is None:
        return None
    t_modified = parse_date(modified)
    t_date = parse_date(date)
    return modified if t_modified and t_date and t_modified + 1 <= t_date else None


def weaken_etag(response: Message) -> None:
    """The octets change, the meaning does not: a strong ETag becomes weak."""
    etag = response.get("etag")
    if etag is not None and not is_weak(etag):
        response.set("ETag", f"W/{etag}")


def vary_on_encoding(response: Message) -> None:
    """Add ``Accept-Encoding`` to ``Vary`` unless it is there."""
    if response.has_token("vary", "accept-encoding"):
        return
    old = response.get("vary")
    response.set("Vary", "Accept-Encoding" if old is None else f"{old}, Accept-Encoding")
