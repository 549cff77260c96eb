"""What the words behind commands and options must look like, by the names that tables give them.

``SECONDS`` is a number of seconds wherever a row says so: the interpreter refuses anything else before the command
runs, ``--check`` without running it, and what a command does can rely on it. ``true|false`` is one of these. A name
that is not listed takes any word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import numbers
from .compare import RegexError, compile_regex
from .errors import ScriptError
from .text import Text

Kind = Callable[[str], str]
"""Says what was expected instead of a word; "" if the word is as it should be."""

PADDING_LIMIT = 255
_CHOICE = re.compile(r"[^A-Z]+\|[^A-Z]+")


def _seconds(word: str) -> str:
    value = numbers.number(word)
    return "a number" if value != value else ""


def _hex(word: str) -> str:
    try:
        numbers.hex_bytes(word)
    except ValueError:
        return "pairs of hexadecimal digits"
    return ""


def _length(word: str) -> str:
    return "" if numbers.unsigned(word) > 0 else "a length above 0"


def _padding_length(word: str) -> str:
    return "" if 0 < numbers.unsigned(word) <= PADDING_LIMIT else f"a length from 1 to {PADDING_LIMIT}"


def _padding(word: str) -> str:
    return "" if len(word) <= PADDING_LIMIT else f"at most {PADDING_LIMIT} characters"


def _regex(word: str) -> str:
    try:
        compile_regex(word)
    except RegexError as error:
        return f"a regular expression ({error})"
    return ""


def _unsigned(bits: int = 0) -> Kind:
    expected = f"an unsigned number of {bits} bits" if bits else "an unsigned number"

    def judge(word: str) -> str:
        value = numbers.whole_unsigned(word)
        return expected if value is None or (bits and value >> bits) else ""

    return judge


def _count(word: str) -> str:
    return "" if numbers.whole_unsigned(word) else "a number above 0"


def one_of(choices: tuple[str, ...]) -> Kind:
    """The kind of a word out of a few."""
    expected = f"one of: {' '.join(choices)}"
    return lambda word: "" if word in choices else expected


def _eight(word: str) -> str:
    return "" if len(word) == 8 else "8 characters"


KINDS: dict[str, Kind] = {
    "SECONDS": _seconds,
    "VERSION": _seconds,
    "HEX": _hex,
    "LENGTH": _length,
    "PADDING": _padding,
    "PADDING-LENGTH": _padding_length,
    "REGEX": _regex,
    "UINT": _unsigned(),
    "UINT8": _unsigned(8),
    "UINT31": _unsigned(31),
    "UINT32": _unsigned(32),
    "COUNT": _count,
    "8-CHARACTERS": _eight,
}


def check(command: str, name: str, word: Text, own: Mapping[str, Kind] = MappingProxyType({})) -> None:
    """See that a word is what its name in the table says; ``own`` are the kinds only that row knows.

    Raises ScriptError saying what was expected.
    """
    if "${" in word:
        return  # to be expanded, or allowed to be no macro
    kind = own.get(name) or KINDS.get(name)
    if kind is None:
        if not _CHOICE.fullmatch(name):
            return
        kind = one_of(tuple(name.split("|")))
    expected = kind(word)
    if expected:
        shown = word if len(word) < 40 else word[:40] + "..."
        raise ScriptError(f"{command}: expected {expected}, not {shown!r}", word.locate())
