"""Latencies: histograms of the time to the first octet, by what became of the request and by backend.

A worker counts in histograms of its own, which only its thread changes, so that a hit takes no lock for them. Who wants
to see them adds up those of all workers: a reader may find a count that its sum of seconds does not have yet, or the
other way round, and never one that goes back.

The bounds of the buckets are the process's; they are set before there are workers (parameter ``latency_buckets``).
Backends beyond the first `MOST_BACKENDS` share one name.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

MOST_BACKENDS: Final = 200
OTHERS: Final = "(others)"

OF_HIT: Final = 0
OF_MISS: Final = 1
OF_PASS: Final = 2
OF_FETCH: Final = 3
HANDLINGS: Final = ("hit", "miss", "pass", "fetch")

_bounds: Final[list[float]] = []  # upper ones, in seconds, growing; changed in place
_known: dict[str, bool] = {}  # backends that have a name of their own here; grows under the lock
_known_lock = threading.Lock()


def set_bounds(bounds: Sequence[float]) -> None:
    """Upper bounds of the buckets, in seconds; one more bucket holds what is above all of them. Before any worker."""
    _bounds[:] = bounds


class Histogram:
    """How often each bucket was met, and the sum of all seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(_bounds) + 1)
        self.seconds = 0.0

    def add(self, other: Histogram) -> None:
        """Add another's counts; it may be growing meanwhile."""
        for index, count in enumerate(list(other.counts)):
            self.counts[index] += count
        self.seconds += other.seconds


class Latencies:
    """Histograms by handling and backend. One thread changes them, any may read."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[dict[str, Histogram]] = [{}, {}, {}, {}]

    def observe(self, handling: int, backend: str, seconds: float) -> None:
        """Count one: `OF_HIT`, `OF_MISS`, `OF_PASS` (a client's request) or `OF_FETCH` (a request to a backend)."""
        histogram = self.rows[handling].get(backend)
        if histogram is None:
            histogram = self._histogram(handling, _name_of(backend))
        histogram.counts[bisect_left(_bounds, seconds)] += 1
        if seconds > 0.0:  # the wall clock may have been set back
            histogram.seconds += seconds

    def add(self, other: Latencies) -> None:
        """Add another's counts."""
        for handling, row in enumerate(other.rows):
            for backend, histogram in row.copy().items():
                self._histogram(handling, backend).add(histogram)

    def _histogram(self, handling: int, backend: str) -> Histogram:
        row = self.rows[handling]
        histogram = row.get(backend)
        if histogram is None:
            histogram = row[backend] = Histogram()
        return histogram


def _name_of(backend: str) -> str:
    """The backend's name, if it is one of the first so many."""
    if backend not in _known:
        with _known_lock:
            if len(_known) >= MOST_BACKENDS:
                return OTHERS
            _known[backend] = True
    return backend


def bounds() -> list[float]:
    """The bounds in force."""
    return list(_bounds)
