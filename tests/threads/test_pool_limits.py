"""Limits of worker pools: queues, threads, pools, and what is counted where there is no room."""

from __future__ import annotations

import select
import threading

from tests.threads.tasks import WAIT, block_until
from tests.waiting import Until
from varnishpy import stats
from varnishpy.base.wakeup import Wakeup
from varnishpy.params import table
from varnishpy.threads import Pool, PoolSet, Priority, Task


def test_queue_limit_refuses_and_counts(pools: PoolSet, pool: Pool, until: Until) -> None:
    table.set("thread_pool_max", "100")
    table.load([("thread_pool_max", "10"), ("thread_queue_limit", "2")])
    release = threading.Event()
    started = threading.Semaphore(0)
    dropped = stats.main.get("req_dropped")
    accepted = 0
    while pool.schedule(block_until(release, started), Priority.REQ):
        accepted += 1
        assert accepted < 50
    while pool.schedule(block_until(release, started), Priority.STR):
        accepted += 1
        assert accepted < 50
    assert stats.main.get("req_dropped") == dropped + 1
    assert pool.schedule(block_until(release, started), Priority.BO), "vital work is always queued"

    def shown() -> int:
        pools.refresh_stats()
        return stats.main.get("thread_queue_len")

    until(lambda: shown() == pool.counts()["queued"] > 0)  # workers still take from the queue
    release.set()
    for _ in range(accepted + 1):
        assert started.acquire(timeout=WAIT)
    until(lambda: pool.counts()["idle"] == 10)


def test_room_is_told_of(pools: PoolSet, pool: Pool, until: Until) -> None:
    """Whoever waits for room for a session is told when there is some, once."""
    table.set("thread_pool_max", "100")
    table.load([("thread_pool_max", "10"), ("thread_queue_limit", "2")])
    release = threading.Event()
    started = threading.Semaphore(0)
    tell = Wakeup()
    queued = stats.main.get("sess_queued")
    admitted = 0
    while (found := pools.with_room(tell)) is not None:
        assert found is pool and pool.admit(block_until(release, started))
        admitted += 1
        if admitted <= 7:  # the other three are a reserve
            assert started.acquire(timeout=WAIT)
            until(lambda: pool.active == 0)  # else the next would queue behind one that has not begun to wait
    assert admitted == 7 + 2
    assert pool.admit(block_until(release, started)), "one who was told of room comes in"
    assert pools.with_room(tell) is None
    assert not tell.clear()
    release.set()
    assert select.select([tell.fileno()], [], [], WAIT)[0]
    assert tell.clear()
    for _ in range(3):
        assert started.acquire(timeout=WAIT)
    until(lambda: pool.counts()["idle"] == 10)
    assert stats.main.get("sess_queued") == queued + 3
    assert pools.with_room(tell) is pool
    assert not tell.clear()
    tell.close()


def test_many_at_once_are_taken_in_order_up_to_the_limit(pool: Pool, until: Until) -> None:
    order: list[int] = []

    def note(n: int) -> Task:
        return lambda wrk: order.append(n)

    assert pool.schedule_all([note(n) for n in range(50)], Priority.STR) == 50
    until(lambda: len(order) == 50)
    assert order == list(range(50))
    table.load([("thread_pool_max", "10"), ("thread_queue_limit", "2")])
    until(lambda: pool.counts()["idle"] == 10)
    release = threading.Event()
    started = threading.Semaphore(0)
    dropped = stats.main.get("req_dropped")
    taken = pool.schedule_all([block_until(release, started)] * 50, Priority.STR)
    assert 2 <= taken <= 12
    assert stats.main.get("req_dropped") == dropped + 50 - taken
    release.set()
    for _ in range(taken):
        assert started.acquire(timeout=WAIT)
    until(lambda: pool.counts()["idle"] == 10)
    assert pool.schedule_all([block_until(release)], Priority.BG) == 1


def test_background_tasks_are_never_queued(pool: Pool, until: Until) -> None:
    table.load([("thread_pool_max", "10")])
    pool.reconfigure()
    release = threading.Event()
    started = threading.Semaphore(0)
    for _ in range(6):
        pool.schedule(block_until(release, started), Priority.BO)
    for _ in range(6):
        assert started.acquire(timeout=WAIT)
    assert not pool.schedule(block_until(release), Priority.BG)
    release.set()


def test_pool_grows_under_load_and_shrinks_when_idle(pool: Pool, until: Until) -> None:
    table.load([("thread_pool_destroy_delay", "0.01")])
    created = stats.main.get("threads_created")
    release = threading.Event()
    started = threading.Semaphore(0)
    for _ in range(30):
        assert pool.schedule(block_until(release, started), Priority.STR)
    for _ in range(30):
        assert started.acquire(timeout=WAIT)
    assert pool.counts()["threads"] > 30
    assert stats.main.get("threads_created") > created
    release.set()
    until(lambda: pool.counts()["active"] == 0 and pool.counts()["idle"] == pool.counts()["threads"])
    with pool.mutex:
        for worker in pool.workers:
            worker.last_used -= 1000
        pool.wake_herder()
    until(lambda: pool.counts()["threads"] == 10)
    assert stats.main.get("threads") == 10


def test_thread_limit_is_counted(pool: Pool, until: Until) -> None:
    table.set("thread_pool_max", "100")
    table.load([("thread_pool_max", "10")])
    limited = stats.main.get("threads_limited")
    release = threading.Event()
    for _ in range(12):
        pool.schedule(block_until(release), Priority.BO)
    until(lambda: stats.main.get("threads_limited") > limited)
    release.set()
    until(lambda: pool.counts()["idle"] == 10)


def test_more_workers_when_the_minimum_is_raised(pool: Pool, until: Until) -> None:
    table.set("thread_pool_min", "15")
    until(lambda: pool.counts()["threads"] == 15)


def test_more_pools_when_the_parameter_is_raised(pools: PoolSet, until: Until) -> None:
    added: list[Pool] = []
    pools.on_pool = added.append
    table.set("thread_pools", "2")
    assert len(pools.pools) == 2 and added == [pools.pools[1]]
    assert stats.main.get("pools") == 2
    assert {pools.any().name for _ in range(4)} == {"0", "1"}
    until(lambda: pools.pools[1].counts()["threads"] == 10)


def test_fewer_pools_only_where_that_is_wished(pools: PoolSet, until: Until) -> None:
    table.set("thread_pools", "2")
    first, second = pools.pools
    until(lambda: second.counts()["threads"] == 10)
    table.set("thread_pools", "1")
    assert pools.pools == [first, second]
    started, gate = threading.Semaphore(0), threading.Event()
    assert second.schedule(block_until(gate, started), Priority.REQ)
    assert started.acquire(timeout=WAIT)
    try:
        table.set("experimental", "+drop_pools")
        assert pools.pools == [first]
        assert stats.main.get("pools") == 1
        until(lambda: second.counts()["threads"] == 1)
        # what still comes to it, from sessions that it has accepted, is done by the other
        ran: list[str] = []
        assert second.schedule(lambda wrk: ran.append(wrk.pool.name), Priority.REQ)
        assert second.schedule_all([lambda wrk: ran.append(wrk.pool.name)] * 2, Priority.STR) == 2
        until(lambda: ran == ["0"] * 3)
    finally:
        gate.set()
        table.set("experimental", "none")
    until(lambda: second.counts()["threads"] == 0)
    table.set("thread_pools", "2")
    until(lambda: pools.pools[1].counts()["threads"] == 10)
    assert pools.pools[1].name == "2", "names are not used again"


def test_refused_thread_is_counted_and_tried_again(until: Until) -> None:
    """A stack that no machine has room for makes the system refuse threads in earnest."""
    table.load([("thread_pool_fail_delay", "0.01")])
    failed = stats.main.get("threads_failed")
    pool_set = PoolSet()
    pool_set.start()
    pool = pool_set.any()
    until(lambda: pool.counts()["idle"] == 10)
    release = threading.Event()
    started = threading.Semaphore(0)
    before = threading.stack_size(1 << 46)
    try:
        for _ in range(15):
            assert pool.schedule(block_until(release, started), Priority.BO)
        until(lambda: stats.main.get("threads_failed") >= failed + 3)
        assert pool.counts()["threads"] == 10
    finally:
        threading.stack_size(before)
    for _ in range(15):
        assert started.acquire(timeout=WAIT), "the herder tries again, and nothing that waits is lost"
    assert pool.counts()["threads"] >= 15
    release.set()
    until(lambda: pool.counts()["active"] == 0)
    assert pool_set.stop(WAIT)
