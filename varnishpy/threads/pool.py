"""A pool of workers and its queues.

**Who runs what.** Tasks have a priority: what finishes work already begun goes before what begins new work. Part of the
idle workers is a *reserve* for the upper priorities, so sessions can never hold all the threads that the requests of
those very sessions wait for.

**Who wakes whom.** Waking a thread costs more than most tasks do. So `Pool.schedule` wakes a worker only while fewer
than `concurrency` workers of the pool are *active*: running, and not in a wait they announced. (With a GIL that number
is 1; without, the number of cores.) Otherwise the task is queued for them: a worker takes the next task before it
sleeps, and one that announces a wait has another woken if tasks are queued. A worker that computes for long, or waits
without saying so, would hold the queue up; the *herder* (``herder.py``) finds that within a millisecond or so, and
wakes or starts another.

**Who looks at quiet sessions.** A worker that finds no task, while fewer than ``concurrency`` are active, does not
sleep but *leads*: it waits for the sessions in the pool's watch (``watch.py``), queues those that have stirred, and
goes on as any worker. One leads at most. It counts as idle meanwhile, and is called up when a task needs a worker and
nobody else is idle. An active worker that begins to wait has another take the lead. As long as all who may run are busy
nobody leads: then every so many tasks one is to look at the watch, and the herder looks if that takes too long.

One mutex guards queues and counts. It is held for a few statements; only a counter may be stepped meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from enum import IntEnum

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.compiled import mypyc_attr
from varnishpy.base.locks import make_condition, make_lock
from varnishpy.base.wakeup import Wakeup
from varnishpy.log import Tag, vsl
from varnishpy.params import params
from varnishpy.stats.latency import Latencies
from varnishpy.threads.planned import planned
from varnishpy.threads.watch import News, Watch
from varnishpy.threads.worker import Tally, Task, TaskInfo, Worker


class Priority(IntEnum):
    """What a task is for; lower goes first."""

    BO = 0  # backend fetch: somebody waits for it already
    RUSH = 1  # a request that was on a waiting list
    STR = 2  # a request of a running HTTP/2 session
    REQ = 3  # a session: new, or resumed by the waiter
    VCA = 4  # the acceptor
    BG = 5  # what can as well be left undone: never queued


# share of the reserve that must stay idle when a task of each priority starts
_RESERVE_SHARE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_LEAST_RESERVE = 5  # one for each priority that is queued
_LIMITED = (False, False, True, True, False, False)  # which may be refused when the queue is long
_LOOK_EVERY = 64  # tasks taken until the watch is looked at although more tasks are queued


def concurrency() -> int:
    """How many workers of this process may be active at once: what the interpreter and the affinity mask allow."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return 1
    return len(os.sched_getaffinity(0))


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool:
    """Worker threads with a common queue.

    :param name: ``0``, ``1``, ...: part of the workers' names
    :param active_limit: overrides `concurrency`
    """

    def __init__(self, name: str, active_limit: int | None = None) -> None:
        self.name = name
        self.active_limit = active_limit or concurrency()
        self.mutex = make_lock("wq")
        self.gone = make_condition("wq", self.mutex)  # notified as each worker ends
        self.queues: tuple[deque[tuple[float, Task]], ...] = tuple(deque() for _ in Priority)
        self.idle: deque[Worker] = deque()  # the latest to fall idle at the right: it is woken first
        self.workers: set[Worker] = set()
        self.active = 0
        self.queued = 0
        self._leaving = 0  # workers whose task is giving up, see `let_go`
        self.dequeued = 0  # tasks ever taken
        self.dying = False
        self.heir: Pool | None = None  # the pool that is given work which still comes to this one when it is dying
        self.past = Tally()  # of workers that have ended
        self.past_latencies = Latencies()
        self.watch = Watch(self)
        self._crowd: list[Wakeup] = []  # of acceptors that wait for room
        # the herder sleeps on a lock that is released to wake it, once for each sleep; deep: it will not look by itself
        self.herder_sleep = threading.Lock()
        self.herder_sleep.acquire()
        self.herder_asleep = False
        self.herder_deep = False
        self.serial = 0
        self._limits: tuple[int, ...] = ()
        self._order: tuple[tuple[deque[tuple[float, Task]], int], ...] = ()
        self._room = 0
        self._most = 0
        self.reconfigure()

    def reconfigure(self) -> None:
        """Take over parameters that the hot path reads from here."""
        least = params.thread_pool_min
        reserve = params.thread_pool_reserve
        if reserve == 0:
            reserve = least // 20 + 1
        reserve = max(_LEAST_RESERVE, min(reserve, least * 95 // 100))
        reserve = min(reserve, least - 1)  # else no session could ever start in the smallest pools
        with self.mutex:
            self._limits = tuple(int(reserve * share) for share in _RESERVE_SHARE)
            self._order = tuple(zip(self.queues, self._limits, strict=True))
            self._most = params.thread_pool_max
            self._room = self._most + params.thread_queue_limit
            self._tell_crowd()
            self.wake_herder()

    # -- for everybody ---------------------------------------------------------------------------------------------

    def schedule(self, task: Task, prio: Priority) -> bool:
        """Have a task run by a worker. Callable from any thread, never blocks.

        :returns: False if the task was refused: the queue is at its limit, nothing is idle for a `Priority.BG` task, or
            the pool is stopping. The caller must give up what the task was for. Requests refused are counted.
        """
        if planned.left and _LIMITED[prio] and planned.next():
            return False
        now = clock.mono()
        worker = None
        with self.mutex:
            if self.dying:
                heir = self.heir
                return heir is not None and heir.schedule(task, prio)
            usable = len(self.idle) + self.watch.led - self._limits[prio]
            if usable <= 0:
                if prio == Priority.BG:
                    return False
                if _LIMITED[prio] and self._room_left() <= 0:
                    return self._refused(prio, 1)
                stats.main.inc("sess_queued")
            elif _LIMITED[prio] and self._room_left() + usable <= 0:
                return self._refused(prio, 1)
            elif self.active < self.active_limit:
                worker = self._call_up()
            self.queues[prio].append((now, task))
            self.queued += 1
            if worker is None and self.herder_deep:
                self.wake_herder()
        if worker is not None:
            worker.sleep.release()
        return True

    def schedule_all(self, tasks: Sequence[Task], prio: Priority) -> int:
        """`schedule` for several tasks at once: one turn of the lock, and one worker woken at most.

        :returns: how many were taken, from the front; the others were refused and counted
        """
        now = clock.mono()
        worker = None
        taken = len(tasks)
        if planned.left and _LIMITED[prio]:
            taken = next((at for at in range(taken) if planned.next()), taken)
            tasks = tasks[:taken]
        with self.mutex:
            if self.dying:
                heir = self.heir
                return 0 if heir is None else heir.schedule_all(tasks, prio)
            usable = len(self.idle) + self.watch.led - self._limits[prio]
            if _LIMITED[prio]:
                room = max(self._room_left() + max(usable, 0), 0)
                if room < taken:
                    self._refused(prio, taken - room)
                    taken = room
            if taken:
                if usable <= 0:
                    if prio == Priority.BG:
                        return 0
                    stats.main.inc("sess_queued", taken)
                elif self.active < self.active_limit:
                    worker = self._call_up()
                self.queues[prio].extend([(now, task) for task in tasks[:taken]])
                self.queued += taken
                if (worker is None or taken > 1) and self.herder_deep:  # the others are behind the one called up
                    self.wake_herder()
        if worker is not None:
            worker.sleep.release()
        return taken

    def _room_left(self) -> int:
        """With the mutex held: how many more tasks may be queued, not counting those for whom somebody is idle."""
        return self._room - len(self.workers) - self.queued

    @staticmethod
    def _refused(prio: Priority, count: int) -> bool:
        if prio == Priority.STR:
            stats.main.inc("req_dropped", count)
        return False

    def has_room(self, tell: Wakeup) -> bool:
        """Is there room for one more session? Callable from any thread.

        :param tell: signalled as soon as there is, if the answer is False
        """
        with self.mutex:
            if self._has_room():
                return True
            if tell not in self._crowd:
                self._crowd.append(tell)
            return False

    def _has_room(self) -> bool:
        return self._room_left() + max(0, len(self.idle) + self.watch.led - self._limits[Priority.REQ]) > 0

    def admit(self, task: Task) -> bool:
        """Queue a new session, which `has_room` was asked for. False: the pool is stopping.

        Never refused for want of room: two who ask at once may both be let in.
        """
        worker = None
        with self.mutex:
            heir = self.heir
            if heir is None:
                if self.dying:
                    return False
                usable = len(self.idle) + self.watch.led - self._limits[Priority.REQ]
                if usable <= 0:
                    stats.main.inc("sess_queued")
                elif self.active < self.active_limit:
                    worker = self._call_up()
                self.queues[Priority.REQ].append((clock.mono(), task))
                self.queued += 1
                if worker is None and self.herder_deep:
                    self.wake_herder()
        if heir is not None:
            return heir.admit(task)
        if worker is not None:
            worker.sleep.release()
        return True

    def _tell_crowd(self) -> None:
        """With the mutex held, and somebody waiting for room: tell if there is some."""
        if self._has_room():
            for tell in self._crowd:
                tell.signal()
            self._crowd.clear()

    def again(self, task: Task) -> None:
        """Queue a task behind all that wait, also in the watch: a session with more to do gives its turn away.

        It is never refused.
        """
        with self.mutex:
            heir = self.heir
            if heir is None:
                self.watch.looked = self.dequeued - _LOOK_EVERY
                self.queues[Priority.REQ].append((clock.mono(), task))
                self.queued += 1
                self.wake_herder()
        if heir is not None:
            heir.again(task)

    # -- for workers -----------------------------------------------------------------------------------------------

    def next_task(self, worker: Worker) -> Task | None:
        """The task to do next. ``None``: the worker is on the idle list now and must sleep, or it has to retire."""
        watch = self.watch
        with self.mutex:
            if self.queued:
                if self.dequeued - watch.looked >= _LOOK_EVERY and watch.watched and not watch.led:
                    watch.looked = self.dequeued
                    return self._look
                idle = len(self.idle) + watch.led
                for queue, limit in self._order:
                    if queue and (idle >= limit or self.dying):
                        self.queued -= 1
                        self.dequeued += 1
                        if self._crowd:
                            self._tell_crowd()
                        return queue.popleft()[1]
            self.active -= 1
            if self.dying:
                worker.retire = True
            elif watch.watched and not watch.led and self.active < self.active_limit:
                watch.begin_leading()
                worker.leads = True
            else:
                self._fall_idle(worker, clock.mono())
            return None

    def lead(self, worker: Worker) -> bool:
        """Wait until sessions stir, and queue them. False: enough others are active, the worker is on the idle list."""
        watch = self.watch
        news = watch.look()
        if not news:
            worker.merge_stats()
            news = watch.wait()
        now = clock.mono()
        helpers: list[Worker] = []
        with self.mutex:
            watch.led = worker.leads = False
            self.take_news(news, now)
            if self.queued and self.herder_deep:
                self.wake_herder()
            if self.active >= self.active_limit and not self.dying:
                self._fall_idle(worker, now)
                return False
            self.active += 1
            # where several may run at once: one for each task, and one to lead
            for _ in range(min(self.active_limit - self.active, self.queued, len(self.idle))):
                helpers.append(self._call_up_idle())
        for helper in helpers:
            helper.sleep.release()
        return True

    def take_news(self, news: News, now: float) -> None:
        """With the mutex held: queue the sessions that have stirred, by what the kernel told or because it is time."""
        watch = self.watch
        watch.looked = self.dequeued
        tasks = watch.sort(news, now)
        if tasks:
            self.queues[Priority.REQ].extend([(now, task) for task in tasks])
            self.queued += len(tasks)

    def _look(self, worker: Worker) -> None:
        """Task: look at the watch, although there is other work."""
        news = self.watch.look()
        with self.mutex:
            self.take_news(news, clock.mono())

    def _fall_idle(self, worker: Worker, now: float) -> None:
        """With the mutex held."""
        worker.last_used = now
        self.idle.append(worker)
        if self._crowd:
            self._tell_crowd()

    def _call_up(self) -> Worker | None:
        """With the mutex held, and somebody idle: have one more worker run. The caller releases its ``sleep``."""
        if self.idle:
            return self._call_up_idle()
        self.watch.wake()
        return None

    def _call_up_idle(self) -> Worker:
        self.active += 1
        return self.idle.pop()

    def stirred(self, task: Task) -> Worker | None:
        """With the mutex held: queue a resting session that somebody has stirred.

        :returns: the worker to wake by releasing its ``sleep``
        """
        self.queues[Priority.STR].append((clock.mono(), task))
        self.queued += 1
        worker = self.take_idle() if self.active < self.active_limit else None
        if worker is None:
            self.wake_herder()
        return worker

    def attend(self) -> Worker | None:
        """With the mutex held: see that somebody looks after the resting sessions. The worker to wake for that."""
        if self.watch.led or self.active >= self.active_limit or self.dying:
            return None
        if self.idle:
            return self._call_up_idle()
        self.rouse_herder()
        return None

    def worker_blocks(self) -> None:
        """An active worker begins to wait; somebody else must take the tasks that are queued, and lead."""
        worker = None
        with self.mutex:
            self.active -= 1
            if self.active < self.active_limit:
                worker = self.take_idle()
                if worker is None and self.needs_breeding():
                    self.rouse_herder()  # nobody runs, nobody is idle: another must be made, now
        if worker is not None:
            worker.sleep.release()

    def worker_runs(self) -> None:
        """A worker's wait is over."""
        with self.mutex:
            self.active += 1

    def worker_gone(self, worker: Worker, was_active: bool) -> None:
        """A worker's thread ends; in the middle of a task if it was active."""
        with self.gone:
            self.workers.discard(worker)
            self.past.add(worker.tally)
            self.past_latencies.add(worker.latencies)
            if was_active:
                self.active -= 1
            if worker.leads:
                self.watch.led = False
            if self.dying and not self.workers:
                self.watch.close()
            self.wake_herder()
            stats.main.dec("threads")
            stats.main.inc("threads_destroyed")
            self.gone.notify_all()

    # -- for the herder --------------------------------------------------------------------------------------------

    def take_idle(self) -> Worker | None:
        """With the mutex held: take a worker off the idle list that may run some queued task or lead.

        It is counted as active, and the caller releases its ``sleep`` after the mutex. ``None``: there is none that
        may, or it is the leader, which has been told.
        """
        if self._runnable():
            return self._call_up()
        if self.idle and self.neglected():
            return self._call_up_idle()
        return None

    def _runnable(self) -> bool:
        """With the mutex held: may an idle worker, or the leader, run some queued task?"""
        if self.queued:
            idle = len(self.idle) + self.watch.led
            for queue, limit in self._order:
                if queue and idle > limit:
                    return True
        return False

    def neglected(self) -> bool:
        """With the mutex held: are there sessions in the watch, and nobody who leads?"""
        watch = self.watch
        return not watch.led and len(watch.watched) > 0

    def wake_herder(self) -> None:
        """With the mutex held: wake the herder if it sleeps deeply."""
        if self.herder_deep:
            self.rouse_herder()

    def rouse_herder(self) -> None:
        """With the mutex held: wake the herder, also from the pause between two looks."""
        self.herder_deep = False
        if self.herder_asleep:
            self.herder_asleep = False
            self.herder_sleep.release()

    def lacks_hands(self) -> bool:
        """With the mutex held: is there something to do that nobody who is idle may do?"""
        return not self._runnable() if self.queued else self.neglected() and not self.idle

    def needs_breeding(self) -> bool:
        """With the mutex held: is there something to do now, and nobody to do it but a worker yet to be made?"""
        return self.active < self.active_limit and len(self.workers) < self._most and self.lacks_hands()

    def breed(self) -> bool:
        """Start one more worker; False, counted and logged, if the system refuses."""
        with self.mutex:
            self.serial += 1
            worker = Worker(self, f"worker-{self.name}-{self.serial}")
            self.workers.add(worker)
            self.active += 1  # it comes up looking for a task
        worker.thread = threading.Thread(target=worker.run, name=worker.name, daemon=True)
        try:
            worker.thread.start()
        except (RuntimeError, MemoryError) as exc:
            with self.gone:
                self.workers.discard(worker)
                self.active -= 1
                self.gone.notify_all()
            stats.main.inc("threads_failed")
            vsl(Tag.Debug, 0, f"Create worker thread failed {exc}")
            return False
        stats.main.inc("threads")
        stats.main.inc("threads_created")
        return True

    def free_share(self) -> float:
        """Which part of the threads that there may be is free, or about to be, from 0 to 1; a glance without a lock."""
        busy = len(self.workers) - len(self.idle) - self._leaving
        return 1.0 - min(1.0, max(0, busy) / max(1, self._most))

    def let_go(self, enough: float) -> bool:
        """May a task give up to make room? Not if that part of the threads is free, with those that have given up.

        Many may ask at once, of which only as many as are needed may go. See `Worker.give_up`.
        """
        with self.mutex:
            if self.free_share() >= enough:
                return False
            self._leaving += 1
            return True

    def has_left(self) -> None:
        """A task that was let go has ended."""
        with self.mutex:
            self._leaving -= 1

    # -- for statistics --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Threads and queue lengths, for the scoreboard and ``/pools``."""
        with self.mutex:
            return {
                "threads": len(self.workers),
                "idle": len(self.idle) + self.watch.led,
                "active": self.active,
                "queued": self.queued,
                "dequeued": self.dequeued,
                "watched": len(self.watch.watched),
                "resting": self.watch.quiet,
                **{f"queued_{prio.name.lower()}": len(self.queues[prio]) for prio in Priority},
            }

    def tally(self) -> Tally:
        """Requests and fetches that ever ran on this pool."""
        total = Tally()
        with self.mutex:
            total.add(self.past)
            tallies = [worker.tally for worker in self.workers]
        for tally in tallies:
            total.add(tally)
        return total

    def latencies(self) -> Latencies:
        """The latencies of all that ever ran on this pool."""
        total = Latencies()
        with self.mutex:
            total.add(self.past_latencies)
            workers = list(self.workers)
        for worker in workers:
            total.add(worker.latencies)
        return total

    def tasks(self) -> list[tuple[str, TaskInfo]]:
        """What each busy worker is doing: its name, and what its task tells. Empty with ``thread_pool_track`` off."""
        if not params.thread_pool_track:
            return []
        with self.mutex:
            workers = list(self.workers)
        return [(worker.name, info) for worker in workers for info in worker.task_infos()]

    def queued_ages(self, now: float) -> list[tuple[str, float]]:
        """Priority and age in seconds of every queued task."""
        with self.mutex:
            return [(prio.name, now - since) for prio in Priority for since, _ in self.queues[prio]]

    def describe(self) -> dict[str, object]:
        """The pool as the stats socket shows it."""
        return {"name": self.name, "active_limit": self.active_limit, **self.counts()}
