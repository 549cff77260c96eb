"""Tasks that come together are taken as if each had come alone (`Pool.schedule_all`, `Pool.schedule`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varnishpy import stats
from varnishpy.params import table
from varnishpy.threads import Pool, Priority
from varnishpy.threads.worker import Worker

COUNTED = ("req_dropped", "sess_queued")


def left_behind(
    count: int, prio: Priority, idle: int, busy: int, active: int, limit: int, together: bool
) -> dict[str, object]:
    """Offer so many tasks to a pool in that state; what came of it. None of its workers has a thread."""
    for name, value in (("thread_pool_max", "12"), ("thread_queue_limit", str(limit))):
        table.set(name, value)
    pool = Pool("one and many", 1)
    workers = [Worker(pool, f"w{number}") for number in range(idle + busy)]
    pool.workers.update(workers)
    pool.idle.extend(workers[:idle])
    pool.active = active
    pool.herder_asleep = pool.herder_deep = True
    before = [stats.main.value(name) for name in COUNTED]
    ran: list[int] = []
    tasks = [lambda wrk, number=number: ran.append(number) for number in range(count)]
    if together:
        taken = pool.schedule_all(tasks, prio)
    else:
        taken = sum([pool.schedule(task, prio) for task in tasks])
    for _, task in pool.queues[prio]:
        task(workers[0] if workers else Worker(pool, "w"))
    pool.watch.close()
    return {
        "taken": taken,
        "ran": ran,
        "queued": [pool.queued, *map(len, pool.queues)],
        "idle": len(pool.idle),
        "active": pool.active,
        "counted": [stats.main.value(name) - old for name, old in zip(COUNTED, before, strict=True)],
        "deep": pool.herder_deep,
    }


offers = (
    st.integers(1, 6),
    st.sampled_from([Priority.BO, Priority.RUSH, Priority.STR, Priority.REQ]),
    st.integers(0, 10),
    st.integers(0, 4),
)


@pytest.fixture(autouse=True, scope="module")
def as_before() -> Iterator[None]:
    before = [(name, table.text(name)) for name in ("thread_pool_max", "thread_queue_limit")]
    yield
    table.load(before)


@settings(max_examples=150, deadline=None)
@given(*offers, st.integers(0, 4))
def test_behind_a_worker_that_is_active(count: int, prio: Priority, idle: int, busy: int, limit: int) -> None:
    asked = (count, prio, idle, busy, 1, limit)
    assert left_behind(*asked, together=True) == left_behind(*asked, together=False)


@settings(max_examples=150, deadline=None)
@given(*offers)
def test_where_a_worker_is_called_up(count: int, prio: Priority, idle: int, busy: int) -> None:
    """The herder looks after those for whom nobody was called up, too; what had to queue is counted otherwise."""
    asked = (count, prio, idle, busy, 0, 20)
    together, alone = left_behind(*asked, together=True), left_behind(*asked, together=False)
    assert together | {"counted": 0} == alone | {"counted": 0}
