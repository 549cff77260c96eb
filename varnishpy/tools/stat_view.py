"""The live view of ``varnishpy stat``: every counter with its rate, refreshed each second.

Keys: q quit, arrows and page keys move, v more or less detail (info, diag, debug), u hide or show zeros, d describe.
"""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from varnishpy.base.units import format_bytes
from varnishpy.shm.counters import CounterReader, Point
from varnishpy.tools.keys import keyboard
from varnishpy.tools.stat_filter import Filter, uptime

_LEVELS = ("info", "diag", "debug")
_HITS = (10, 100, 1000)


class _View:
    def __init__(self, counters: CounterReader, chosen: Filter, console: Console) -> None:
        self.counters = counters
        self.chosen = chosen
        self.console = console
        self.level = 0
        self.zeros = False
        self.at = 0
        self.previous: dict[str, int] = {}
        self.when = time.monotonic()
        self.averages: dict[str, tuple[float, ...]] = {}
        self.rates: dict[str, float] = {}
        self.ratios = [0.0] * len(_HITS)
        self.rounds = 0

    def sample(self) -> list[Point]:
        """Read all counters and work out rates."""
        self.counters.refresh()
        points = self.counters.points()
        now = time.monotonic()
        passed = max(now - self.when, 1e-3)
        values = {point.name: point.value for point in points}
        self.rates = {}
        if self.previous:
            self.rounds += 1
            for point in points:
                rate = (values[point.name] - self.previous.get(point.name, 0)) / passed
                if point.kind == "counter":
                    rate = max(rate, 0.0)
                self.rates[point.name] = rate
                old = self.averages.get(point.name, (0.0,) * len(_HITS))
                new = rate if point.kind == "counter" else float(values[point.name])
                self.averages[point.name] = tuple(
                    average + (new - average) / min(self.rounds, window)
                    for average, window in zip(old, _HITS, strict=True)
                )
            self._hit_ratios(values)
        self.previous = values
        self.when = now
        return points

    def _hit_ratios(self, values: dict[str, int]) -> None:
        hits = values.get("MAIN.cache_hit", 0) - self.previous.get("MAIN.cache_hit", 0)
        misses = values.get("MAIN.cache_miss", 0) - self.previous.get("MAIN.cache_miss", 0)
        if hits + misses > 0:
            ratio = hits / (hits + misses)
            self.ratios = [
                old + (ratio - old) / min(self.rounds, window) for old, window in zip(self.ratios, _HITS, strict=True)
            ]

    def draw(self, points: list[Point]) -> Group:
        """The screen."""
        up = uptime(points)
        mgt = next((p.value for p in points if p.name == "MGT.uptime"), 0)
        head = Text(f"Uptime mgt: {_span(mgt)}   child: {_span(up)}   ", no_wrap=True)
        head.append("hit rate " + " ".join(f"{n}: {r:.3f}" for n, r in zip(_HITS, self.ratios, strict=True)), "bold")
        shown = [
            p
            for p in points
            if self.chosen.shows(p.name)
            and (_LEVELS.index(p.level) if p.level in _LEVELS else 0) <= self.level
            and (self.zeros or p.value)
        ]
        room = max(self.console.height - 5, 1)
        self.at = max(0, min(self.at, len(shown) - room))
        table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
        for name in ("NAME", "CURRENT", "CHANGE", "AVERAGE", *(f"AVG_{n}" for n in _HITS)):
            table.add_column(name, justify="left" if name == "NAME" else "right", no_wrap=True)
        for point in shown[self.at : self.at + room]:
            table.add_row(point.name, *self._cells(point, up))
        level = _LEVELS[self.level]
        foot = Text(
            f"{self.at + 1 if shown else 0}-{min(self.at + room, len(shown))} of {len(shown)}   "
            f"level {level} (v)   zeros {'shown' if self.zeros else 'hidden'} (u)   quit (q)",
            "dim",
            no_wrap=True,
        )
        return Group(head, table, foot)

    def _cells(self, point: Point, up: int) -> list[str]:
        value = self.chosen.value(point)
        if point.format == "bitmap":
            return [f"{value:016x}", "", "", "", "", ""]
        show = _size if point.format == "bytes" else _plain
        rate = self.rates.get(point.name, 0.0)
        average = value / up if up and point.kind == "counter" else None
        current = _span(value) if point.format == "duration" else show(value)
        return [
            current,
            show(rate) if rate else ".",
            show(average) if average is not None else ".",
            *(show(a) for a in self.averages.get(point.name, ())),
        ]

    def key(self, key: str) -> bool:
        """Act on a key; False: quit."""
        page = max(self.console.height - 5, 1)
        if key in ("q", "Q", "\x03", "\x11"):
            return False
        moves = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -(10**9), "end": 10**9}
        if key in moves:
            self.at = max(0, self.at + moves[key])
        elif key == "v":
            self.level = (self.level + 1) % 3
        elif key == "V":
            self.level = (self.level - 1) % 3
        elif key in ("u", "d"):
            self.zeros = not self.zeros
        return True


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
    view = _View(counters, chosen, console)
    try:
        with keyboard() as key, Live(console=console, screen=True, auto_refresh=False) as live:
            points = view.sample()
            due = time.monotonic() + 1
            while True:
                live.update(view.draw(points), refresh=True)
                pressed = key(max(0.0, due - time.monotonic()))
                if pressed and not view.key(pressed):
                    return
                if time.monotonic() >= due:
                    points = view.sample()
                    due = time.monotonic() + 1
    except KeyboardInterrupt:
        return
