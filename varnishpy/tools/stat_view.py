"""The live view of ``varnishpy stat``, laid out as varnishstat's: status, counters, the chosen counter's description.

`KEYS` lists what can be pressed; ``h`` shows it.
"""

from __future__ import annotations

import curses
import time
from collections.abc import Callable
from typing import Final

from varnishpy.shm.counters import CounterReader, Point
from varnishpy.tools.screen import BOLD, NO_KEY, RESIZED, REVERSE, STANDOUT, Screen, control, screen
from varnishpy.tools.stat_board import LEVELS, WINDOWS, Board, Row
from varnishpy.tools.stat_filter import Filter

_STATUS: Final = 3  # lines
_INFO: Final = 3
_LEAST: Final = 3  # lines of counters, whatever else must go
_COLUMN: Final = 14
_LEAST_NAME: Final = 24
_COLUMNS: Final = ("CURRENT", "CHANGE", "AVERAGE", *(f"AVG_{window}" for window in WINDOWS))
_NOTE_STAYS: Final = 1.25  # seconds
_LARGEST: Final = 999_999_999_999  # that fits into a column
_LEAST_INTERVAL: Final = 0.1

KEYS: Final[tuple[tuple[str, tuple[int, ...], str, str], ...]] = (
    ("help", (ord("h"),), "<h>", "Show or leave this page."),
    ("up", (curses.KEY_UP, ord("k")), "<UP> or <k>", "Navigate the counter list one line up."),
    ("down", (curses.KEY_DOWN, ord("j")), "<DOWN> or <j>", "Navigate the counter list one line down."),
    ("page up", (curses.KEY_PPAGE, ord("b"), control("b")), "<PAGEUP> or <b> or <CTRL-B>", "One page up."),
    ("page down", (curses.KEY_NPAGE, ord(" "), control("f")), "<PAGEDOWN> or <SPACE> or <CTRL-F>", "One page down."),
    ("top", (curses.KEY_HOME, ord("g")), "<HOME> or <g>", "To the first counter."),
    ("bottom", (curses.KEY_END, ord("G")), "<END> or <G>", "To the last counter."),
    ("unseen", (ord("d"), ord("u")), "<d>", "Show or hide counters that have been zero for as long as this view runs."),
    ("raw", (ord("r"),), "<r>", "Show gauges as they stand, or those that are below zero for a moment as 0."),
    ("scale", (ord("e"),), "<e>", "Show octets and durations in units, or as plain numbers."),
    ("verbose", (ord("v"),), "<v>", "Show more: counters for diagnosis, then those for debugging."),
    ("quiet", (ord("V"),), "<V>", "Show less."),
    ("quit", (ord("q"), ord("Q"), control("q")), "<q>", "Quit."),
    ("sample", (control("t"),), "<CTRL+T>", "Sample now."),
    ("reset", (ord("0"),), "<0>", "Begin all averages anew."),
    ("slower", (ord("+"),), "<+>", "Increase refresh interval."),
    ("faster", (ord("-"),), "<->", "Decrease refresh interval."),
)
_MEANING: Final = {code: name for name, codes, _, _ in KEYS for code in codes}
_HELP: Final = [line for _, _, keys, text in KEYS for line in (keys, f"\t{text}")]


class _View:
    def __init__(self, counters: CounterReader, chosen: Filter) -> None:
        self.counters = counters
        self.board = Board(chosen)
        self.interval = 1.0
        self.sampled = -self.interval
        self.scaled = True
        self.reset = False
        self.help: int | None = None  # the first line of the help page that is shown
        self.note = ""
        self.note_until = 0.0
        self.lines = _LEAST
        self._points: list[Point] = []
        self._child_ran = False

    # -- the counters

    def _values(self) -> dict[str, int]:
        wanted = ("MGT.uptime", "MAIN.uptime", "MAIN.cache_hit", "MAIN.cache_miss")
        return {point.name: point.value for point in self._points if point.name in wanted}

    def update(self) -> None:
        """Follow the instance, and sample when it is time."""
        self.counters.refresh()
        self._points = self.counters.points()
        self.board.follow(self._points)
        running = self.counters.reader.child_running
        if running and not self._child_ran:
            self.board.restart(self._values())
        self._child_ran = running
        now = time.monotonic()
        if now - self.sampled >= self.interval:
            self.sampled = now
            self.board.sample(self._values(), now, self.reset)
            self.reset = False
        self.board.choose()

    # -- drawing

    def draw(self, to: Screen) -> None:
        height = to.height
        info = _INFO
        self.lines = height - _STATUS - 2 - info
        if self.lines < _LEAST:
            self.lines, info = self.lines + info, 0
        self.lines = max(self.lines, _LEAST)
        self.board.settle(self.lines)
        to.clear()
        self._draw_status(to)
        if self.help is None:
            self._draw_head(to)
            self._draw_rows(to)
            self._draw_foot(to)
            if info:
                self._draw_info(to)
        else:
            self.help = min(self.help, max(len(_HELP) - self.lines, 0))
            for line, text in enumerate(_HELP[self.help : self.help + self.lines]):
                to.put(_STATUS + 1 + line, 0, text.replace("\t", "    "), 0 if text.startswith("\t") else BOLD)
        to.show()

    def _draw_status(self, to: Screen) -> None:
        values = self._values()
        reader = self.counters.reader
        for line, (who, runs) in enumerate((("mgt", reader.manager_running), ("child", reader.child_running))):
            to.put(line, 0, f"Uptime {who}:".ljust(14))
            up = values.get("MAIN.uptime" if line else "MGT.uptime", 0)
            to.put(line, 14, _duration(up) if runs else "  Not Running", 0 if runs else STANDOUT)
        told = time.monotonic() < self.note_until
        to.put(2, 0, self.note if told else "Press <h> to toggle help screen")
        if to.width > 70:
            ratios = self.board.hit_ratios
            to.put(0, to.width - 37, "Hitrate n: " + " ".join(f"{each.samples:8d}" for each in ratios))
            to.put(1, to.width - 37, "   avg(n): " + " ".join(f"{each.value:8.4f}" for each in ratios))

    def _name_width(self, to: Screen) -> int:
        return max(to.width - len(_COLUMNS) * _COLUMN, _LEAST_NAME)

    def _draw_head(self, to: Screen) -> None:
        to.fill(_STATUS, REVERSE)
        if self.board.top > 0:
            to.put(_STATUS, 0, "^^^", REVERSE)
        to.put(_STATUS, 4, "NAME", REVERSE)
        for column, name in self._places(to, _COLUMNS):
            to.put(_STATUS, column, f" {name:>12}", REVERSE)

    def _places(self, to: Screen, cells: tuple[str, ...] | list[str]) -> list[tuple[int, str]]:
        """Where cells of one column each are put; those that do not fit are left out."""
        begin = self._name_width(to)
        room = max((to.width - begin) // _COLUMN, 0)
        return [(begin + number * _COLUMN, cell) for number, cell in enumerate(cells[:room])]

    def _draw_rows(self, to: Screen) -> None:
        width = self._name_width(to)
        shown = self.board.rows[self.board.top : self.board.top + self.lines]
        for line, row in enumerate(shown, _STATUS + 1):
            look = BOLD if row is self.board.rows[self.board.at] else 0
            name = row.point.name
            to.put(line, 0, name if len(name) <= width else f"{name[: width - 3]}...", look)
            if row.point.format == "bitmap":
                self._draw_bits(to, line, row.current, look)
                continue
            for column, cell in self._places(to, self._cells(row)):
                to.put(line, column, cell, look)

    def _draw_bits(self, to: Screen, line: int, value: int, look: int) -> None:
        """A bitmap (of probes): the 40 upper bits as a number, the lower 24 one by one, the latest last."""
        begin = self._name_width(to)
        if to.width - begin >= _COLUMN:
            to.put(line, begin, f"   {value >> 24 & 0xFFFFFFFFFF:010x}", look)
        if to.width - begin >= 3 * _COLUMN:
            bits = f"{value & 0xFFFFFF:024b}".replace("0", "_").replace("1", "V")
            to.put(line, begin + 3 * _COLUMN - 24, bits, look)

    def _cells(self, row: Row) -> list[str]:
        if row.point.format == "duration":
            return [_duration(row.current) if self.scaled else f" {row.current:12d}"]
        octets = row.point.format == "bytes"
        show: Callable[[float], str] = self._octets if octets else _rate
        current = _whole(row.current) if octets else f" {row.current:12d}"
        if octets and self.scaled and row.current > 1024:
            current = self._octets(row.current)
        return [
            current,
            f" {'.  ':>12}" if row.change is None else show(row.change),
            show(row.average) if row.average else f" {'.  ':>12}",
            *(show(average.value) for average in row.averages),
        ]

    def _octets(self, value: float) -> str:
        units = iter(" KMGTPEZY") if self.scaled else iter(" ")
        unit = next(units)
        for unit_after in units:
            if abs(value) < 1024:
                break
            value, unit = value / 1024, unit_after
        return f" {value:12.2f}{unit}"

    def _draw_foot(self, to: Screen) -> None:
        line = _STATUS + 1 + self.lines
        board = self.board
        to.fill(line, REVERSE)
        if board.top + self.lines < len(board.rows):
            to.put(line, 0, "vvv", REVERSE)
        if board.rows:
            to.put(line, 4, board.rows[board.at].point.name, REVERSE)
        last = min(board.top + self.lines, len(board.rows))
        words = ["RAW"] if board.chosen.raw else []
        words += ["UNSEEN"] if board.unseen else []
        words += [LEVELS[board.level].upper(), f"{board.top + 1}-{last}/{len(board.rows)}"]
        text = "  ".join(words)
        to.put(line, max(to.width - len(text), 0), text, REVERSE)

    def _draw_info(self, to: Screen) -> None:
        if self.board.rows:
            point = self.board.rows[self.board.at].point
            line = _STATUS + 2 + self.lines
            to.put(line, 0, f"{point.oneliner}:")
            for number, text in enumerate(point.doc.split("\n")[: _INFO - 1], 1):
                to.put(line + number, 0, text)

    # -- keys

    def press(self, code: int) -> bool:
        """Act on a key; False: quit."""
        meaning = _MEANING.get(code, "")
        if meaning == "quit":
            return False
        if meaning == "help":
            self.help = 0 if self.help is None else None
        elif self.help is not None:
            self._turn_help(meaning, self.help)
        else:
            self._press(meaning)
        return True

    def _turn_help(self, meaning: str, at: int) -> None:
        last = max(len(_HELP) - self.lines, 0)
        moved = {"up": at - 1, "down": at + 1, "page up": at - self.lines, "page down": at + self.lines}
        self.help = min(max({**moved, "top": 0, "bottom": last}.get(meaning, at), 0), last)

    def _press(self, meaning: str) -> None:
        board = self.board
        if meaning in ("slower", "faster"):
            self.interval = max(self.interval + (0.1 if meaning == "slower" else -0.1), _LEAST_INTERVAL)
            self.note = f"Refresh interval set to {self.interval:.1f} seconds."
            self.note_until = time.monotonic() + _NOTE_STAYS
        elif meaning in ("verbose", "quiet"):
            board.level = min(max(board.level + (1 if meaning == "verbose" else -1), 0), len(LEVELS) - 1)
        elif meaning == "unseen":
            board.unseen = not board.unseen
        elif meaning == "raw":
            board.chosen.raw = not board.chosen.raw
        elif meaning == "scale":
            self.scaled = not self.scaled
        elif meaning == "sample":
            self.sampled = -self.interval
        elif meaning == "reset":
            self.reset = True
        else:
            self._move(meaning)
        board.choose()

    def _move(self, meaning: str) -> None:
        board = self.board
        steps = {"up": -1, "down": 1, "page up": -self.lines, "page down": self.lines}
        if meaning == "top":
            board.at = 0
        elif meaning == "bottom":
            board.at = len(board.rows) - 1
        elif meaning in steps:
            board.at += steps[meaning]
            if meaning == "page up":
                board.top -= self.lines
            elif meaning == "page down" and board.top + self.lines < len(board.rows) - 1:
                board.top += self.lines
        board.settle(self.lines)


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    return f"{days:4d}+{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def _rate(value: float) -> str:
    return f" {value:12.2f}"


def _whole(value: int) -> str:
    if value <= _LARGEST:
        return f" {value:12d}"
    while value > _LARGEST:
        value //= 1000
    return f" {value:9d}..."


def watch(counters: CounterReader, chosen: Filter) -> None:
    """Show the counters until q, Ctrl-C or a signal."""
    view = _View(counters, chosen)
    with screen() as to:
        while True:
            view.update()
            view.draw(to)
            code = to.key(view.sampled + view.interval - time.monotonic())
            if code not in (NO_KEY, RESIZED) and not view.press(code):
                return
