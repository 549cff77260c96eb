"""The live view of ``varnishpy stat``: every counter with its rate; the selected one is explained.

Its keys are those of varnishstat(1); `KEYS` lists them, and so does the help screen.
"""

from __future__ import annotations

import time
from textwrap import wrap

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from varnishpy.base.units import format_bytes
from varnishpy.shm.counters import CounterReader, Point
from varnishpy.tools.columns import Heading, folded, shorten, table
from varnishpy.tools.keys import keyboard
from varnishpy.tools.stat_filter import Filter, uptime

_LEVELS = ("info", "diag", "debug")
_HITS = (10, 100, 1000)
_HEADINGS = (
    Heading("NAME", text=True),
    Heading("CURRENT", right=True),
    Heading("CHANGE", right=True, spare=1),
    Heading("AVERAGE", right=True, spare=2),
    *(Heading(f"AVG_{window}", right=True, spare=3 + number) for number, window in enumerate(_HITS)),
)
_EXPLAINED = 3  # lines for the description of the selected counter
_STEP = 0.1  # seconds that + and - change the period by

#: keys as the help screen shows them, and what they do
KEYS: tuple[tuple[str, str], ...] = (
    ("up k, down j", "select another counter"),
    ("page up b, page down space", "by a screen"),
    ("home g, end G", "to the first, the last"),
    ("v, V", "more detail, less: info, diag, debug"),
    ("d", "show or hide counters that have been zero all the time"),
    ("e", "bytes and times in full, or scaled"),
    ("r", "gauges raw, or adjusted"),
    ("+, -", f"a period longer, shorter by {_STEP} s"),
    ("ctrl-T", "a sample now"),
    ("h, ?", "this screen"),
    ("q, ctrl-C", "quit"),
)


class View:
    """What is shown, and where the selection is. Times in seconds."""

    def __init__(self, counters: CounterReader, chosen: Filter, console: Console) -> None:
        self.counters = counters
        self.chosen = chosen
        self.console = console
        self.level = 0
        self.unseen = False
        self.scaled = True
        self.helping = False
        self.period = 1.0
        self.due = time.monotonic() + self.period
        self._at = 0  # the selected row, and the first one shown
        self._top = 0
        self._count = 0
        self._seen: set[str] = set()
        self._previous: dict[str, int] = {}
        self._when = time.monotonic()
        self._averages: dict[str, tuple[float, ...]] = {}
        self._rates: dict[str, float] = {}
        self._ratios = [0.0] * len(_HITS)
        self._rounds = 0
        self._points: list[Point] = []

    def sample(self) -> None:
        """Read all counters and work out rates."""
        self.counters.refresh()
        points = self._points = self.counters.points()
        now = time.monotonic()
        passed = max(now - self._when, 1e-3)
        values = {point.name: point.value for point in points}
        self._seen.update(name for name, value in values.items() if value)
        self._rates = {}
        if self._previous:
            self._rounds += 1
            for point in points:
                self._follow(point, values[point.name], passed)
            self._hit_ratios(values)
        self._previous = values
        self._when = now
        self.due = now + self.period

    def _follow(self, point: Point, value: int, passed: float) -> None:
        rate = (value - self._previous.get(point.name, 0)) / passed
        if point.kind == "counter":
            rate = max(rate, 0.0)
        self._rates[point.name] = rate
        old = self._averages.get(point.name, (0.0,) * len(_HITS))
        new = rate if point.kind == "counter" else float(value)
        self._averages[point.name] = tuple(
            average + (new - average) / min(self._rounds, window) for average, window in zip(old, _HITS, strict=True)
        )

    def _hit_ratios(self, values: dict[str, int]) -> None:
        hits = values.get("MAIN.cache_hit", 0) - self._previous.get("MAIN.cache_hit", 0)
        misses = values.get("MAIN.cache_miss", 0) - self._previous.get("MAIN.cache_miss", 0)
        if hits + misses > 0:
            ratio = hits / (hits + misses)
            self._ratios = [
                old + (ratio - old) / min(self._rounds, window) for old, window in zip(self._ratios, _HITS, strict=True)
            ]

    # -- drawing -----------------------------------------------------------------------------------------------------

    def draw(self) -> Group:
        """The screen."""
        if self.helping:
            return Group(*self._help())
        width, height = self.console.width, self.console.height
        head = self._head().split("\n")
        shown = [point for point in self._points if self._is_shown(point)]
        room = max(height - len(head) - _EXPLAINED - 4, 1)
        self._scroll(len(shown), room)
        visible = shown[self._top : self._top + room]
        up = uptime(self._points)
        lines = table(_HEADINGS, [[point.name, *self._cells(point, up)] for point in visible], width)
        found: list[Text] = [Text(line, "bold", no_wrap=True) for line in [*head, lines[0]]]
        for number, line in enumerate(lines[1:], self._top):
            found.append(Text(line.ljust(width), "reverse" if number == self._at else "", no_wrap=True))
        found += [Text("")] * (room - len(visible) + 1)
        found += self._explained(shown[self._at] if shown else None)
        found.append(Text(shorten(self._foot(len(shown), len(visible)), width), "dim", no_wrap=True))
        return Group(*found)

    def _is_shown(self, point: Point) -> bool:
        detail = _LEVELS.index(point.level) if point.level in _LEVELS else 0
        return self.chosen.shows(point.name) and detail <= self.level and (self.unseen or point.name in self._seen)

    def _scroll(self, count: int, room: int) -> None:
        """Keep the selection on a row, and that row on the screen."""
        self._count = count
        self._at = max(0, min(self._at, count - 1))
        self._top = max(0, min(self._top, count - room, self._at))
        self._top = max(self._top, self._at - room + 1)

    def _head(self) -> str:
        names = {point.name for point in self._points}
        if not names:
            return f"Not running. Waiting for {self.counters.reader.workdir} to come back"
        mgt = next((point.value for point in self._points if point.name == "MGT.uptime"), 0)
        child = _span(uptime(self._points)) if "MAIN.uptime" in names else "not running"
        ratios = " ".join(f"{n}: {r:.3f}" for n, r in zip(_HITS, self._ratios, strict=True))
        return folded([f"Uptime mgt: {_span(mgt)}", f"child: {child}", f"hit rate {ratios}"], self.console.width)

    def _explained(self, point: Point | None) -> list[Text]:
        lines: list[str] = []
        if point is not None:
            lines = [f"{point.name}: {point.oneliner}", *wrap(" ".join(point.doc.split()), self.console.width)]
        lines = [shorten(line, self.console.width) for line in lines[:_EXPLAINED]]
        lines += [""] * (_EXPLAINED - len(lines))
        return [Text(line, no_wrap=True) for line in lines]

    def _foot(self, count: int, visible: int) -> str:
        first = self._top + 1 if count else 0
        return (
            f"help (h)   quit (q)   {first}-{self._top + visible} of {count}   {_LEVELS[self.level]} (v)   "
            f"zeros {'shown' if self.unseen else 'hidden'} (d)   every {self.period:.1f} s (+ -)"
        )

    def _help(self) -> list[Text]:
        widest = max(len(keys) for keys, _ in KEYS)
        lines = ["Keys:", "", *(f"  {keys:<{widest}}  {text}" for keys, text in KEYS), "", "Any key goes back."]
        return [Text(shorten(line, self.console.width), no_wrap=True) for line in lines]

    def _cells(self, point: Point, up: int) -> list[str]:
        value = self.chosen.value(point)
        if point.format == "bitmap":
            return [f"{value:016x}", "", "", "", "", ""]
        show = _size if point.format == "bytes" and self.scaled else _plain
        rate = self._rates.get(point.name, 0.0)
        average = value / up if up and point.kind == "counter" else None
        averages = self._averages.get(point.name, ())
        return [
            _span(value) if point.format == "duration" and self.scaled else show(value),
            show(rate) if rate else ".",
            show(average) if average is not None else ".",
            *(show(a) for a in averages),
            *("." for _ in range(len(_HITS) - len(averages))),
        ]

    # -- keys --------------------------------------------------------------------------------------------------------

    def key(self, key: str) -> bool:
        """Act on a key; False: quit."""
        if key in ("q", "Q", "\x03", "\x11"):
            return False
        if self.helping:
            self.helping = False
            return True
        page = max(self.console.height - 2 - _EXPLAINED - 3, 1)
        moves = {
            "up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "b": -page, "pagedown": page,
            "home": -self._count, "g": -self._count, "end": self._count, "G": self._count,
        }  # fmt: skip
        if key in moves:
            self._at = max(0, min(self._at + moves[key], self._count - 1))
        elif key in ("v", "V"):
            self.level = (self.level + (1 if key == "v" else -1)) % len(_LEVELS)
        elif key in ("+", "-"):
            self.period = max(round(self.period + (_STEP if key == "+" else -_STEP), 1), _STEP)
            self.due = min(self.due, time.monotonic() + self.period)
        elif key == "\x14":
            self.due = time.monotonic()
        elif key in ("h", "?"):
            self.helping = True
        elif key in _SWITCHES:
            _SWITCHES[key](self)
        return True


def _toggle_unseen(view: View) -> None:
    view.unseen = not view.unseen


def _toggle_scaled(view: View) -> None:
    view.scaled = not view.scaled


def _toggle_raw(view: View) -> None:
    view.chosen.raw = not view.chosen.raw


_SWITCHES = {"d": _toggle_unseen, "e": _toggle_scaled, "r": _toggle_raw}


def _plain(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.2f}"


def _size(value: float) -> str:
    for unit in ("", "K", "M", "G", "T"):
        if abs(value) < 1024 or unit == "T":
            return f"{value:.2f}{unit}" if unit or not isinstance(value, int) else str(value)
        value /= 1024
    return format_bytes(int(value))


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    return f"{days}+{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def watch(counters: CounterReader, chosen: Filter) -> None:
    """Show the counters until q or Ctrl-C."""
    if chosen:
        for name in ("MGT.uptime", "MAIN.uptime", "MAIN.cache_hit", "MAIN.cache_miss"):
            chosen.require(name)
    console = Console()
    view = View(counters, chosen, console)
    try:
        with keyboard() as key, Live(console=console, screen=True, auto_refresh=False) as live:
            view.sample()
            while True:
                live.update(view.draw(), refresh=True)
                pressed = key(max(0.0, view.due - time.monotonic()))
                if pressed and not view.key(pressed):
                    return
                if time.monotonic() >= view.due:
                    view.sample()
    except KeyboardInterrupt:
        return
