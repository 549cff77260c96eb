"""Worker pools: who runs what, who wakes whom, limits, growth, containment, and a clean end."""

from __future__ import annotations

import sys
import threading
from collections import Counter

import pytest

from tests.threads.tasks import WAIT, block_until
from tests.waiting import Until
from varnishpy import stats
from varnishpy.base import clock, panic
from varnishpy.base.dumptext import DumpText
from varnishpy.base.panic import Panic
from varnishpy.log.memory import captured
from varnishpy.log.tags import Tag
from varnishpy.params import table
from varnishpy.threads import Pool, PoolSet, Priority, TaskInfo, Worker, current_worker
from varnishpy.threads.herder import Herder, Pace


class Subject:
    """What a task might work on."""

    def task_info(self) -> TaskInfo:
        return TaskInfo("client", "fetch", vxid=1001, request="GET /")

    def panic_dump(self, out: DumpText) -> None:
        out.line("vxid = 1001")


def test_tasks_run_on_workers(pool: Pool) -> None:
    done = threading.Event()
    seen: list[object] = []

    def task(wrk: Worker) -> None:
        seen.extend([current_worker() is wrk, wrk.pool is pool, threading.current_thread().name == wrk.name])
        done.set()

    assert pool.schedule(task, Priority.REQ)
    assert done.wait(WAIT)
    assert seen == [True, True, True]
    assert current_worker() is None


def test_every_task_runs_exactly_once_from_many_producers(pool: Pool, until: Until) -> None:
    table.set("thread_queue_limit", "100000")
    ran: Counter[tuple[int, int]] = Counter()
    lock = threading.Lock()

    def produce(who: int) -> None:
        for nr in range(500):

            def task(wrk: Worker, key: tuple[int, int] = (who, nr)) -> None:
                with lock:
                    ran[key] += 1

            assert pool.schedule(task, Priority.STR)

    producers = [threading.Thread(target=produce, args=(who,)) for who in range(4)]
    for thread in producers:
        thread.start()
    for thread in producers:
        thread.join(WAIT)
    until(lambda: len(ran) == 2000 and pool.counts()["active"] == 0)
    assert set(ran.values()) == {1}
    assert pool.counts()["dequeued"] >= 2000
    assert pool.counts()["idle"] == 10


def test_short_work_wakes_nobody_while_a_worker_is_active(pool: Pool, until: Until) -> None:
    """What a busy worker schedules waits for it, so all of it runs on one thread; a long-busy one is passed by."""
    names: list[str] = []
    finished = threading.Event()

    def short(wrk: Worker) -> None:
        names.append(wrk.name)
        if len(names) == 20:
            finished.set()

    def busy(wrk: Worker) -> None:
        names.clear()
        for _ in range(20):
            pool.schedule(short, Priority.STR)
        assert not names, "somebody was woken although this worker is active"

    pool.active_limit = 1
    attempts = 0
    while attempts < 20:  # the herder may step in if this machine stalls us for a millisecond
        attempts += 1
        finished.clear()
        pool.schedule(busy, Priority.REQ)
        assert finished.wait(WAIT)
        until(lambda: pool.counts()["active"] == 0)
        if len(set(names)) == 1:
            return
    pytest.fail("queued short tasks were always spread over several workers")


def test_blocking_worker_hands_the_queue_on(pool: Pool) -> None:
    """A task that waits for tasks it scheduled: they run meanwhile, without the herder's help."""
    done = threading.Event()

    def parent(wrk: Worker) -> None:
        child = threading.Event()
        pool.schedule(lambda _: child.set(), Priority.STR)
        with wrk.blocking():
            assert child.wait(WAIT)
        done.set()

    for _ in range(50):
        done.clear()
        pool.schedule(parent, Priority.REQ)
        assert done.wait(WAIT)


def test_silent_waits_are_found_by_the_herder(pool: Pool) -> None:
    """A task that waits without saying so cannot hold up the queue."""
    release, other = threading.Event(), threading.Event()
    started = threading.Semaphore(0)

    def silent(wrk: Worker) -> None:
        started.release()
        assert release.wait(WAIT)

    pool.schedule(silent, Priority.REQ)
    assert started.acquire(timeout=WAIT)
    begun = clock.mono()
    pool.schedule(lambda _: other.set(), Priority.REQ)
    assert other.wait(WAIT)
    assert clock.mono() - begun < 5
    release.set()


def test_who_waits_is_replaced_at_once(until: Until) -> None:
    """Forty workers are held one after the other, and no look of the herder's is needed to make the next."""
    pools = PoolSet(pace=Pace(3600.0, 3600.0, 3600.0, 3600.0, 3600.0))
    pools.start()
    pool = pools.any()
    gate, started = threading.Event(), threading.Semaphore(0)
    try:
        until(lambda: pool.counts()["idle"] == 10 and pool.herder_deep)
        for _ in range(40):
            assert pool.schedule(block_until(gate, started), Priority.REQ)
        for _ in range(40):
            assert started.acquire(timeout=WAIT)
    finally:
        gate.set()
        assert pools.stop(WAIT)


def test_priorities_decide_what_goes_first(pool: Pool) -> None:
    order: list[str] = []
    finished = threading.Event()

    def note(name: str):  # type: ignore[no-untyped-def]
        def task(wrk: Worker) -> None:
            order.append(name)
            if len(order) == 5:
                finished.set()

        return task

    def first(wrk: Worker) -> None:
        with pool.mutex:  # nobody can take tasks until all are there
            pass
        for prio in (Priority.VCA, Priority.REQ, Priority.STR, Priority.RUSH, Priority.BO):
            with pool.mutex:
                pool.queues[prio].append((clock.mono(), note(prio.name)))
        with pool.mutex:
            pool.queued += 5

    pool.schedule(first, Priority.REQ)
    assert finished.wait(WAIT)
    assert order == ["BO", "RUSH", "STR", "REQ", "VCA"]


def test_sessions_cannot_take_the_threads_their_requests_need(until: Until) -> None:
    """The deadlock of early HTTP/2: sessions hold every thread and wait for requests that find none."""
    table.load([("thread_pool_min", "10"), ("thread_pool_max", "10"), ("thread_queue_limit", "1000")])
    pool_set = PoolSet()
    pool_set.start()
    pool = pool_set.any()
    finished = threading.Semaphore(0)

    def session(wrk: Worker) -> None:
        for prio in (Priority.STR, Priority.BO):
            answered = threading.Event()
            assert pool.schedule(lambda _, event=answered: event.set(), prio)  # type: ignore[misc]
            with wrk.blocking():
                assert answered.wait(WAIT)
        finished.release()

    try:
        for _ in range(50):
            assert pool.schedule(session, Priority.REQ)
        for _ in range(50):
            assert finished.acquire(timeout=WAIT)
    finally:
        assert pool_set.stop(WAIT)


def test_failed_task_is_contained(pool: Pool, until: Until) -> None:
    contained = stats.main.get("req_contained")

    def broken(wrk: Worker) -> None:
        wrk.subject = Subject()
        wrk.aws.reserve(64)
        wrk.will_block()
        raise ValueError("kaputt")

    with captured() as log:
        pool.schedule(broken, Priority.REQ)
        record = log.wait_for(Tag.Error, None)
        assert "client fetch failed: ValueError: kaputt" in record.text
        until(lambda: any("raise ValueError" in text for text in log.texts(Tag.Error)))
    until(lambda: stats.main.get("req_contained") == contained + 1)
    until(lambda: pool.counts()["idle"] == 10 and pool.counts()["active"] == 0)
    assert all(worker.aws.used == 0 and worker.subject is None for worker in pool.workers)


def test_panic_goes_to_the_handler_and_ends_the_worker(
    pool: Pool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Panic] = []
    escaped: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: escaped.append(args.exc_value))
    panic.set_handler(faults.append)
    try:
        pool.schedule(lambda _: panic.invariant(False, "shared state"), Priority.REQ)
        until(lambda: escaped)
    finally:
        panic.set_handler(None)
    assert "pool = 0 {" in faults[0].dump
    assert isinstance(escaped[0], Panic)
    until(lambda: pool.counts()["threads"] == 10)


def test_stats_are_merged_when_idle(pool: Pool, until: Until) -> None:
    before = stats.main.get("cache_hit")

    def task(wrk: Worker) -> None:
        wrk.stats.cache_hit += 3

    pool.schedule(task, Priority.REQ)
    until(lambda: stats.main.get("cache_hit") == before + 3)


def test_a_task_that_never_ends_offers_what_it_counts(pool: Pool, until: Until) -> None:
    before = stats.main.get("cache_hit")
    seen = threading.Event()

    def task(wrk: Worker) -> None:
        while not seen.is_set():
            wrk.stats.cache_hit += 1
            wrk.offer_stats()
            seen.wait(0.01)

    pool.schedule(task, Priority.REQ)
    until(lambda: stats.main.get("cache_hit") > before)  # while the task goes on
    seen.set()


def test_workspace_overflow_is_counted(pool: Pool, until: Until) -> None:
    before = stats.main.get("ws_thread_overflow")
    pool.schedule(lambda wrk: wrk.aws.mark_overflow(), Priority.REQ)
    until(lambda: stats.main.get("ws_thread_overflow") == before + 1)


def test_scoreboard_shows_running_and_queued(pool: Pool, until: Until) -> None:
    release = threading.Event()
    started = threading.Event()

    def task(wrk: Worker) -> None:
        wrk.subject = Subject()
        with wrk.blocking():
            started.set()
            assert release.wait(WAIT)

    pool.schedule(task, Priority.REQ)
    assert started.wait(WAIT)
    ((name, info),) = pool.tasks()
    assert info.waiting
    table.set("thread_pool_track", "off")
    assert not pool.tasks()
    table.reset("thread_pool_track")
    assert name.startswith("worker-0-") and (info.kind, info.vxid, info.request) == ("client", 1001, "GET /")
    assert pool.describe()["threads"] == 10
    release.set()
    until(lambda: not pool.tasks())


def test_stop_lets_queued_tasks_finish_and_refuses_new_ones() -> None:
    pool_set = PoolSet()
    pool_set.start()
    pool = pool_set.any()
    ran: list[int] = []
    started, release = threading.Event(), threading.Event()

    def first(wrk: Worker) -> None:
        started.set()
        assert release.wait(WAIT)

    pool.schedule(first, Priority.REQ)
    assert started.wait(WAIT)
    for nr in range(10):
        assert pool.schedule(lambda _, nr=nr: ran.append(nr), Priority.REQ)  # type: ignore[misc]
    threading.Timer(0.05, release.set).start()
    assert pool_set.stop(WAIT)
    assert sorted(ran) == list(range(10))
    assert not pool.schedule(lambda _: None, Priority.BO)
    assert stats.main.get("pools") == 0 and stats.main.get("threads") == 0


def test_stop_gives_up_on_a_task_that_does_not_end() -> None:
    pool_set = PoolSet()
    pool_set.start()
    release, started = threading.Event(), threading.Event()

    def stubborn(wrk: Worker) -> None:
        started.set()
        release.wait(WAIT)

    pool_set.any().schedule(stubborn, Priority.REQ)
    assert started.wait(WAIT)
    assert not pool_set.stop(0.1)
    release.set()


def test_what_is_told_of_a_wait_may_wait_itself(pool: Pool, until: Until) -> None:
    told: list[int] = []

    def task(wrk: Worker) -> None:
        def on_block() -> None:
            with wrk.blocking():
                told.append(pool.counts()["active"])

        wrk.on_block = on_block
        for _ in range(2):
            with wrk.blocking():
                told.append(pool.counts()["active"])

    pool.schedule(task, Priority.REQ)
    until(lambda: len(told) == 3)
    assert told == [0, 0, 0]
    until(lambda: pool.counts()["active"] == 0)


def test_unblocked_without_will_block_panics(pool: Pool, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    escaped: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: escaped.append(args.exc_value))
    pool.schedule(lambda wrk: wrk.unblocked(), Priority.REQ)
    until(lambda: escaped)
    assert "unblocked() follows will_block()" in str(escaped[0])
    until(lambda: pool.counts()["threads"] == 10)


def test_nothing_is_lost_when_threads_switch_at_every_turn(pool: Pool, until: Until) -> None:
    """Tasks that schedule tasks and wait for them, with the interpreter switching threads as often as it can."""
    table.set("thread_queue_limit", "100000")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    finished = threading.Semaphore(0)

    def parent(wrk: Worker) -> None:
        left = threading.Semaphore(0)
        for _ in range(5):
            assert pool.schedule(lambda _: left.release(), Priority.STR)
        for _ in range(5):
            with wrk.blocking():
                assert left.acquire(timeout=WAIT)
        finished.release()

    try:
        for _ in range(60):
            assert pool.schedule(parent, Priority.REQ)
        for _ in range(60):
            assert finished.acquire(timeout=WAIT)
    finally:
        sys.setswitchinterval(interval)
    until(lambda: pool.counts()["active"] == 0 and pool.counts()["queued"] == 0)
    assert pool.counts()["idle"] == pool.counts()["threads"]


def test_watchdog_panics_when_fetches_are_stuck() -> None:
    table.load([("thread_pool_watchdog", "0.1")])
    pool = Pool("stuck")
    herder = Herder(pool)
    now = clock.mono()
    herder._watchdog(now)
    pool.queues[Priority.BO].append((now, lambda wrk: None))
    herder._watchdog(now + 0.05)
    with pytest.raises(Panic, match="does not move"):
        herder._watchdog(now + 0.2)
    pool.dequeued += 1
    herder._watchdog(now + 0.2)


def test_a_late_herder_has_patience() -> None:
    """Whoever comes late out of a sleep is on a busy machine, or the interpreter is: more threads would not help."""
    pool = Pool("busy", 1)
    herder = Herder(pool)
    now = clock.mono()
    pool.queues[Priority.REQ].append((now - 0.1, lambda wrk: None))
    for late, active, is_stuck in (
        (0.0, 1, True), (0.0, 50, True), (0.005, 1, True), (0.005, 2, True), (0.005, 3, False), (0.005, 50, False),
    ):  # fmt: skip
        pool.active = active
        herder._late = late
        assert herder._stuck(now) is is_stuck, (late, active)
        assert herder._stuck(now) is is_stuck, "nothing moved"
