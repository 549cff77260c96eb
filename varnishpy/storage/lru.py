"""The list of a stevedore's objects, least recently used first.

To keep the lock cold, an object is moved to the end at most once per ``lru_interval``, and not at all when another
thread holds the lock: the order is approximate, as in Varnish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from varnishpy import log, stats
from varnishpy.base.locks import make_lock
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.storage.core import Core

_EXPKILL = int(Tag.ExpKill)


class Reclaimer(Protocol):
    """The cache, which alone may take an object out of use."""

    def snipe(self, oc: Core) -> bool:
        """If nobody uses the object, take a reference, mark it dying and return True."""
        ...

    def drop(self, oc: Core) -> None:
        """Give the reference taken by `snipe` back."""
        ...


class Lru:
    """See the module text."""

    __slots__ = ("_count", "_ends", "_lock", "moved", "reclaimer")

    def __init__(self) -> None:
        self._lock = make_lock("lru")
        # The list is a ring through the object cores; this one closes it, and is no object's.
        ends = Core()
        ends.lru_next = ends.lru_prev = ends
        self._ends = ends
        self._count = 0
        self.reclaimer: Reclaimer | None = None
        #: is told of each object that was moved, and when
        self.moved: Callable[[Core, float], None] | None = None

    def __len__(self) -> int:
        return self._count

    @staticmethod
    def _link(oc: Core, before: Core) -> None:
        """Put an object that is on no list before another; the lock is held."""
        prev = before.lru_prev
        assert prev is not None
        oc.lru_prev = prev
        oc.lru_next = before
        prev.lru_next = oc
        before.lru_prev = oc

    @staticmethod
    def _unlink(oc: Core) -> bool:
        """Take an object off the list; False: it was not on it. The lock is held."""
        prev, following = oc.lru_prev, oc.lru_next
        if prev is None or following is None:
            return False
        prev.lru_next = following
        following.lru_prev = prev
        oc.lru_prev = oc.lru_next = None
        return True

    def add(self, oc: Core, now: float) -> None:
        """Put an object that is complete on the list."""
        with self._lock:
            self._link(oc, self._ends)
            self._count += 1
            oc.last_lru = now

    def add_oldest(self, oc: Core, used: float) -> None:
        """Put an object on the list that was not used since all others that are there."""
        with self._lock:
            first = self._ends.lru_next
            assert first is not None
            self._link(oc, first)
            self._count += 1
            oc.last_lru = used

    def remove(self, oc: Core) -> None:
        """Take an object that is being freed off the list; it need not be on it."""
        with self._lock:
            if self._unlink(oc):
                self._count -= 1
            oc.last_lru = 0.0

    def touch(self, oc: Core, now: float) -> None:
        """The object was used."""
        last = oc.last_lru
        if not last or now - last < params.lru_interval:
            return
        if not self._lock.acquire(blocking=False):
            return
        moved = False
        try:
            if self._unlink(oc):
                self._link(oc, self._ends)
                oc.last_lru = now
                moved = True
        finally:
            self._lock.release()
        if moved:
            stats.main.inc("n_lru_moved")
            if self.moved is not None:
                self.moved(oc, now)

    def nuke_one(self) -> bool:
        """Throw away the least recently used object that nobody uses; False when there is none."""
        reclaimer = self.reclaimer
        if reclaimer is None:
            return False
        tried: set[Core] = set()
        while True:
            oc = self._candidate(tried)
            if oc is None:
                log.vsl(_EXPKILL, 0, "LRU_Fail")
                return False
            log.vsl(_EXPKILL, 0, f"LRU_Cand p={id(oc):#x} f={oc.flags:#x} r={oc.refcount}")
            # Not under our lock: locks of object heads and of the expiry come before it in the order of locks.
            if reclaimer.snipe(oc):
                break
            tried.add(oc)
        stats.main.inc("n_lru_nuked")
        stobj = oc.stobj
        if stobj is not None:
            stobj.slim()
        log.vsl(_EXPKILL, 0, f"LRU xid={oc.xid}")
        reclaimer.drop(oc)
        return True

    def _candidate(self, tried: set[Core]) -> Core | None:
        with self._lock:
            oc = self._ends.lru_next
            while oc is not None and oc is not self._ends:
                if oc.refcount == 1 and oc not in tried:
                    self._unlink(oc)
                    self._link(oc, self._ends)  # so that the next search does not find it first again
                    return oc
                oc = oc.lru_next
        return None
