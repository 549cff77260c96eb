"""Script text that remembers where it came from.

The language nests: a brace token of one line is itself a script, run later by another thread, after macros in it have
been replaced.  ``Text`` is a ``str`` with a map back to the file, so that an error deep inside still names the line
and column the author wrote.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from .errors import NOWHERE, Position


class Source:
    """One file (or string) of script text, with the offsets at which its lines begin."""

    __slots__ = ("_starts", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        starts = [0]
        at = text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = text.find("\n", at + 1)
        self._starts = starts

    def position(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset)
        return Position(self.name, line, offset - self._starts[line - 1] + 1)


class Mark:
    """From ``at`` in a text on, character i stands at ``origin + (i - at)``; ``fixed`` text wholly at ``origin``."""

    __slots__ = ("at", "fixed", "origin")

    def __init__(self, at: int, origin: int, fixed: bool = False) -> None:
        self.at = at
        self.origin = origin
        self.fixed = fixed

    def offset(self, index: int) -> int:
        return self.origin if self.fixed else self.origin + index - self.at


class Text(str):
    """A string with a map from its characters to a ``Source``."""

    __slots__ = ("marks", "source")

    source: Source | None
    marks: Sequence[Mark]

    def __new__(cls, value: str, source: Source | None = None, marks: Sequence[Mark] = ()) -> Text:
        self = super().__new__(cls, value)
        self.source = source
        self.marks = marks
        return self

    @classmethod
    def whole(cls, source: Source) -> Text:
        return cls(source.text, source, (Mark(0, 0),))

    def _mark(self, index: int) -> int:
        low, high = 0, len(self.marks)
        while low < high:
            middle = (low + high) // 2
            if self.marks[middle].at <= index:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def locate(self, index: int = 0) -> Position:
        """The place in the file of character ``index``."""
        if self.source is None or not self.marks:
            return NOWHERE
        return self.source.position(self.marks[max(self._mark(index), 0)].offset(index))

    def cut(self, start: int, end: int) -> Text:
        """``self[start:end]`` with its map."""
        piece = str.__getitem__(self, slice(start, end))
        if self.source is None or not self.marks:
            return Text(piece)
        return Text(piece, self.source, self.marks_of(start, end, 0))

    def marks_of(self, start: int, end: int, at: int) -> list[Mark]:
        """The map of ``self[start:end]`` for use in a text where that piece begins at ``at``."""
        if not self.marks:
            return []
        first = max(self._mark(start), 0)
        head = self.marks[first]
        found = [Mark(at, head.offset(start), head.fixed)]
        for mark in self.marks[first + 1 :]:
            if mark.at >= end:
                break
            found.append(Mark(at + mark.at - start, mark.origin, mark.fixed))
        return found


class TextBuilder:
    """Joins pieces of texts and of strings without a place of their own."""

    __slots__ = ("_length", "_marks", "_parts", "source")

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self._parts: list[str] = []
        self._marks: list[Mark] = []
        self._length = 0

    def piece(self, text: Text, start: int, end: int) -> None:
        """Append ``text[start:end]``."""
        if end > start:
            self._marks.extend(text.marks_of(start, end, self._length))
            self._parts.append(str.__getitem__(text, slice(start, end)))
            self._length += end - start

    def stand_in(self, value: str, text: Text, at: int) -> None:
        """Append ``value``, which replaces something that stood at ``text[at]``."""
        if value:
            for mark in text.marks_of(at, at + 1, self._length):
                self._marks.append(Mark(mark.at, mark.origin, fixed=True))
            self._parts.append(value)
            self._length += len(value)

    def build(self) -> Text:
        return Text("".join(self._parts), self.source, self._marks)
