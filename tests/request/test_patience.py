"""How long a body may keep a thread waiting: for long while threads are plenty, and for less as they get scarce."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Setting
from tests.waiting import wait_for
from varnishpy.base import clock
from varnishpy.request.patience import Patience
from varnishpy.threads import PoolSet, Priority, Worker

THREADS = 10


@pytest.fixture
def pools(setting: Setting) -> Iterator[PoolSet]:
    for name, value in {"thread_pools": "1", "thread_pool_max": "100", "thread_pool_min": "10"}.items():
        setting(name, value)
    setting("thread_pool_max", str(THREADS))
    setting("timeout_reqbody", "8")
    setting("reqbody_rate", "100")
    made = PoolSet()
    made.start()
    yield made
    assert made.stop(5)


def having_waited(seconds: float) -> Patience:
    patience = Patience()
    patience.spend(clock.mono() - seconds)
    return patience


def asked_while_busy(pools: PoolSet, others: int, question: Callable[[], float]) -> float:
    """The answer, given by a worker while so many others are busy."""
    over = threading.Event()
    running: list[int] = []
    answers: list[float] = []

    def busy(worker: Worker) -> None:
        running.append(1)
        with worker.blocking():
            over.wait(20)

    pool = pools.any()
    try:
        for _ in range(others):
            assert pool.schedule(busy, Priority.RUSH)
        wait_for(lambda: len(running) == others, "busy workers")
        assert pool.schedule(lambda _: answers.append(question()), Priority.RUSH)
        wait_for(lambda: answers, "an answer")
    finally:
        over.set()
    return answers[0]


def test_nobody_is_hurried_while_threads_are_plenty(pools: PoolSet) -> None:
    assert asked_while_busy(pools, 1, lambda: having_waited(1000).left(0)) == 8


def test_the_fewer_threads_the_less_patience(pools: PoolSet) -> None:
    few = asked_while_busy(pools, 6, lambda: Patience().left(0))
    fewer = asked_while_busy(pools, 8, lambda: Patience().left(0))
    assert 1 <= fewer < few < 8
    assert asked_while_busy(pools, 8, lambda: having_waited(10).left(0)) == 0


def test_of_many_that_ask_at_once_no_more_go_than_are_needed(pools: PoolSet) -> None:
    asking = THREADS - 1  # one waits for new work
    together = threading.Barrier(asking)
    over = threading.Event()
    answers: list[float] = []

    def ask(worker: Worker) -> None:
        patience = having_waited(1000)
        with worker.blocking():
            together.wait(20)
        answers.append(patience.left(0))
        with worker.blocking():
            over.wait(20)

    try:
        for _ in range(asking):
            assert pools.any().schedule(ask, Priority.RUSH)
        wait_for(lambda: len(answers) == asking, "all answers")
    finally:
        over.set()
    assert answers.count(0) == asking - THREADS // 2, "then half of the threads are free"
    wait_for(lambda: pools.any().free_share() == 1.0, "idle workers")


def test_octets_buy_time(pools: PoolSet, setting: Setting) -> None:
    assert asked_while_busy(pools, 8, lambda: having_waited(10).left(5000)) > 40
    setting("reqbody_rate", "0")
    assert asked_while_busy(pools, 8, lambda: having_waited(10).left(5000)) == 0


def test_a_thread_of_no_pool() -> None:
    assert having_waited(1000).left(0) > 0
