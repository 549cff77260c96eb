"""What the live view of ``varnishpy stat`` knows: counters with their rates and averages, which are shown, and where.

A counter is *seen* once it has been more than 0. Averages are over the last 10, 100 and 1000 samples: each sample pulls
the average towards itself by its part of as many as there have been, at most the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from varnishpy.shm.counters import Point
from varnishpy.tools.stat_filter import Filter

LEVELS: Final = ("info", "diag", "debug")
WINDOWS: Final = (10, 100, 1000)


@dataclass(slots=True)
class Average:
    """Over the last ``window`` samples, about."""

    window: int
    samples: int = 0
    value: float = 0.0

    def add(self, value: float) -> None:
        self.samples = min(self.samples + 1, self.window)
        self.value += (value - self.value) / self.samples


def _averages() -> list[Average]:
    return [Average(window) for window in WINDOWS]


@dataclass(slots=True)
class Row:
    """A counter. ``change`` is per second since the last sample, ``average`` since the cache process started."""

    point: Point
    seen: bool = False
    current: int = 0
    sampled: float = 0.0
    change: float | None = None
    average: float = 0.0
    averages: list[Average] = field(default_factory=_averages)

    @property
    def level(self) -> int:
        return LEVELS.index(self.point.level) if self.point.level in LEVELS else 0

    def sample(self, value: int, now: float, up: int) -> None:
        self.seen = True
        if self.sampled and now > self.sampled:
            self.change = (value - self.current) / (now - self.sampled)
        self.current = value
        self.sampled = now
        if self.point.kind == "gauge":
            for average in self.averages:
                average.add(value)
        elif self.point.kind == "counter":
            self.average = value / up if up else 0.0
            if self.change is not None:
                for average in self.averages:
                    average.add(self.change)


class Board:
    """Rows by name, and the part of them that is on the screen.

    :ivar rows: those that are shown, in order
    :ivar at: which of them is chosen; :ivar top: which is on the first line
    """

    def __init__(self, chosen: Filter) -> None:
        self.chosen = chosen
        self.level = 0
        self.unseen = False
        self.rows: list[Row] = []
        self.at = self.top = 0
        self.hit_ratios = _averages()
        self._all: dict[str, Row] = {}
        self._hits = self._misses = 0

    def follow(self, points: list[Point]) -> None:
        """Take up the counters there are now; those known already keep what is known of them."""
        first = not self._all
        rows = {}
        for point in points:
            if self.chosen.shows(point.name):
                row = self._all.get(point.name)
                rows[point.name] = row if row is not None and row.point is point else Row(point)
        self._all = rows
        if first and self.chosen:
            self.level = max((row.level for row in rows.values()), default=0)

    def choose(self) -> None:
        """Work out again which rows are shown; the chosen one stays where it is, if it is among them."""
        before = self.rows[self.at] if self.at < len(self.rows) else None
        line = self.at - self.top
        self.rows = [row for row in self._all.values() if row.level <= self.level and (row.seen or self.unseen)]
        for place, row in enumerate(self.rows):
            if row is before:
                self.at, self.top = place, place - line
                break

    def settle(self, lines: int) -> None:
        """Keep the chosen row among the *lines* on the screen, and both within what there is."""
        last = max(len(self.rows) - 1, 0)
        self.at = min(max(self.at, 0), last)
        self.top = min(max(min(self.top, self.at), self.at - (lines - 1), 0), last)

    def sample(self, values: dict[str, int], now: float, reset: bool) -> None:
        """Read all counters. *values* are the raw ones that rates and ratios need, by name."""
        up = values.get("MAIN.uptime", 0)
        for row in self._all.values():
            if reset:
                row.change = None
                row.averages = _averages()
            value = self.chosen.value(row.point)
            if value or row.seen:
                row.sample(value, now, up)
        self._sample_hits(values, reset)

    def _sample_hits(self, values: dict[str, int], reset: bool) -> None:
        hits, misses = values.get("MAIN.cache_hit", 0), values.get("MAIN.cache_miss", 0)
        new_hits, new_misses = hits - self._hits, misses - self._misses
        self._hits, self._misses = hits, misses
        if reset:
            self.hit_ratios = _averages()
        for average in self.hit_ratios:
            average.add(new_hits / (new_hits + new_misses) if new_hits + new_misses > 0 else 0.0)

    def restart(self, values: dict[str, int]) -> None:
        """The hit ratios begin anew: the view has just started, or the cache process has."""
        self.hit_ratios = _averages()
        self._hits, self._misses = values.get("MAIN.cache_hit", 0), values.get("MAIN.cache_miss", 0)
