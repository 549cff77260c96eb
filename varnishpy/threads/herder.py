"""The herder of a pool: a thread that keeps the right number of workers, and the queue moving.

It sleeps deeply while nothing is queued and no worker is due to retire. `Pool.schedule` wakes it when it leaves a task
queued; it then looks again after a millisecond. A queue is *stuck* when its head has waited that long and no task was
taken since the last look, or when the head has waited much longer although tasks are being taken. A stuck queue gets
one more worker: an idle one, else a new thread, up to thread_pool_max. While the queue moves, looks grow rarer, and
after it ran empty the herder stays half awake for a moment, so that steady traffic need not wake it with every burst.

One more worker helps when those that there are wait for something and do not say so. It does not help when they
compute, or when the machine has no time for them: they would only take the interpreter from each other. How late the
herder itself comes out of its sleep tells which it is. When it is late it has more patience, and ever more the more
workers run already, so that there are only a few however many connections are busy.

A worker that begins to wait while tasks are queued, nobody runs and nobody is idle rouses the herder at once, from any
sleep: sessions that each hold their worker shall not keep others waiting for longer than threads take to start.

As long as no worker looks at the pool's watch the herder does so with each look at the queue, and does not sleep
deeply: a worker that computes for long keeps the sessions waiting that stir meanwhile, unless somebody queues them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.panic import panic
from varnishpy.log import Tag, vsl
from varnishpy.params import params
from varnishpy.threads.pool import Pool, Priority
from varnishpy.threads.worker import Worker

LINGER: Final = 25  # looks at an empty queue before falling asleep
LATE: Final = 0.002  # seconds behind time at which the interpreter, or the machine, is busy
LONGEST_SLEEP: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a herder looks, in seconds."""

    first_look: float = 0.001  # after which a queue that does not move is stuck
    patience: float = 0.020  # that a head may wait in a queue that moves
    slow_look: float = 0.008  # between looks at a queue that moves
    slowest_look: float = 0.016  # and after a worker was added to it
    half_awake: float = 0.004  # between looks at an empty queue


USUAL: Final = Pace()


class Herder:
    """The herding thread of one pool."""

    def __init__(self, pool: Pool, pace: Pace = USUAL) -> None:
        self._pool = pool
        self._pace = pace
        self._look = pace.first_look
        self._late = 0.0  # seconds by which the last sleep has been too long
        self._empty_looks = LINGER
        self._seen_dequeued = -1
        self._limited = False
        self._watch_dequeued = -1
        self._watch_since = 0.0
        self.thread = threading.Thread(target=self.run, name=f"herder-{pool.name}", daemon=True)

    def start(self) -> None:
        """Start the thread, which then starts workers up to thread_pool_min."""
        self.thread.start()

    def run(self) -> None:
        """Body of the thread: until the pool is dying."""
        pool = self._pool
        while not pool.dying:
            if len(pool.workers) < params.thread_pool_min:
                self._breed()
            else:
                self._herd()

    def _sleep(self, delay: float) -> None:
        """Sleep until woken, at most so many seconds; ``herder_asleep`` was set with the mutex held."""
        pool = self._pool
        delay = min(delay, LONGEST_SLEEP)
        began = clock.mono()
        if not pool.herder_sleep.acquire(timeout=delay):
            self._late = clock.mono() - began - delay
        with pool.mutex:
            pool.herder_deep = pool.herder_asleep = False
            # woken just as the time was over: the lock must be ours again before it is next released
            pool.herder_sleep.acquire(blocking=False)

    def _pause(self, delay: float, deep: bool = True) -> None:
        """Sleep outside of a look.

        :param deep: any task wakes us; else only one that needs a worker yet to be made, as there may be one by now
        """
        pool = self._pool
        with pool.mutex:
            if pool.dying or (not deep and pool.needs_breeding()):
                return
            pool.herder_asleep = True
            pool.herder_deep = deep
        self._sleep(delay)

    def _breed(self) -> bool:
        if self._pool.breed():
            if params.thread_pool_add_delay > 0:
                self._pause(params.thread_pool_add_delay)
            return True
        self._pause(params.thread_pool_fail_delay)
        return False

    def _herd(self) -> None:
        pool = self._pool
        worker: Worker | None = None
        retired: Worker | None = None
        breed = False
        delay = LONGEST_SLEEP
        watch = pool.watch
        news = watch.look() if watch.watched and not watch.led else []
        with pool.mutex:
            if pool.dying:
                return
            now = clock.mono()
            self._watchdog(now)
            if news:
                pool.take_news(news, now)
            neglected = pool.neglected()
            if pool.queued or (neglected and pool.active < pool.active_limit):
                self._empty_looks = 0
                if pool.active < pool.active_limit or self._stuck(now):
                    worker = pool.take_idle()
                    if worker is None and pool.lacks_hands():
                        breed = len(pool.workers) < params.thread_pool_max
                        if not breed and not self._limited:
                            stats.main.inc("threads_limited")
                            self._limited = True
                delay = self._look if pool.queued else self._pace.slow_look
            else:
                self._look = self._pace.first_look
                self._limited = False
                retired, delay = self._retire(now)
                if retired is None and self._empty_looks < LINGER:
                    self._empty_looks += 1
                    delay = min(delay, self._pace.half_awake)
                elif retired is None and neglected:
                    delay = min(delay, self._pace.slow_look)
                elif retired is None:
                    pool.herder_deep = True
            pool.herder_asleep = worker is None and not breed and retired is None
        if worker is not None:
            worker.sleep.release()
            self._pause(delay, deep=False)
        elif breed:
            self._limited = False
            if self._breed():
                self._pause(delay, deep=False)
        elif retired is not None:
            retired.sleep.release()
            self._pause(params.thread_pool_destroy_delay)
        else:
            self._sleep(delay)

    def _stuck(self, now: float) -> bool:
        """With the mutex held and tasks queued: does the queue need one more worker? Also sets when to look again."""
        pool = self._pool
        waited = now - min(queue[0][0] for queue in pool.queues if queue)
        moving = pool.dequeued != self._seen_dequeued
        self._seen_dequeued = pool.dequeued
        if self._late >= LATE:
            patience = self._pace.patience * max(1, pool.active - pool.active_limit + 1) ** 2
        else:
            patience = self._pace.patience if moving else self._pace.first_look
        if waited >= patience:
            self._look = self._pace.first_look if not moving else self._pace.slowest_look
            return True
        # each look takes the interpreter from those who work
        self._look = min(self._look * 2, self._pace.slow_look) if moving else self._pace.first_look
        return False

    def _retire(self, now: float) -> tuple[Worker | None, float]:
        """With the mutex held and nothing queued: the worker that has to go, or when to look for one."""
        pool = self._pool
        count = len(pool.workers)
        if count <= params.thread_pool_min or not pool.idle:
            return None, LONGEST_SLEEP
        oldest = pool.idle[0]
        left = oldest.last_used + params.thread_pool_timeout - now
        if left > 0 and count <= params.thread_pool_max:
            return None, max(left, params.thread_pool_destroy_delay)
        pool.idle.popleft()
        oldest.retire = True
        return oldest, 0.0

    def _watchdog(self, now: float) -> None:
        """With the mutex held: panic when fetches are queued and nothing was taken for too long."""
        pool = self._pool
        if not pool.queues[Priority.BO] or pool.dequeued != self._watch_dequeued:
            self._watch_dequeued = pool.dequeued
            self._watch_since = now
        elif now - self._watch_since > params.thread_pool_watchdog:
            waited = now - self._watch_since
            vsl(Tag.Error, 0, f"Pool Herder: Queue does not move ql={pool.queued} dt={waited:f}")
            panic("Worker Pool Queue does not move - see thread_pool_watchdog parameter")
