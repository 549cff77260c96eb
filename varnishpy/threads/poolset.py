"""All worker pools of the child.

A pool that thread_pools does without (experimental=+drop_pools) takes no more work: what still comes to it, from the
sessions it has accepted for instance, goes to the first pool, and its threads end as their tasks do. The sessions that
rest in its watch go to the first pool's.

How many workers may be active at once is a limit of the process. The pools share it out; one each is the least.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from varnishpy import stats
from varnishpy.base import clock, panic
from varnishpy.base.dumptext import DumpText
from varnishpy.base.wakeup import Wakeup
from varnishpy.params import params, table
from varnishpy.stats.latency import Latencies
from varnishpy.threads.herder import USUAL, Herder, Pace
from varnishpy.threads.pool import Pool, concurrency
from varnishpy.threads.worker import Tally

_HERDED = frozenset(
    {"thread_pool_min", "thread_pool_max", "thread_pool_reserve", "thread_pool_timeout", "thread_queue_limit"}
)


class PoolSet:
    """The pools, as many as thread_pools says; more are added when the parameter grows.

    :param on_pool: called with each pool once it runs, to give it acceptors
    :param pace: of their herders
    """

    def __init__(self, on_pool: Callable[[Pool], None] | None = None, pace: Pace = USUAL) -> None:
        self._pace = pace
        self.pools: list[Pool] = []
        self.on_pool = on_pool
        self._dropped: list[Pool] = []  # their threads may not have ended
        self._serial = itertools.count()
        self._herders: list[Herder] = []
        self._mempools: list[stats.Counters[stats.MempoolName]] = []  # of busy objects, and of each pool's requests
        self._watches: list[stats.Counters[stats.WaiterName]] = []  # of each pool's watch
        self._next = itertools.count()
        self._lock = threading.Lock()
        self._running = False

    def start(self) -> None:
        """Start pools, herders and, through those, the first workers. Returns at once."""
        self._running = True
        self._mempools.append(stats.new_segment(stats.MEMPOOL, "busyobj"))
        table.add_listener(self._param_set)
        stats.add_collector(self.refresh_stats)
        panic.add_dumper("pools", self.dump)
        self._grow()

    def _grow(self) -> None:
        added = []
        with self._lock:
            while self._running and len(self.pools) < params.thread_pools:
                pool = Pool(str(next(self._serial)))
                herder = Herder(pool, self._pace)
                self._herders.append(herder)
                self.pools = [*self.pools, pool]  # replaced, not changed: any() reads it without the lock
                herder.start()
                stats.main.inc("pools")
                self._mempools.append(stats.new_segment(stats.MEMPOOL, f"req{pool.name}"))
                self._watches.append(stats.new_segment(stats.WAITER, f"pool{pool.name}"))
                added.append(pool)
            self._share_out()
        if self.on_pool is not None:
            for pool in added:
                self.on_pool(pool)

    def _share_out(self) -> None:
        """Each pool's part of the workers that may be active."""
        pools = self.pools
        if pools:
            share = max(1, concurrency() // len(pools))
            for pool in pools:
                pool.active_limit = share

    def _shrink(self) -> None:
        with self._lock:
            while self._running and params.experimental.drop_pools and len(self.pools) > params.thread_pools:
                *kept, dropped = self.pools
                self.pools = kept
                self._dropped.append(dropped)
                with dropped.mutex:
                    dropped.heir = kept[0]
                self._end(dropped)
                dropped.watch.hand_over()
                self._mempools.pop().destroy()
                self._watches.pop().destroy()
                stats.main.dec("pools")
            self._share_out()

    def _param_set(self, name: str) -> None:
        if name in ("thread_pools", "experimental"):
            self._grow()
            self._shrink()
        elif name in _HERDED:
            for pool in self.pools:
                pool.reconfigure()

    def any(self) -> Pool:
        """A pool for work that belongs to none: each in turn."""
        pools = self.pools
        return pools[next(self._next) % len(pools)]

    def with_room(self, tell: Wakeup) -> Pool | None:
        """A pool for a new session: the next in turn that has room for it. ``None``: all are full.

        :param tell: signalled as soon as one has room, if none has now
        """
        pools = self.pools
        first = next(self._next)
        for number in range(len(pools)):
            pool = pools[(first + number) % len(pools)]
            if pool.has_room(tell):
                return pool
        return None

    def stop(self, timeout: float) -> bool:
        """Take no new tasks, let queued and running ones finish, end all threads.

        :param timeout: seconds to wait for that
        :returns: False if tasks still run; their threads do not keep the process alive
        """
        deadline = clock.mono() + timeout
        with self._lock:
            self._running = False
            pools, dropped, herders = self.pools, self._dropped, self._herders
        table.remove_listener(self._param_set)
        for pool in pools:
            self._end(pool)
        for herder in herders:
            if herder.thread is not threading.current_thread():
                herder.thread.join(max(0.0, deadline - clock.mono()))
        clean = True
        for pool in [*pools, *dropped]:
            with pool.gone:
                while pool.workers:
                    left = deadline - clock.mono()
                    if left <= 0:
                        clean = False
                        break
                    pool.gone.wait(left)
        stats.main.dec("pools", len(pools))
        self.refresh_stats()
        for segment in self._mempools:
            segment.destroy()
        for watch in self._watches:
            watch.destroy()
        self._mempools = []
        self._watches = []
        stats.remove_collector(self.refresh_stats)
        panic.remove_dumper("pools")
        return clean

    @staticmethod
    def _end(pool: Pool) -> None:
        with pool.mutex:
            pool.dying = True
            pool.rouse_herder()
            idle = list(pool.idle)
            pool.idle.clear()
            pool.watch.wake()
            # those with queued tasks to do first end by themselves, in next_task
            for worker in idle:
                if pool.queued:
                    pool.active += 1
                else:
                    worker.retire = True
        for worker in idle:
            worker.sleep.release()

    def refresh_stats(self) -> None:
        """Bring the gauges up to date that are not kept so all the time."""
        pools = self.pools
        stats.main.set("thread_queue_len", sum(pool.queued for pool in pools))
        fetches = Tally()
        for pool, segment in zip(pools, self._mempools[1:], strict=False):
            tally = pool.tally()
            fetches.add(tally)
            _show(segment, tally.req_made, tally.req_freed)
        if self._mempools:
            _show(self._mempools[0], fetches.bo_made, fetches.bo_freed)
        for pool, shown in zip(pools, self._watches, strict=False):
            watch = pool.watch
            shown.set("conns", watch.quiet)
            shown.set("remclose", watch.hangups)
            shown.set("timeout", watch.timeouts)
            shown.set("action", watch.actions)

    def latencies(self) -> Latencies:
        """Of all pools, those that are not used any more included."""
        total = Latencies()
        with self._lock:
            pools = [*self.pools, *self._dropped]
        for pool in pools:
            total.add(pool.latencies())
        return total

    def describe(self) -> list[dict[str, object]]:
        """All pools, for ``/pools``."""
        return [pool.describe() for pool in self.pools]

    def dump(self) -> str:
        """The pools as a panic dump shows them; takes no locks."""
        out = DumpText()
        with out.block("pools ="):
            for pool in self.pools:
                with out.block(f"pool = {pool.name}"):
                    threads, idle = len(pool.workers), len(pool.idle)
                    out.line(f"nidle = {idle},\nnthr = {threads},\nlqueue = {pool.queued},")
                    out.line(f"active = {pool.active},\ndequeued = {pool.dequeued},")
        return out.text()


def _show(segment: stats.Counters[stats.MempoolName], made: int, freed: int) -> None:
    """Counts of a kind of object. There is no pool of spare ones: Python's allocator is good at that."""
    segment.set("allocs", made)
    segment.set("frees", freed)
    segment.set("live", max(made - freed, 0))  # the workers go on while they are counted
