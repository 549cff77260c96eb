"""A watch over the cache process: memory, threads, descriptors, counters, and whether they come to rest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import mean
from typing import Final

import psutil

from tests.e2e.harness import Cache, descriptors
from tests.waiting import wait_for

MIB: Final = 2**20

# what must be at nothing again when nobody is connected and nothing is cached
AT_REST: Final = (
    *("MAIN.n_object", "MAIN.n_objectcore", "MAIN.n_objecthead", "MAIN.thread_queue_len"),
    *("SMA.s0.g_bytes", "SMA.Transient.g_bytes", "SMF.s0.g_bytes"),
)


@dataclass(frozen=True)
class Sample:
    """The process at one moment."""

    at: float
    rss: int
    threads: int
    descriptors: int
    objects: int


class Watch:
    """Samples of one cache, across its children."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def look(self) -> Sample | None:
        """Take a sample; None while there is no child to look at."""
        try:
            pid = self._cache.child_pid
            child = psutil.Process(pid)
            sample = Sample(
                time.monotonic() - self._began,
                child.memory_info().rss,
                child.num_threads(),
                descriptors(pid),
                self._cache.counters()["MAIN.n_object"],
            )
        except (psutil.Error, OSError, AssertionError, ValueError, KeyError):
            return None  # the child has just ended: it is looked at next time
        self.samples.append(sample)
        return sample

    def growth(self) -> tuple[float, float]:
        """Mean memory in the second and in the last third of the time, in MiB; nothing of a watch too short for it."""
        if len(self.samples) < 9:
            return 0.0, 0.0
        end = self.samples[-1].at
        parts = [
            [s.rss for s in self.samples if low <= s.at / end <= high] for low, high in ((1 / 3, 2 / 3), (2 / 3, 1))
        ]
        return mean(parts[0]) / MIB, mean(parts[1]) / MIB

    def leftovers(self) -> dict[str, int]:
        """Gauges that are not at rest."""
        counters = self._cache.counters()
        found = {name: counters[name] for name in AT_REST if counters.get(name)}
        found |= {name: n for name, n in counters.items() if n and name.startswith("VBE.") and name.endswith(".conn")}
        return found

    def rest(self, patience: float = 60.0) -> dict[str, int]:
        """Empty the cache and wait for the gauges; what is left over."""
        self._cache.cli("debug.empty")
        try:
            wait_for(lambda: not self.leftovers(), "gauges at rest", patience)
        except AssertionError:
            return self.leftovers()
        return {}
