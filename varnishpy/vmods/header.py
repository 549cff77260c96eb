"""VMOD header: headers that stand more than once, with the functions of varnish-modules' VMOD of that name."""

from __future__ import annotations

from varnishpy.http.message import HEADER as HEADER_TAG
from varnishpy.http.message import UNSET as UNSET_TAG
from varnishpy.http.message import Message
from varnishpy.vmods.api import BOOL, HEADER, HTTP, REGEX, STRANDS, STRING, Ctx, HeaderRef, VclFailure

_PLACES = ("req", "req_top", "resp", "bereq", "beresp")


def _changeable(ctx: Ctx, header: HeaderRef, function: str) -> Message | None:
    """The message of a header that may be changed; none where the header has no name."""
    if header.where not in _PLACES:
        raise VclFailure(f"header.{function}(): {header.where}.http.{header.name} is read-only")
    return header.message(ctx) if header.name else None


def append(ctx: Ctx, header: HEADER, text: STRANDS, /) -> None:
    """Add a line; those that are there stay."""
    message = _changeable(ctx, header, "append")
    if message is not None:
        message.add(header.name, text)


def copy(ctx: Ctx, src: HEADER, dst: HEADER, /) -> None:
    """Add a line *dst* for every line *src*."""
    message = _changeable(ctx, dst, "copy")
    if message is not None and src.name:
        for value in src.message(ctx).values(src.lname):
            message.add(dst.name, value)


def get(ctx: Ctx, header: HEADER, regex: REGEX) -> STRING:
    """The first value that matches, or null; an empty value never does."""
    if header.name:
        for value in header.message(ctx).values(header.lname):
            if value and regex.search(value):
                return value
    return None


def remove(ctx: Ctx, header: HEADER, regex: REGEX) -> None:
    """Drop the lines whose value matches; an empty value never does. The log does not tell of it."""
    message = _changeable(ctx, header, "remove")
    if message is None:
        return
    lname = header.lname
    message.headers = [line for line in message.headers if not (line[0] == lname and line[2] and regex.search(line[2]))]


def regsub(ctx: Ctx, http: HTTP, /, regex: REGEX, sub: STRING, all: BOOL = False) -> None:
    r"""Rewrite whole lines, ``Name: value``, as regsub() (*all*: regsuball()) does; ``\1`` stands for a group.

    A line that is no header any more fails the VCL.
    """
    message: Message = http
    rewritten: list[tuple[int, str, str]] = []
    for place, (_lname, name, value) in enumerate(message.headers):
        line = regex.sub(f"{name}: {value}", sub or "", all)
        if line is None:
            continue
        new_name, colon, new_value = line.partition(":")
        if not colon or not new_name or new_name != new_name.strip() or "\n" in line or "\r" in line:
            raise VclFailure(f"header.regsub(): {line!r} is no header")
        rewritten.append((place, new_name, new_value.lstrip(" \t")))
    for place, name, value in rewritten:
        _rewrite(ctx, message, place, name, value)


def _rewrite(ctx: Ctx, message: Message, place: int, name: str, value: str) -> None:
    ctx.account(f"{name}: {value}")
    _lname, old_name, old_value = message.headers[place]
    message.headers[place] = (name.lower(), name, value)
    if message.log is not None:
        message.log.put(message.first_tag + UNSET_TAG, f"{old_name}: {old_value}")
        message.log.put(message.first_tag + HEADER_TAG, f"{name}: {value}")


def dyn(ctx: Ctx, http: HTTP, name: STRING, /) -> HEADER:
    """The header of that name, for the other functions; the name ends where a colon stands."""
    where = next(place for place in _PLACES if getattr(ctx, f"http_{place}") is http)
    return HeaderRef(where, (name or "").partition(":")[0])
