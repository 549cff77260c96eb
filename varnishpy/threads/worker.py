"""A worker: one thread of a pool, and what a task finds on it.

A worker runs one task at a time. A task gets its worker as argument and may use its workspace, its own counters and its
chunk of transaction ids without locking. Before it waits for anything that can take long (a socket, a lock that may be
long held, another task) it says so::

    with wrk.blocking():
        sock.recv(...)

because the pool counts on a worker that does not: as long as one runs, queued tasks wait for it (see ``pool.py``).

While it works on something that can tell of itself (a session, a request, a fetch) that is its ``subject``: the
scoreboard and the panic dump ask it. Nothing is copied for them in advance, so that traffic does not pay for it.

An exception that a task lets through is a defect of that task only: it is logged with its traceback and counted in
``req_contained``, and the worker lives on. A `Panic` is not caught.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.dumptext import DumpText
from varnishpy.base.panic import invariant
from varnishpy.base.workspace import make_workspace
from varnishpy.log import Tag, VxidChunk, vsl
from varnishpy.params import params
from varnishpy.stats.latency import Latencies

if TYPE_CHECKING:
    from varnishpy.threads.pool import Pool

_local = threading.local()

STATS_AGE = 0.5  # seconds: counts this old are added to the global ones before a task has ended


Task = Callable[["Worker"], None]


@dataclass(slots=True)
class TaskInfo:
    """What a worker is doing, as the scoreboard shows it.

    ``age`` is seconds since the request, fetch or session began; ``session`` the id of the session that this worker
    serves, 0 for others; ``waiting`` tells of a wait that the task announced.
    """

    kind: str = ""
    state: str = ""
    age: float = 0.0
    vxid: int = 0
    client: str = ""
    request: str = ""
    session: int = 0
    waiting: bool = False


class Tally:
    """Requests and fetches made and ended by a worker. Only its own thread writes, so nothing is locked."""

    __slots__ = ("bo_freed", "bo_made", "req_freed", "req_made")

    def __init__(self) -> None:
        self.req_made = self.req_freed = self.bo_made = self.bo_freed = 0

    def add(self, other: Tally) -> None:
        """Add another's counts."""
        self.req_made += other.req_made
        self.req_freed += other.req_freed
        self.bo_made += other.bo_made
        self.bo_freed += other.bo_freed


class Subject(Protocol):
    """What a worker works on."""

    def task_info(self) -> TaskInfo:
        """A moment's view, on any thread, without locks."""

    def panic_dump(self, out: DumpText) -> None:
        """The object and what belongs to it, for the panic dump. Takes no locks."""


class _Blocking:
    """Tells the pool of a wait, as a context."""

    __slots__ = ("_worker",)

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __enter__(self) -> None:
        self._worker.will_block()

    def __exit__(self, *exc: object) -> None:
        self._worker.unblocked()


class Worker(stats.Counting):
    """One thread of a pool."""

    __slots__ = (
        "_blocked", "_blocking", "_done", "_gives_up", "_merged", "aws", "block_by", "last_used", "latencies", "leads",
        "name", "on_block", "outer", "pool", "retire", "sleep", "subject", "tally", "thread", "vxids",
    )  # fmt: skip

    def __init__(self, pool: Pool, name: str) -> None:
        super().__init__()
        self.pool = pool
        self.name = name
        self.aws = make_workspace("wrk", params.workspace_thread)
        self.tally = Tally()
        self.latencies = Latencies()  # only its own thread counts there
        self.subject: Subject | None = None  # set by tasks; forgotten when the task ends
        self.outer: Subject | None = None  # of the task in the middle of which this one runs, see `run_within`
        self.vxids = VxidChunk()
        self.thread: threading.Thread | None = None
        self.last_used = clock.mono()
        self.retire = False  # set by the pool together with waking: end instead of working
        self.sleep = threading.Lock()  # held while idle; whoever takes the worker off the idle list releases it
        self.sleep.acquire()
        self.leads = False  # it is at the pool's watch, or about to go there
        self.on_block: Callable[[], None] | None = None  # told, once, before the task waits; see `will_block`
        self.block_by = clock.NEVER  # monotonic time; a task that computes beyond it tells ``on_block`` as if it waited
        self._blocked = 0
        self._blocking = _Blocking(self)
        self._done = 0
        self._gives_up = False
        self._merged = 0.0

    # -- for tasks -------------------------------------------------------------------------------------------------

    def will_block(self) -> None:
        """The task is about to wait: let the pool run others meanwhile. May be nested.

        Whatever set ``on_block`` is told first, once: to hand on what must not wait with this task. It may queue tasks,
        and announces waits of its own; it knows that no lock is held that others need meanwhile (see `Asking.settle`).
        It is forgotten when it has been told, and when the task ends.
        """
        if not self._blocked:
            on_block = self.on_block
            if on_block is not None:
                self.on_block = None
                on_block()
            self.pool.worker_blocks()
        self._blocked += 1

    def unblocked(self) -> None:
        """The wait announced by `will_block` is over."""
        invariant(self._blocked > 0, "worker: unblocked() follows will_block()")
        self._blocked -= 1
        if not self._blocked:
            self.pool.worker_runs()

    def blocking(self) -> _Blocking:
        """`will_block` and `unblocked` around a block of code."""
        return self._blocking

    def give_up(self, enough: float) -> bool:
        """May the task give up so that its thread is free? True if fewer than that part of the pool's are."""
        if not self._gives_up:
            self._gives_up = self.pool.let_go(enough)
        return self._gives_up

    def merge_stats(self, wait: bool = True) -> bool:
        """Add the counts gathered so far to the global ones; for long tasks that are about to wait.

        :param wait: else leave it for later, and say so by False, if somebody else is at the global ones just now
        """
        merged = stats.main.merge(self.stats, wait)
        if merged:
            self._merged = clock.mono()
        return merged

    def offer_stats(self) -> None:
        """`merge_stats` for tasks that wait often and briefly: not each time."""
        if clock.mono() - self._merged > STATS_AGE:
            self.merge_stats(wait=False)

    def next_vxid(self) -> int:
        """A fresh transaction id."""
        return self.vxids.next()

    # -- for those who look in -------------------------------------------------------------------------------------

    def task_info(self) -> TaskInfo | None:
        """What the worker is doing, if its task tells. Any thread; what it tells may be a moment old."""
        subject = self.subject
        return None if subject is None else self._info(subject)

    def task_infos(self) -> list[TaskInfo]:
        """The same, and what it is in the middle of: a request that waits for the fetch which borrows its worker."""
        return [self._info(subject) for subject in (self.outer, self.subject) if subject is not None]

    def _info(self, subject: Subject) -> TaskInfo:
        info = subject.task_info()
        info.waiting = self._blocked > 0
        return info

    def panic_dump(self, out: DumpText) -> None:
        """The worker in a panic dump."""
        out.line(f"name = {self.name}, pool = {self.pool.name}, waiting = {self._blocked},")
        out.line(self.aws.dump())

    # -- the thread ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Body of the thread: take tasks until told to retire."""
        become(self)
        vsl(Tag.WorkThread, 0, f"{self.name} start")
        pool = self.pool
        failed = True
        try:
            while True:
                task = pool.next_task(self)
                if task is not None:
                    self.run_task(task)
                    continue
                if self.retire:
                    break
                if self.leads and pool.lead(self):
                    continue
                self.merge_stats()
                self._done = 0
                self.sleep.acquire()
                if self.retire:
                    break
            failed = False
        finally:
            self.merge_stats()
            become(None)
            vsl(Tag.WorkThread, 0, f"{self.name} end")
            pool.worker_gone(self, was_active=failed and not self._blocked and not self.leads)

    def run_task(self, task: Task) -> None:
        """Run one task on this thread, and forget what it left behind."""
        try:
            task(self)
        except Exception as exc:
            self.contain(exc)
        self.on_block = None
        if self._blocked:  # the task left in the middle of a wait that failed
            self._blocked = 0
            self.pool.worker_runs()
        if self._gives_up:
            self._gives_up = False
            self.pool.has_left()
        self.subject = None
        aws = self.aws
        if aws.overflowed:
            self.stats.ws_thread_overflow += 1
        if aws.used or aws.overflowed:
            aws.reset()
        self._done += 1
        if self._done >= params.thread_stats_rate and self.merge_stats(wait=params.feature.busy_stats_rate):
            self._done = 0

    def run_within(self, task: Task) -> None:
        """Run a task in the middle of another, which would have to wait for it anyway.

        It finds the worker as a task of its own would, but for what the other has of the workspace, and leaves it so.
        """
        aws = self.aws
        subject = self.subject
        outer, self.outer = self.outer, subject
        overflowed = aws.overflowed
        aws.overflowed = False
        before = aws.snapshot()
        try:
            task(self)
        finally:
            self.subject = subject
            self.outer = outer
            if aws.overflowed:
                self.stats.ws_thread_overflow += 1
            aws.rollback(before)
            aws.overflowed = overflowed

    def contain(self, exc: Exception) -> None:
        """A task failed in a way it did not foresee: tell, count, go on."""
        if self.aws.reserved >= 0:
            self.aws.release(0)
        self.stats.req_contained += 1
        info = self.task_info() or TaskInfo("task")
        where = f"{info.kind} {info.state}".strip()
        vsl(Tag.Error, 0, f"{self.name}: {where} failed: {type(exc).__name__}: {exc}")
        for entry in traceback.format_exception(exc):
            for line in entry.rstrip("\n").split("\n"):
                vsl(Tag.Error, 0, line)


def become(worker: Worker | None) -> None:
    """This thread is that worker from now on, or none."""
    _local.worker = worker


def current_worker() -> Worker | None:
    """The worker whose thread this is, or ``None`` on any other thread."""
    worker: Worker | None = getattr(_local, "worker", None)
    return worker


def blocking() -> AbstractContextManager[object]:
    """Around a wait of whatever thread this is: tells its pool, if it is a worker's. See `Worker.will_block`."""
    worker = current_worker()
    return worker.blocking() if worker is not None else nullcontext()
