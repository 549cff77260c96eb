"""The comparisons of ``expect``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import pcre2

from . import numbers
from .log import Voice

UNDEFINED = "<undef>"

_INTEGER: dict[str, Callable[[int, int], bool]] = {
    "-lt": lambda left, right: left < right,
    "-le": lambda left, right: left <= right,
    "-eq": lambda left, right: left == right,
    "-ne": lambda left, right: left != right,
    "-ge": lambda left, right: left >= right,
    "-gt": lambda left, right: left > right,
}
_REAL: dict[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
OPERATORS = ("==", "!=", "~", "!~", *_REAL, *_INTEGER)


class RegexError(ValueError):
    """A regular expression that does not compile; the text says why and where."""


@lru_cache(maxsize=256)
def compile_regex(pattern: str, caseless: bool = False) -> pcre2.Pattern:
    """A pattern over octets, in PCRE2's syntax as everywhere in Varnish.  Raises RegexError."""
    try:
        return pcre2.compile(pattern.encode("latin-1", "replace"), pcre2.IGNORECASE if caseless else 0)
    except (pcre2.PatternError, pcre2.LibraryError, ValueError) as error:
        raise RegexError(str(error)) from None


def matches(pattern: str, text: str | bytes) -> bool:
    """Whether the pattern is found anywhere in the text.  Raises RegexError."""
    raw = text.encode("latin-1", "replace") if isinstance(text, str) else text
    return compile_regex(pattern).search(raw) is not None


def compare(left: str | None, operator: str, right: str | None) -> bool:
    """Whether the comparison holds.  Raises RegexError; KeyError for an operator that does not exist."""
    missing = left is None or right is None
    left = UNDEFINED if left is None else left
    right = UNDEFINED if right is None else right
    if operator == "==":
        return left == right
    if operator == "!=":
        return left != right
    if operator == "~":
        return matches(right, left)
    if operator == "!~":
        return not matches(right, left)
    if operator in _INTEGER:
        return _INTEGER[operator](numbers.unsigned(left), numbers.unsigned(right))
    test = _REAL[operator]
    if missing:
        return False
    one, other = numbers.number(left), numbers.number(right)
    if math.isnan(one) or math.isnan(other):
        return False
    return test(one, other)


def expect(voice: Voice, name: str, left: str | None, operator: str, other: str, right: str | None) -> None:
    """One ``expect`` line: logs the outcome, fails the test if it does not hold."""
    shown_left = UNDEFINED if left is None else left
    shown_right = UNDEFINED if right is None else right
    try:
        good = compare(left, operator, right)
    except RegexError as error:
        voice.fatal(f"REGEXP error: {error} ({shown_right})")
    except KeyError:
        voice.fatal(f"EXPECT {name} ({shown_left}) {operator} {other} ({shown_right}) test not implemented")
    if not good:
        voice.fatal(f'EXPECT {name} ({shown_left}) {operator} "{shown_right}" failed')
    voice.say(4, f'EXPECT {name} ({shown_left}) {operator} "{shown_right}" match')
