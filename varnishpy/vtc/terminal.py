"""A terminal without a screen: what an xterm would show, for programs under test that draw one.

``Terminal.feed`` takes what the program writes; ``rows`` is what a user would see.  Colours are ignored, characters
outside ASCII show as ``?``.  The sequences understood are those of ECMA-48 and the DEC VT100 family that curses uses;
``ESC [ = 1 T`` switches to the manners of the FreeBSD console, where form feed clears the screen and backspace goes
back to the line before.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SEQUENCE = re.compile(
    rb"\x1b\[(?P<private>[?>=]?)(?P<params>[0-9;:]*)(?P<middle>[ !\"$']*)(?P<final>[@-~])"
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|(?=\x1b))"
    rb"|\x1b(?P<charset>[()*+%#])(?P<which>.)"
    rb"|\x1b(?P<escape>[0-Z\\^-~])",
    re.DOTALL,
)
_PARTIAL = re.compile(rb"\x1b(?:\[[?>=0-9;: !\"$']*|[\]PX^_][^\x07\x1b]*\x1b?|[()*+%#])?\Z", re.DOTALL)
MAX_PENDING = 65536


class Terminal:
    """A screen of ``lines`` by ``columns``; ``respond`` gets the answers to questions the program asks."""

    def __init__(self, lines: int, columns: int, respond: Callable[[bytes], None]) -> None:
        self.lines = lines
        self.columns = columns
        self._respond = respond
        self._pending = b""
        self.rows: list[list[str]] = []
        self._reset()

    def _reset(self) -> None:
        self.rows = [[" "] * self.columns for _ in range(self.lines)]
        self.row = self.column = 0
        self._top, self._bottom = 0, self.lines
        self._wrap_pending = False
        self._origin = False
        self._autowrap = True
        self._insert = False
        self._cons25 = False
        self._saved = (0, 0, False)
        self._last = " "
        self._charsets = [False, False]
        self._shift = 0
        self._tabs = set(range(8, self.columns, 8))

    def text(self, row: int) -> str:
        return "".join(self.rows[row])

    def resize(self, lines: int, columns: int) -> None:
        """Change the size; what still fits stays."""
        old = self.rows
        self.rows = [[" "] * columns for _ in range(lines)]
        for number, row in enumerate(old[:lines]):
            self.rows[number][: len(row[:columns])] = row[:columns]
        self.lines, self.columns = lines, columns
        self._top, self._bottom = 0, lines
        self._tabs = set(range(8, columns, 8))
        self.row, self.column = min(self.row, lines - 1), min(self.column, columns - 1)

    # Input

    def feed(self, data: bytes) -> None:
        """Show what the program wrote; a sequence cut in two is kept for the next call."""
        data = self._pending + data
        self._pending = b""
        partial = _PARTIAL.search(data[-MAX_PENDING:])
        if partial is not None and len(partial.group()) < MAX_PENDING:
            keep = len(partial.group())
            data, self._pending = data[: len(data) - keep], data[len(data) - keep :]
        at = 0
        while at < len(data):
            if data[at] != 0x1B:
                self._character(data[at])
                at += 1
                continue
            match = _SEQUENCE.match(data, at)
            if match is None:
                at += 1
                continue
            self._sequence(match)
            at = match.end()

    def _sequence(self, match: re.Match[bytes]) -> None:
        if match.group("final"):
            numbers = [int(word or 0) for word in match.group("params").replace(b":", b";").split(b";")]
            private = match.group("private") + match.group("middle")
            final = match.group("final").decode()
            if private == b"?":
                self._dec_mode(final, numbers)
            elif private == b">" and final == "c":
                self._respond(b"\x1b[>0;10;0c")
            elif private == b"=" and final == "T" and numbers[0] in (0, 1):
                self._cons25 = numbers[0] == 1
            elif not private:
                handler = _CSI.get(final)
                if handler is not None:
                    handler(self, numbers)
        elif match.group("charset"):
            kind, which = match.group("charset"), match.group("which")
            if kind in (b"(", b")"):
                self._charsets[kind == b")"] = which in (b"0", b"2")
            elif kind == b"#" and which == b"8":
                self.rows = [["E"] * self.columns for _ in range(self.lines)]
                self.row = self.column = 0
        elif match.group("escape"):
            handler_1 = _ESCAPES.get(match.group("escape").decode())
            if handler_1 is not None:
                handler_1(self)

    def _character(self, code: int) -> None:
        if code >= 0x20:
            if code & 0xC0 == 0x80:
                return  # the rest of a UTF-8 character, already shown as one '?'
            graphic = self._charsets[self._shift] and 0x5F <= code <= 0x7E
            self._put("?" if code > 126 or graphic else chr(code))
            return
        match code:
            case 0x08:
                self._backspace()
            case 0x09:
                self._tab(1)
            case 0x0C if self._cons25:
                self._erase_display([2])
                self._move(0, 0)
            case 0x0A | 0x0B | 0x0C:
                self._line_feed()
            case 0x0D:
                self.column = 0
                self._wrap_pending = False
            case 0x0E | 0x0F:
                self._shift = int(code == 0x0E)

    def _backspace(self) -> None:
        if self.column:
            self.column -= 1
        elif self._cons25 and self.row:
            self.row -= 1
            self.column = self.columns - 1
        self._wrap_pending = False

    def _put(self, char: str) -> None:
        if self._wrap_pending and self._autowrap:
            self.column = 0
            self._line_feed()
        self._wrap_pending = False
        row = self.rows[self.row]
        if self._insert:
            row.insert(self.column, char)
            del row[self.columns :]
        else:
            row[self.column] = char
        self._last = char
        if self.column + 1 < self.columns:
            self.column += 1
        else:
            self._wrap_pending = True

    # Movement

    def _move(self, row: int, column: int) -> None:
        self.row = max(0, min(row, self.lines - 1))
        self.column = max(0, min(column, self.columns - 1))
        self._wrap_pending = False

    def _tab(self, count: int) -> None:
        for _ in range(count):
            self.column = min((stop for stop in self._tabs if stop > self.column), default=self.columns - 1)

    def _back_tab(self, count: int) -> None:
        for _ in range(count):
            self.column = max((stop for stop in self._tabs if stop < self.column), default=0)

    def _line_feed(self) -> None:
        if self.row == self._bottom - 1:
            self._scroll_up(1)
        elif self.row < self.lines - 1:
            self.row += 1
        self._wrap_pending = False

    def _reverse_feed(self) -> None:
        if self.row == self._top:
            self._scroll_down(1)
        elif self.row > 0:
            self.row -= 1
        self._wrap_pending = False

    def _blank(self) -> list[str]:
        return [" "] * self.columns

    def _scroll_up(self, count: int, top: int | None = None) -> None:
        top = self._top if top is None else top
        for _ in range(min(count, self._bottom - top)):
            del self.rows[top]
            self.rows.insert(self._bottom - 1, self._blank())

    def _scroll_down(self, count: int, top: int | None = None) -> None:
        top = self._top if top is None else top
        for _ in range(min(count, self._bottom - top)):
            del self.rows[self._bottom - 1]
            self.rows.insert(top, self._blank())

    # Control sequences; ``numbers`` has at least one entry, 0 for a missing one

    def _cursor_position(self, numbers: list[int]) -> None:
        row = max(numbers[0], 1) - 1
        column = (max(numbers[1], 1) if len(numbers) > 1 else 1) - 1
        self._move(row + (self._top if self._origin else 0), column)

    def _up(self, numbers: list[int]) -> None:
        limit = self._top if self.row >= self._top else 0
        self._move(max(self.row - max(numbers[0], 1), limit), self.column)

    def _down(self, numbers: list[int]) -> None:
        limit = self._bottom if self.row < self._bottom else self.lines
        self._move(min(self.row + max(numbers[0], 1), limit - 1), self.column)

    def _erase_display(self, numbers: list[int]) -> None:
        mode = numbers[0]
        if mode == 0:
            self._erase_line([0])
            rows = range(self.row + 1, self.lines)
        elif mode == 1:
            self._erase_line([1])
            rows = range(self.row)
        else:
            rows = range(self.lines)
        for row in rows:
            self.rows[row] = self._blank()

    def _erase_line(self, numbers: list[int]) -> None:
        start = self.column if numbers[0] == 0 else 0
        end = self.column + 1 if numbers[0] == 1 else self.columns
        self.rows[self.row][start:end] = " " * (end - start)

    def _insert_characters(self, numbers: list[int]) -> None:
        count = min(max(numbers[0], 1), self.columns - self.column)
        row = self.rows[self.row]
        row[self.column : self.column] = " " * count
        del row[self.columns :]

    def _delete_characters(self, numbers: list[int]) -> None:
        count = min(max(numbers[0], 1), self.columns - self.column)
        row = self.rows[self.row]
        del row[self.column : self.column + count]
        row.extend(" " * count)

    def _erase_characters(self, numbers: list[int]) -> None:
        count = min(max(numbers[0], 1), self.columns - self.column)
        self.rows[self.row][self.column : self.column + count] = " " * count

    def _insert_lines(self, numbers: list[int]) -> None:
        if self._top <= self.row < self._bottom:
            self._scroll_down(max(numbers[0], 1), self.row)

    def _delete_lines(self, numbers: list[int]) -> None:
        if self._top <= self.row < self._bottom:
            self._scroll_up(max(numbers[0], 1), self.row)

    def _margins(self, numbers: list[int]) -> None:
        top = max(numbers[0], 1) - 1
        bottom = numbers[1] if len(numbers) > 1 and numbers[1] else self.lines
        if top < bottom <= self.lines and bottom - top > 1:
            self._top, self._bottom = top, bottom
            self._move(top if self._origin else 0, 0)

    def _report(self, numbers: list[int]) -> None:
        if numbers[0] == 5:
            self._respond(b"\x1b[0n")
        elif numbers[0] == 6:
            row = self.row - (self._top if self._origin else 0)
            self._respond(b"\x1b[%d;%dR" % (row + 1, self.column + 1))

    def _attributes(self, _numbers: list[int]) -> None:
        self._respond(b"\x1b[?1;2c")

    def _repeat(self, numbers: list[int]) -> None:
        for _ in range(min(max(numbers[0], 1), self.columns * self.lines)):
            self._put(self._last)

    def _clear_tabs(self, numbers: list[int]) -> None:
        if numbers[0] == 3:
            self._tabs.clear()
        elif numbers[0] == 0:
            self._tabs.discard(self.column)

    def _set_mode(self, numbers: list[int]) -> None:
        self._insert = self._insert or 4 in numbers

    def _reset_mode(self, numbers: list[int]) -> None:
        self._insert = self._insert and 4 not in numbers

    def _dec_mode(self, final: str, numbers: list[int]) -> None:
        if final not in "hl":
            return
        on = final == "h"
        for number in numbers:
            match number:
                case 3:
                    self.resize(self.lines, 132 if on else 80)
                    self._erase_display([2])
                    self._move(0, 0)
                case 6:
                    self._origin = on
                    self._move(self._top if on else 0, 0)
                case 7:
                    self._autowrap = on

    # Escapes

    def _save(self, _numbers: list[int] | None = None) -> None:
        self._saved = self.row, self.column, self._origin

    def _restore(self, _numbers: list[int] | None = None) -> None:
        row, column, self._origin = self._saved
        self._move(row, column)

    def _next_line(self) -> None:
        self.column = 0
        self._line_feed()

    def _set_tab(self) -> None:
        self._tabs.add(self.column)


def _count(numbers: list[int]) -> int:
    return max(numbers[0], 1)


_CSI: dict[str, Callable[[Terminal, list[int]], None]] = {
    "@": Terminal._insert_characters,
    "A": Terminal._up,
    "B": Terminal._down,
    "e": Terminal._down,
    "C": lambda term, numbers: term._move(term.row, term.column + _count(numbers)),
    "a": lambda term, numbers: term._move(term.row, term.column + _count(numbers)),
    "D": lambda term, numbers: term._move(term.row, term.column - _count(numbers)),
    "E": lambda term, numbers: term._move(term.row + _count(numbers), 0),
    "F": lambda term, numbers: term._move(term.row - _count(numbers), 0),
    "G": lambda term, numbers: term._move(term.row, _count(numbers) - 1),
    "`": lambda term, numbers: term._move(term.row, _count(numbers) - 1),
    "H": Terminal._cursor_position,
    "f": Terminal._cursor_position,
    "I": lambda term, numbers: term._tab(_count(numbers)),
    "J": Terminal._erase_display,
    "K": Terminal._erase_line,
    "L": Terminal._insert_lines,
    "M": Terminal._delete_lines,
    "P": Terminal._delete_characters,
    "S": lambda term, numbers: term._scroll_up(_count(numbers)),
    "T": lambda term, numbers: term._scroll_down(_count(numbers)),
    "X": Terminal._erase_characters,
    "Z": lambda term, numbers: term._back_tab(_count(numbers)),
    "b": Terminal._repeat,
    "c": Terminal._attributes,
    "d": lambda term, numbers: term._move(_count(numbers) - 1 + (term._top if term._origin else 0), term.column),
    "g": Terminal._clear_tabs,
    "h": Terminal._set_mode,
    "l": Terminal._reset_mode,
    "n": Terminal._report,
    "r": Terminal._margins,
    "s": Terminal._save,
    "u": Terminal._restore,
}
_ESCAPES: dict[str, Callable[[Terminal], None]] = {
    "7": Terminal._save,
    "8": Terminal._restore,
    "D": Terminal._line_feed,
    "E": Terminal._next_line,
    "H": Terminal._set_tab,
    "M": Terminal._reverse_feed,
    "c": Terminal._reset,
}
