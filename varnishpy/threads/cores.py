"""Keeping a busy process on one core while its interpreter computes on one at a time.

With CPython's global lock only one thread computes at any moment, but the kernel wakes each on whatever core is free.
What one thread has just written the next must then fetch from another core's cache, and every hand-over of the
interpreter crosses cores. Kept together on one core, the same work takes a quarter less time or so
(docs/performance.md).

The keeper looks ten times a second. A process that is busy, but not on more than one core, is put on the core with the
least other work. It is let go when it stays idle (traffic comes in bursts), when others want that core and none is
better, and every now and then for one look, which shows whether it would make use of more than one (by gzip or TLS,
which let the interpreter go). An interpreter without the lock is left alone. Parameter `keep_core` switches it off;
what taskset(1) said stays true.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

from varnishpy import stats
from varnishpy.params import params

PERIOD: Final = 0.1  # seconds between looks
BUSY: Final = 0.6  # cores in use from which on it is worth while
IDLE: Final = 0.3  # and under which it is no more
PARALLEL: Final = 1.25  # cores in use that show work beside the interpreter
CROWDED: Final = 0.2  # of a core, used by others
TERM: Final = 10.0  # seconds until it is let go for a look
PAUSE: Final = 10.0  # seconds without much work until it is let go
REST: Final = 5.0  # seconds for which it is left alone when there was no good core, or work for several


class Policy:
    """Which core to keep to; decides by what it is told and does nothing itself.

    :param busy: cores in use from which on it is worth while
    :param idle: and under which it is no more
    :param crowded: of a core, what others may use of it
    """

    def __init__(self, busy: float = BUSY, idle: float = IDLE, crowded: float = CROWDED) -> None:
        self.busy = busy
        self.idle = idle
        self.crowded = crowded
        self.core: int | None = None
        self._since = 0.0
        self._worked = 0.0  # when there was enough work for the last time
        self._rest_until = 0.0

    def look(self, now: float, use: float, busy: dict[int, float]) -> int | None:
        """Take a look.

        :param now: seconds of any clock
        :param use: cores this process has used on average since the last look
        :param busy: of each core that may be used, the share of that time in which it worked, for anybody
        :returns: the core to keep to, ``None`` for any
        """
        if self.core in busy:
            self.core = self._stay(now, use, busy, self.core)
        else:
            self.core = self._settle(now, use, busy)
        return self.core

    def _settle(self, now: float, use: float, busy: dict[int, float]) -> int | None:
        if use > PARALLEL:
            self._rest_until = now + REST
        if use < self.busy or now < self._rest_until or len(busy) < 2:
            return None
        self._since = self._worked = now
        return min(busy, key=busy.__getitem__)

    def _stay(self, now: float, use: float, busy: dict[int, float], core: int) -> int | None:
        if use < self.idle:  # nobody is in its way, nor it in anybody's
            self._since = now
            return core if now - self._worked < PAUSE else None
        if now - self._since >= TERM:
            return None
        self._worked = now
        others = busy[core] - use
        if others <= self.crowded:
            return core
        best = min((each for each in busy if each != core), key=busy.__getitem__)
        if busy[best] < others:
            return best
        self._rest_until = now + REST
        return None


def core_times(text: str) -> dict[int, tuple[int, int]]:
    """Ticks worked and ticks passed of each core so far.

    :param text: what proc(5) tells in ``/proc/stat``
    """
    times: dict[int, tuple[int, int]] = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(field) for field in fields[:8]]  # user nice system idle iowait irq softirq steal
            total = sum(ticks)
            times[int(name[3:])] = (total - ticks[3] - ticks[4], total)
    return times


def useful() -> bool:
    """Can this interpreter compute on one core only, and this system say on which?"""
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    return bool(locked) and hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1


class CoreKeeper:
    """The thread that looks, and puts all threads of this process where the policy says."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy if policy is not None else Policy()
        #: the cores that this process may use, by the word of whoever started it or of taskset(1); none: nothing to do
        self.allowed = os.sched_getaffinity(0) if useful() else set()
        self._placed: set[int] = set(self.allowed)
        self._stopping = threading.Event()
        self._runner = threading.Thread(target=self._run, name="core-keeper", daemon=True)

    @property
    def running(self) -> bool:
        """Is anybody looking?"""
        return self._runner.is_alive()

    def start(self) -> None:
        """Start looking, where there is something to gain."""
        if self.allowed:
            self._runner.start()

    def stop(self) -> None:
        """End the thread; what it did stays."""
        self._stopping.set()
        if self.running:
            self._runner.join(5)

    def _run(self) -> None:
        then, cpu = time.monotonic(), time.process_time()
        before = self._read()
        while not self._stopping.wait(PERIOD):
            now, used = time.monotonic(), time.process_time()
            use = (used - cpu) / (now - then)
            then, cpu = now, used
            if not params.keep_core:
                use, self.policy.core = 0.0, None
                self._place(self.allowed)
            if use < self.policy.idle and self.policy.core is None:
                before = {}
                continue
            after = self._read()
            self._heed_taskset()
            busy = {
                core: (work - before[core][0]) / max(total - before[core][1], 1)
                for core, (work, total) in after.items()
                if core in before and core in self.allowed
            }
            before = after
            if busy:
                core = self.policy.look(now, use, busy)
                self._place({core} if core is not None else self.allowed)

    @staticmethod
    def _read() -> dict[int, tuple[int, int]]:
        try:
            with open("/proc/stat", encoding="ascii") as file:
                return core_times(file.read())
        except OSError:
            return {}  # without it there is nothing to go by, and nothing is done

    def _heed_taskset(self) -> None:
        """Somebody else has said where this process may run: so be it."""
        found = os.sched_getaffinity(os.getpid())
        if found != self._placed:
            self.allowed = self._placed = found
            self.policy.core = None

    def _place(self, cores: set[int]) -> None:
        if cores == self._placed:
            return
        stats.main.inc("core_moves")
        self._placed = set(cores)
        for _ in range(2):  # the second time for threads that were just being started
            for task in os.listdir("/proc/self/task"):
                with suppress(OSError):  # it has ended
                    os.sched_setaffinity(int(task), cores)
