"""Structured field values (RFC 9651): what newer header fields are written in.

Only what fields of this cache need is kept of them: values, without their parameters. Text that is not valid must be
ignored as a whole (section 4.2), so every function raises `StructuredError` for it.
"""

from __future__ import annotations

import base64
import re
from enum import Enum
from typing import Final, TypeAlias

from varnishpy.base.compiled import mypyc_attr


class StructuredError(ValueError):
    """No valid structured field."""


@mypyc_attr(native_class=False)
class Token(str):
    """A token, which is told from a string by being written without quotes."""

    __slots__ = ()


class Boolean(Enum):
    """A boolean. Not Python's own, which is an integer as well: compiled code makes one type of the two."""

    FALSE = "?0"
    TRUE = "?1"


Bare: TypeAlias = Boolean | int | float | str | bytes
Value: TypeAlias = Bare | list[Bare]

_SPACES: Final = re.compile(r"[ \t]*")
_KEY: Final = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_NUMBER: Final = re.compile(r"-?([0-9]{1,15})(?:\.([0-9]{1,3}))?(?![0-9.])")
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/=]*):")
_ESCAPE: Final = re.compile(r"\\(.)")


class _Reader:
    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text.strip(" ")
        self._at = 0

    def ended(self) -> bool:
        return self._at >= len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _accept(self, char: str) -> bool:
        if self._text.startswith(char, self._at):
            self._at += len(char)
            return True
        return False

    def key(self) -> str:
        found = self._take(_KEY)
        if found is None:
            raise StructuredError("no key")
        return found[0]

    def next_member(self) -> bool:
        """The comma behind a member; False at the end."""
        self._take(_SPACES)
        if self.ended():
            return False
        if not self._accept(","):
            raise StructuredError("no comma")
        self._take(_SPACES)
        if self.ended():
            raise StructuredError("a comma at the end")
        return True

    def assigned(self) -> Value:
        """What follows a dictionary's key: nothing means true."""
        if self._accept("="):
            return self.member()
        self._parameters()
        return Boolean.TRUE

    def member(self) -> Value:
        """An item or an inner list, with its parameters."""
        value: Value
        if not self._accept("("):
            value = self._bare()
        else:
            value = []
            while True:
                self._take(_SPACES)
                if self._accept(")"):
                    break
                value.append(self._bare())
                self._parameters()
                if not self._text.startswith((" ", ")"), self._at):
                    raise StructuredError("an inner list that does not end")
        self._parameters()
        return value

    def _parameters(self) -> None:
        while self._accept(";"):
            self._take(_SPACES)
            self.key()
            if self._accept("="):
                self._bare()

    def _bare(self) -> Bare:
        found = self._take(_STRING)
        if found is not None:
            return _ESCAPE.sub(r"\1", found[1])
        found = self._take(_NUMBER)
        if found is not None:
            if found[2] is None:
                return int(found[0])
            if len(found[1]) > 12:
                raise StructuredError("a decimal of too many digits")
            return float(found[0])
        found = self._take(_TOKEN)
        if found is not None:
            return Token(found[0])
        found = self._take(_BYTES)
        if found is not None:
            try:
                return base64.b64decode(found[1], validate=True)
            except ValueError:
                raise StructuredError("no base 64") from None
        for boolean in Boolean:
            if self._accept(boolean.value):
                return boolean
        raise StructuredError("no item")


def parse_dictionary(text: str) -> dict[str, Value]:
    """The members of a dictionary; of a key that stands twice the last one counts."""
    reader = _Reader(text)
    found: dict[str, Value] = {}
    if reader.ended():
        return found
    while True:
        key = reader.key()
        value = reader.assigned()
        found.pop(key, None)
        found[key] = value
        if not reader.next_member():
            return found
