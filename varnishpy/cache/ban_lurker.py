"""The ban lurker: a thread that tests objects against bans nobody's request has tested yet, and shortens the list.

It works with bans that are older than ``ban_lurker_age`` and need no request. Objects are moved as far up the list as
such bans reach; a ban on requests is a barrier for moving, not for testing. When all objects below have been tested
against a ban, it is complete. With ``ban_cutoff``, objects that far down the list are killed untested.

An object core found in the list is kept alive by our reference to it as a Python object; only under its head's lock do
we learn whether it is still in use. So no lock is ever taken against the order of locks.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from varnishpy import log, stats
from varnishpy.base import clock
from varnishpy.cache.background import BackgroundCounts, start_thread
from varnishpy.cache.objcore import OC_BUSY, OC_DYING, OC_FAILED, ObjectCore
from varnishpy.log.tag_numbers import DEBUG, EXP_BAN
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.cache.ban import Ban, Bans
    from varnishpy.cache.hash import Hash

_IDLE: Final = 49.62  # seconds between looks when nothing is known to be due
_PORTION: Final = 1000  # objects that are listed at a time


class Lurker:
    """See the module text."""

    def __init__(self, bans: Bans, hash_: Hash) -> None:
        self._bans = bans
        self._hash = hash_
        self._counts = BackgroundCounts()
        self._batch = 0
        self._runner: threading.Thread | None = None

    def start(self) -> None:
        self._runner = start_thread("ban-lurker", self._run)

    def join(self) -> None:
        thread, self._runner = self._runner, None
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        bans = self._bans
        while not bans.stopping:
            with bans.cond:
                kicks = bans.kicks
            pause = self.work()
            self._counts.flush()
            if params.debug.lurker:
                log.vsl(DEBUG, 0, f"lurker: sleep = {pause:f}")
            with bans.cond:
                if bans.kicks == kicks and not bans.stopping:
                    bans.cond.wait(pause)
                    self._batch = 0
        self._counts.flush()

    def _sleep(self, seconds: float) -> None:
        """Rest; a stop ends it at once, a new ban does not."""
        deadline = clock.mono() + seconds
        bans = self._bans
        with bans.cond:
            while not bans.stopping:
                left = deadline - clock.mono()
                if left <= 0:
                    return
                bans.cond.wait(left)

    def work(self) -> float:
        """One pass over the list; seconds until the next one makes sense."""
        bans = self._bans
        if params.ban_lurker_sleep == 0:
            bans.clean_tail()
            return _IDLE
        cutoff = params.ban_cutoff or None
        # a ban is old enough by either clock: that of the wall may have been set back
        before = clock.now() - params.ban_lurker_age
        made_before = clock.mono() - params.ban_lurker_age
        pause = _IDLE
        target: Ban | None = None  # the ban that objects are moved up to
        testing: list[Ban] = []  # newest first
        ban: Ban | None = bans.newest
        count = 0
        while ban is not None and not bans.stopping:
            beyond = cutoff is not None and count > cutoff
            if target is not None:
                self._test_objects(ban, testing, target, beyond)
            if not ban.completed:
                if ban.on_request and not beyond:
                    if target is not None:
                        target = ban.older
                else:
                    due = min(ban.moment - before, ban.made - made_before)
                    if due < 0:
                        testing.append(ban)
                        if target is None:
                            target = ban
                    else:
                        pause = min(pause, due)
            ban = ban.older
            count += 1
        if bans.stopping:
            return 0.0
        bans.clean_tail()
        with bans.cond:
            if not bans.cold:  # else there are objects below that were not tested
                for done in testing:
                    bans.complete(done)
        bans.clean_tail()
        return max(pause, 0.001)

    def _test_objects(self, ban: Ban, testing: list[Ban], target: Ban, kill: bool) -> None:
        """Hold the bans being tested against all objects that refer to ``ban``.

        They are listed in portions: hits wait for the lock of the list.
        """
        bans = self._bans
        with bans.cond:
            ban.rewind()
        while True:
            with bans.cond:
                objcores = ban.next_objcores(_PORTION)
            if not objcores:
                return
            for oc in objcores:
                if bans.stopping:
                    return
                self._batch += 1
                if self._batch > params.ban_lurker_batch:
                    self._counts.flush()
                    self._sleep(params.ban_lurker_sleep)
                    self._batch = 0
                if self._take(oc, ban):
                    self._test(oc, ban, testing, target, kill)
                    self._hash.deref(self._counts, oc)

    def _take(self, oc: ObjectCore, ban: Ban) -> bool:
        """Get a reference to an object, unless it is on its way out or has moved."""
        lock = oc.objhead.lock
        if not lock.acquire(blocking=False):
            stats.main.inc("bans_lurker_contention")
            self._sleep(params.ban_lurker_holdoff)
            lock.acquire()
        try:
            if oc.refcount <= 0 or oc.flags & OC_BUSY or oc.ban is not ban:
                return False
            if oc.flags & (OC_DYING | OC_FAILED):
                self._bans.forget(oc)  # whoever still delivers it does not care about bans
                return False
            oc.refcount += 1
            return True
        finally:
            lock.release()

    def _test(self, oc: ObjectCore, ban: Ban, testing: list[Ban], target: Ban, kill: bool) -> None:
        counts = self._counts.stats
        for test in reversed(testing):
            if oc.ban is not ban:
                return  # a lookup was faster
            if test.completed:
                continue
            if kill:
                log.vsl(EXP_BAN, 0, f"{oc.xid} killed for lurker cutoff")
                counts.bans_lurker_obj_killed_cutoff += 1
                self._hash.kill(oc)
                return
            banned, tested = test.matches(oc, None)
            counts.bans_lurker_tested += 1
            counts.bans_lurker_tests_tested += tested
            if banned:
                log.vsl(EXP_BAN, 0, f"{oc.xid} banned by lurker")
                counts.bans_lurker_obj_killed += 1
                self._hash.kill(oc)
                return
        self._bans.move(oc, ban, target)
