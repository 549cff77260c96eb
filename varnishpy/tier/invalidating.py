"""Telling all nodes of an invalidation: numbered, marked, appended, applied at home, and only then acknowledged.

Where the engine cannot be had it is applied at home all the same and waits in a bounded queue; meanwhile this node
takes nothing from the tier, which may still have what was purged. Should there be too many for the queue, *everything*
is made stale once the engine is back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.params import params
from varnishpy.stats import Counting
from varnishpy.threads.worker import current_worker
from varnishpy.tier.applying import tags_of, words_of
from varnishpy.tier.errors import TierError
from varnishpy.tier.position import order
from varnishpy.tier.record import ALL, BAN, KEYS, PURGE, Invalidation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from varnishpy.cache.ban_spec import Test
    from varnishpy.stats.names import TierName
    from varnishpy.tier.applying import Applier
    from varnishpy.tier.clockwork import Clockwork
    from varnishpy.tier.follower import Follower
    from varnishpy.tier.store import Store

_MOST: Final = 1000  # invalidations that wait for the engine
LIVE: Final = 5.0  # seconds since its last report for which a node counts as living
_LOOK: Final = 0.002  # seconds between looks at what nodes have reported


class Outcome(Enum):
    """How far an invalidation has come when its maker goes on."""

    LOGGED = "logged"  # every node will apply it
    EVERYWHERE = "everywhere"  # every live node has applied it
    NOT_EVERYWHERE = "not everywhere"  # logged, but some node did not report in time
    QUEUED = "queued"  # applied at home, and waiting for the engine


class Invalidator:
    """See the module text; `Spreading` of cache, bans and keys. Any thread.

    :param wait_all: wait until all live nodes have applied it
    """

    def __init__(
        self,
        store: Store,
        node: str,
        applier: Applier,
        follower: Callable[[], Follower],
        times: Clockwork,
        counters: stats.Counters[TierName],
        wait_all: bool,
    ) -> None:
        self._store = store
        self._node = node
        self._applier = applier
        self._follower = follower
        self._times = times
        self._counters = counters
        self._wait_all = wait_all
        self._lock = make_lock("tier_pending")
        self._waiting: deque[Invalidation] = deque()
        self._too_many = False
        self._flushing = threading.Lock()
        self._latest = threading.local()

    # -- Spreading -------------------------------------------------------------------------------------------------

    def purge(self, wrk: Counting, digest: bytes, now: float, ttl: float, grace: float, keep: float) -> int:
        """As `Hash.purge`."""
        return self.invalidate(Invalidation(PURGE, digest=digest, ttl=ttl, grace=grace, keep=keep), wrk)

    def purge_keys(self, namespace: str, keys: Sequence[str]) -> int:
        """As `KeyIndex.purge`."""
        return self.invalidate(Invalidation(KEYS, tags=tags_of(namespace, keys))) if keys else 0

    def soften_keys(
        self, namespace: str, keys: Sequence[str], now: float, ttl: float, grace: float, keep: float
    ) -> int:
        """As `KeyIndex.soften`."""
        if not keys:
            return 0
        tags = tags_of(namespace, keys)
        return self.invalidate(Invalidation(KEYS, tags=tags, ttl=ttl, grace=grace, keep=keep))

    def ban(self, tests: tuple[Test, ...]) -> None:
        """As `Bans.add`."""
        self.invalidate(Invalidation(BAN, words=words_of(tests)))

    # -- the way of one ------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many the engine does not know of yet."""
        return len(self._waiting) + self._too_many

    @property
    def outcome(self) -> Outcome:
        """Of the latest invalidation on this thread."""
        return getattr(self._latest, "outcome", Outcome.LOGGED)

    def invalidate(self, invalidation: Invalidation, wrk: Counting | None = None) -> int:
        """Have it applied everywhere; how many objects it met at home."""
        worker = current_worker()
        follower = self._follower()
        invalidation = replace(invalidation, node=self._node, moment=self._times.now_there())
        name = b""
        with worker.blocking() if worker is not None else nullcontext():
            try:
                if self.pending:
                    raise TierError("others are waiting already")
                invalidation, name = self._send(invalidation)
                self._counters.inc("sent")
                outcome = Outcome.LOGGED
            except TierError:
                self._queue(invalidation)
                outcome = Outcome.QUEUED
            met = self._applier.apply(invalidation, wrk)
            if self._wait_all and outcome is Outcome.LOGGED:
                outcome = self._wait(name, follower)
        self._latest.outcome = outcome
        return met

    def _send(self, invalidation: Invalidation) -> tuple[Invalidation, bytes]:
        """Number, mark, append; with its number and its id. :raises TierError:"""
        store = self._store
        follower = self._follower()
        number = store.number()
        seen = follower.position.number
        if number <= seen:  # the engine has lost some, and this number is worth nothing
            store.repair(seen, missing=True)
            number = store.number()
        invalidation = replace(invalidation, number=number)
        follower.note_number(number)
        follower.own(number)
        store.mark(invalidation)
        name = store.append(invalidation)
        follower.note_appended(name)
        return invalidation, name

    def _queue(self, invalidation: Invalidation) -> None:
        self._counters.inc("queued")
        with self._lock:
            if len(self._waiting) >= _MOST:
                self._too_many = True
            else:
                self._waiting.append(invalidation)

    def flush(self) -> None:
        """Send what has been waiting. :raises TierError: and what could not be sent waits on"""
        if not self.pending or not self._flushing.acquire(blocking=False):
            return
        try:
            while self._waiting:
                sent, _ = self._send(self._waiting[0])
                self._applier.note(sent)  # when it was applied it had no number, which stored objects are held against
                self._counters.inc("sent")
                with self._lock:
                    self._waiting.popleft()
            if self._too_many:
                self._send(Invalidation(ALL, node=self._node, moment=self._times.now_there()))
                self._too_many = False
        finally:
            self._flushing.release()

    def _wait(self, name: bytes, follower: Follower) -> Outcome:
        """Until every live node has reported that id."""
        deadline = clock.mono() + params.tier_purge_wait
        pause = threading.Event()
        while True:
            try:
                now = self._times.now_there()
                late = [
                    node
                    for node, (applied, moment) in self._store.nodes().items()
                    if node != self._node and now - moment < LIVE and order(applied) < order(name)
                ]
            except TierError:
                late = [""]
            if not late:
                return Outcome.EVERYWHERE
            if clock.mono() > deadline:
                return Outcome.NOT_EVERYWHERE
            pause.wait(_LOOK)
