"""What can end a script early.

``ScriptError`` is the author's mistake (syntax, unknown word, missing macro): an *error* (exit 2).
``TestFailed`` is the finding a test exists for (exit 1).  ``TestAborted`` only unwinds threads of a test whose verdict
is already known.
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Where in a script: file name, line and column, both counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Position("<internal>", 0, 0)


class Place(NamedTuple):
    """A command of a script: where it stands, and its first line."""

    position: Position
    shown: str

    def __str__(self) -> str:
        return f"{self.position}: in '{self.shown[:60]}'"


class VtcError(Exception):
    """Base of everything this room raises."""


class ScriptError(VtcError):
    """The script itself is wrong; ``position`` says where, the text what was expected."""

    def __init__(self, text: str, position: Position = NOWHERE) -> None:
        super().__init__(text)
        self.text = text
        self.position = position

    def __str__(self) -> str:
        return f"{self.position}: {self.text}"


class TestFailed(VtcError):
    """An expectation did not hold, or a party did not do its part."""

    __test__ = False

    def __init__(self, text: str, position: Position | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.position = position


class TestAborted(VtcError):
    """Raised in threads of a test that has already failed, been skipped or ended."""

    __test__ = False


class MacroError(VtcError):
    """A ``${...}`` could not be expanded."""
