"""Expiry: every object in the cache has a moment after which nobody has a use for it, and one thread removes it then.

An object's moment is ``t_origin + ttl + grace + keep``. Other threads post object cores to an *inbox* (new, changed,
to be removed); the thread alone works with the heap. ``exp_flags`` of an object core belong to this room, under its
lock:

* REFD: the expiry has a reference. Taken when the object is unbusied, given back by the thread.
* NEW: the reference is taken, `Expiry.insert` is not called yet: nothing may be posted.
* POSTED, with INSERT, MOVE, REMOVE: in the inbox, and why.

Entries of the heap are never moved: a change makes a new entry and voids the old one.

The thread is woken for what must be done before it comes up by itself. The rest of the inbox can wait, up to a limit:
to wake a thread for each new object would cost more than the work it does.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from varnishpy import log, stats
from varnishpy.base import clock
from varnishpy.base.compiled import mypyc_attr
from varnishpy.base.locks import make_condition
from varnishpy.base.panic import invariant
from varnishpy.cache.background import BackgroundCounts, start_thread
from varnishpy.cache.objcore import (
    EXP_INSERT,
    EXP_MOVE,
    EXP_NEW,
    EXP_POSTED,
    EXP_REFD,
    EXP_REMOVE,
    OC_BUSY,
    OC_DYING,
    ObjectCore,
)
from varnishpy.log.tag_numbers import EXP_KILL

if TYPE_CHECKING:
    from varnishpy.cache.hash import Hash
    from varnishpy.stats import Counting

_IDLE: Final = 3.0  # seconds between looks when there is nothing to wait for
_BATCH: Final = 256  # objects handled between two looks at the clock and at the stop flag

#: hears of ``insert`` (an object can be found now) and ``expire`` (the expiry lets go of it); any thread, no lock held
Listener = Callable[[str, ObjectCore], None]


@mypyc_attr(acyclic=True)
class TimerEntry:
    """An object's place in the heap; void when ``oc`` is None."""

    __slots__ = ("oc", "when")

    def __init__(self, when: float, oc: ObjectCore) -> None:
        self.when = when
        self.oc: ObjectCore | None = oc

    def __lt__(self, other: TimerEntry) -> bool:
        return self.when < other.when


class Expiry:
    """See the module text. Thread safe."""

    def __init__(self) -> None:
        self._cond = make_condition("exp")
        self._inbox: deque[ObjectCore] = deque()
        self._sleeps_until = 0.0  # when the thread comes up by itself; 0 while it is up
        self._stopping = False
        self._runner: threading.Thread | None = None
        self._heap: list[TimerEntry] = []  # this and what follows: of the thread
        self._void = 0
        self._counts = BackgroundCounts()
        self._hash: Hash | None = None
        self._listeners: tuple[Listener, ...] = ()  # replaced, never changed

    def attach(self, hash_: Hash) -> None:
        """The hash whose objects expire."""
        self._hash = hash_

    # -- events ----------------------------------------------------------------------------------------------------

    def subscribe(self, listener: Listener) -> None:
        """Tell a VMOD of objects that come and go."""
        with self._cond:
            self._listeners = (*self._listeners, listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Undo `subscribe`."""
        with self._cond:
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def _tell(self, event: str, oc: ObjectCore) -> None:
        for listener in self._listeners:
            listener(event, oc)

    # -- other threads ---------------------------------------------------------------------------------------------

    def insert(self, wrk: Counting, oc: ObjectCore) -> None:
        """An object has been unbusied, which took a reference for us."""
        if self._listeners and oc.exp_flags & EXP_REFD:
            self._tell("insert", oc)
        with self._cond:
            if not oc.exp_flags & EXP_REFD:
                return
            invariant(oc.exp_flags & EXP_NEW, "an object is inserted into the expiry once")
            oc.exp_flags &= ~EXP_NEW
            raced = bool(oc.exp_flags & EXP_REMOVE)
            if raced:  # removed before we were told of it
                oc.exp_flags = 0
            else:
                self._post(oc, EXP_INSERT | EXP_MOVE)
        if raced and self._hash is not None:
            self._tell("expire", oc)
            self._hash.deref(wrk, oc)

    def remove(self, oc: ObjectCore, successor: ObjectCore | None = None) -> None:
        """Let go of an object soon; it is dying. ``successor``: because a newer one has replaced it."""
        stobj = oc.stobj
        if stobj is not None:
            stobj.stevedore.forget(stobj)
        with self._cond:
            if not oc.exp_flags & EXP_REFD:
                return
            if successor is not None:
                stats.main.inc("n_superseded")
            if oc.exp_flags & EXP_NEW:
                oc.exp_flags |= EXP_REMOVE
            else:
                self._post(oc, EXP_REMOVE)

    def rearm(self, oc: ObjectCore, now: float, ttl: float, grace: float, keep: float) -> None:
        """Set times of an object in the cache. ``ttl`` counts from ``now``; NaN leaves a time as it is."""
        with self._cond:
            if not oc.exp_flags & EXP_REFD:
                return
            if not math.isnan(ttl):
                oc.ttl = now + ttl - oc.t_origin
            if not math.isnan(grace):
                oc.grace = grace
            if not math.isnan(keep):
                oc.keep = keep
            when = oc.when
            if when != oc.timer_when and not oc.exp_flags & EXP_NEW:
                self._post(oc, EXP_MOVE)
        stobj = oc.stobj
        if stobj is not None:
            stobj.stevedore.rearmed(oc)
        if not log.is_masked(EXP_KILL):
            log.vsl(EXP_KILL, 0, f"EXP_Rearm p={id(oc):#x} E={oc.timer_when:.6f} e={when:.6f} f={oc.flags:#x}")

    def reduce(self, oc: ObjectCore, now: float, ttl: float, grace: float, keep: float) -> None:
        """Like `rearm`, but no time is made longer."""
        if not math.isnan(ttl) and now + ttl - oc.t_origin >= oc.ttl:
            ttl = math.nan
        if not math.isnan(grace) and grace >= oc.grace:
            grace = math.nan
        if not math.isnan(keep) and keep >= oc.keep:
            keep = math.nan
        self.rearm(oc, now, ttl, grace, keep)

    def _post(self, oc: ObjectCore, why: int) -> None:
        """Put an object core into the inbox; the lock is held."""
        if not oc.exp_flags & EXP_POSTED:
            if why & EXP_REMOVE:
                self._inbox.appendleft(oc)
            else:
                self._inbox.append(oc)
            stats.main.inc("exp_mailed")
        elif why & EXP_REMOVE and not oc.exp_flags & EXP_REMOVE:
            # a second letter about an object whose first has waited for others to come: both count
            stats.main.inc("exp_mailed")
        oc.exp_flags |= why | EXP_POSTED
        if why & EXP_REMOVE or oc.when < self._sleeps_until or len(self._inbox) >= _BATCH:
            self._cond.notify()

    def start(self) -> None:
        """Start the thread."""
        self._stopping = False
        self._runner = start_thread("cache-exp", self._run)

    def wake(self) -> None:
        """The clock was set: look anew what is due."""
        with self._cond:
            self._cond.notify()

    def stop(self) -> None:
        """Stop the thread and wait for its end; objects stay as they are."""
        with self._cond:
            self._stopping = True
            self._cond.notify()
        thread, self._runner = self._runner, None
        if thread is not None:
            thread.join()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self.step(wait=True):
            pass
        self._counts.flush()

    def step(self, wait: bool = False) -> bool:
        """One round: the inbox, then what is due. For the thread, and for tests without it; False once stopped."""
        now = clock.now()
        due = self._expire(now) if not self._inbox else 0.0
        if due > now:
            self._counts.flush()
        with self._cond:
            if self._stopping:
                return False
            if wait and not self._inbox and due > now:
                self._sleeps_until = due
                self._cond.wait(due - now)
                self._sleeps_until = 0.0
            mail: list[tuple[ObjectCore, int]] = []
            while self._inbox and len(mail) < _BATCH:
                oc = self._inbox.popleft()
                flags = oc.exp_flags
                oc.exp_flags = 0 if flags & EXP_REMOVE else flags & EXP_REFD
                mail.append((oc, flags))
        if mail:
            twice = sum(1 for _, flags in mail if flags & EXP_REMOVE and flags & (EXP_INSERT | EXP_MOVE))
            self._counts.stats.exp_received += len(mail) + twice
            now = clock.now()
            for oc, flags in mail:
                self._handle(oc, flags, now)
        return True

    def _handle(self, oc: ObjectCore, flags: int, now: float) -> None:
        logged = not log.is_masked(EXP_KILL)
        if logged:
            log.vsl(EXP_KILL, 0, f"EXP_Inbox flg={flags:x} p={id(oc):#x} e={oc.timer_when:.6f} f={oc.flags:#x}")
        if flags & EXP_REMOVE:
            self._unlist(oc)
            if logged:
                log.vsl(EXP_KILL, 0, f"EXP_Removed x={oc.xid} t={oc.expires() - now:.0f} h={oc.hits}")
            self._release(oc)
            return
        if flags & EXP_MOVE:
            self._unlist(oc)
            oc.timer_when = oc.when
            entry = TimerEntry(oc.timer_when, oc)
            oc.timer_entry = entry
            heapq.heappush(self._heap, entry)
        if logged:
            log.vsl(EXP_KILL, 0, f"EXP_When p={id(oc):#x} e={oc.timer_when:.6f} f={flags:#x}")

    def _unlist(self, oc: ObjectCore) -> None:
        entry = oc.timer_entry
        if entry is None:
            return
        oc.timer_entry = None
        entry.oc = None
        self._void += 1
        if self._void > 1000 and self._void * 2 > len(self._heap):
            self._heap = [other for other in self._heap if other.oc is not None]
            heapq.heapify(self._heap)
            self._void = 0

    def _expire(self, now: float) -> float:
        """Remove what is due; when to look again."""
        heap = self._heap
        for _ in range(_BATCH):
            while heap and heap[0].oc is None:
                heapq.heappop(heap)
                self._void -= 1
            if not heap:
                return now + _IDLE
            oc = heap[0].oc
            assert oc is not None
            logged = not log.is_masked(EXP_KILL)
            if logged:
                log.vsl(EXP_KILL, 0, f"EXP_Inspect p={id(oc):#x} e={oc.timer_when - now:.6f} f={oc.flags:#x}")
            if oc.timer_when > now:
                return oc.timer_when
            with self._cond:
                posted = bool(oc.exp_flags & EXP_POSTED)
                if posted:
                    oc.exp_flags |= EXP_REMOVE
                else:
                    oc.exp_flags &= ~EXP_REFD
            self._counts.stats.n_expired += 1
            if posted:  # the inbox has it: it is removed there
                return now
            if self._hash is not None and not oc.flags & OC_DYING:
                self._hash.kill(oc)
            heapq.heappop(heap)
            oc.timer_entry = None
            if logged:
                log.vsl(EXP_KILL, 0, f"EXP_Expired x={oc.xid} t={oc.expires() - now:.0f} h={oc.hits}")
            self._release(oc)
        return now

    def _release(self, oc: ObjectCore) -> None:
        invariant(not oc.flags & OC_BUSY, "the expiry holds no busy objects")
        self._tell("expire", oc)
        if self._hash is not None:
            self._hash.deref(self._counts, oc)

    def pending(self) -> int:
        """Object cores in the inbox, for tests and dumps."""
        with self._cond:
            return len(self._inbox)

    def __len__(self) -> int:
        """Objects in the heap."""
        return len(self._heap) - self._void
