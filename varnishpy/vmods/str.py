"""VMOD str: parts of strings, with the functions of varnish-modules' VMOD of that name.

Lengths and places count octets. A string that is not there gives null, false, or -1 for its length.
"""

from __future__ import annotations

import functools
import re

from varnishpy.vmods.api import BOOL, INT, STRING, Ctx


def count(ctx: Ctx, s: STRING) -> INT:
    """The length, -1 of null."""
    return -1 if s is None else len(s)


def startswith(ctx: Ctx, s1: STRING, s2: STRING) -> BOOL:
    """Does *s1* begin with *s2*?"""
    return s1 is not None and s2 is not None and s1.startswith(s2)


def endswith(ctx: Ctx, s1: STRING, s2: STRING) -> BOOL:
    """Does *s1* end with *s2*?"""
    return s1 is not None and s2 is not None and s1.endswith(s2)


def contains(ctx: Ctx, s1: STRING, s2: STRING) -> BOOL:
    """Is *s2* part of *s1*?"""
    return s1 is not None and s2 is not None and s2 in s1


def take(ctx: Ctx, s: STRING, n: INT, offset: INT = 0) -> STRING:
    """The *n* octets from *offset* on.

    A negative offset counts from the end; a negative *n* takes those before the offset, or the last ones where the
    offset is 0. What lies outside the string is left out.
    """
    if s is None:
        return None
    start = offset
    if start < 0 or (start == 0 and n < 0):
        start += len(s)
    first, last = (start, start + n) if n >= 0 else (start + n, start)
    return ctx.account(s[max(first, 0) : max(last, 0)])


def reverse(ctx: Ctx, s: STRING) -> STRING:
    """The octets in the opposite order."""
    return None if s is None else ctx.account(s[::-1])


@functools.lru_cache(maxsize=256)
def _splitter(separators: str) -> re.Pattern[str] | None:
    return re.compile(f"[{re.escape(separators)}]+") if separators else None


def _tokens(text: str, separators: str) -> list[str]:
    splitter = _splitter(separators)
    return [part for part in (splitter.split(text) if splitter is not None else [text]) if part]


def split(ctx: Ctx, S: STRING, n: INT, sep: STRING = " \t") -> STRING:
    """The *n*-th token, the first being 1 and the last -1; null if there is none.

    Any run of characters of *sep* parts tokens.
    """
    tokens = _tokens(S or "", sep or "")
    if n == 0 or abs(n) > len(tokens):
        return None
    return ctx.account(tokens[n - 1 if n > 0 else n])


def token_intersect(ctx: Ctx, s1: STRING, s2: STRING, separators: STRING = " ,") -> BOOL:
    """Is any token of *s1* one of *s2* too?"""
    marks = separators or ""
    return not set(_tokens(s1 or "", marks)).isdisjoint(_tokens(s2 or "", marks))
