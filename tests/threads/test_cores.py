"""threads.cores: the policy told what it sees, the figures of the kernel read, threads put where they should be."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.waiting import Until
from varnishpy import stats
from varnishpy.params import table
from varnishpy.threads import cores
from varnishpy.threads.cores import Policy, core_times

CALM = {0: 0.9, 1: 0.1, 2: 0.5}

needs_cores = pytest.mark.skipif(not cores.useful(), reason="one core, no global lock, or no sched_setaffinity(2)")


def settled() -> Policy:
    """A policy that keeps to core 1 since the clock showed 100."""
    policy = Policy()
    assert policy.look(100.0, 0.9, CALM) == 1
    return policy


def test_a_busy_process_is_put_on_the_core_with_the_least_work() -> None:
    assert settled().core == 1


@pytest.mark.parametrize("use", [0.0, cores.BUSY - 0.01])
def test_little_work_is_left_alone(use: Any) -> None:
    assert Policy().look(100.0, use, CALM) is None


def test_one_core_is_nothing_to_choose_from() -> None:
    assert Policy().look(100.0, 0.9, {3: 0.9}) is None


def test_work_beside_the_interpreter_is_left_alone_and_for_a_while() -> None:
    policy = Policy()
    assert policy.look(100.0, cores.PARALLEL + 0.1, CALM) is None
    assert policy.look(100.0 + cores.REST - 1, 0.9, CALM) is None
    assert policy.look(100.0 + cores.REST, 0.9, CALM) == 1


def test_it_stays_while_it_is_busy_and_alone() -> None:
    assert settled().look(101.0, 0.9, {0: 0.0, 1: 0.95, 2: 0.0}) == 1


def test_it_is_let_go_when_it_stays_idle() -> None:
    policy = settled()
    assert policy.look(99.9 + cores.PAUSE, cores.IDLE - 0.01, CALM) == 1
    assert policy.look(100.0 + cores.PAUSE, cores.IDLE - 0.01, CALM) is None


def test_a_pause_is_nothing_to_move_for() -> None:
    policy = settled()
    everywhere = {0: 1.0, 1: 1.0, 2: 1.0}
    assert policy.look(101.0, cores.IDLE - 0.01, everywhere) == 1
    assert policy.look(102.0, 0.9, {0: 0.0, 1: 0.95, 2: 0.0}) == 1
    assert policy.look(101.0 + cores.PAUSE, cores.IDLE - 0.01, CALM) == 1  # it counts from the last work


def test_a_term_begins_anew_after_a_pause() -> None:
    policy = settled()
    assert policy.look(105.0, cores.IDLE - 0.01, CALM) == 1
    assert policy.look(100.0 + cores.TERM, 0.9, CALM) == 1
    assert policy.look(105.0 + cores.TERM, 0.9, CALM) is None


def test_it_is_let_go_for_a_look_and_may_return() -> None:
    policy = settled()
    assert policy.look(100.0 + cores.TERM, 0.9, CALM) is None
    assert policy.look(100.1 + cores.TERM, 0.9, CALM) == 1


def test_it_moves_when_others_want_its_core_and_another_has_less_work() -> None:
    assert settled().look(101.0, 0.6, {0: 0.3, 1: 1.0, 2: 0.2}) == 2


def test_it_is_let_go_when_every_core_is_wanted() -> None:
    policy = settled()
    everywhere = {0: 0.7, 1: 1.0, 2: 0.8}
    assert policy.look(101.0, 0.6, everywhere) is None
    assert policy.look(101.0 + cores.REST - 1, 0.9, CALM) is None
    assert policy.look(101.0 + cores.REST, 0.9, CALM) == 1


def test_a_core_that_may_no_more_be_used_is_left() -> None:
    assert settled().look(101.0, 0.9, {0: 0.9, 2: 0.3}) == 2


def test_core_times_reads_what_the_kernel_tells() -> None:
    text = "cpu  30 0 10 200 5 1 1 0 7 0\ncpu0 10 1 5 100 4 1 1 2 7 0\ncpu11 20 0 5 100 1 0 0 0 0 0\nintr 1 2\nctxt 5\n"
    assert core_times(text) == {0: (20, 124), 11: (25, 126)}
    assert core_times("") == {}


@needs_cores
def test_core_times_of_this_machine() -> None:
    with open("/proc/stat", encoding="ascii") as file:
        times = core_times(file.read())
    assert os.sched_getaffinity(0) <= set(times)
    assert all(0 <= worked <= passed for worked, passed in times.values())


def test_an_interpreter_without_the_lock_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not cores.useful()
    keeper = cores.CoreKeeper()
    keeper.start()
    assert not keeper.running
    keeper.stop()


@pytest.fixture
def everywhere() -> Iterator[Any]:
    """What this process may use, given back afterwards to each of its threads."""
    allowed = os.sched_getaffinity(0)
    yield allowed
    for task in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(task), allowed)


class Busy:
    """Threads that compute until told to stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._spin) for _ in range(2)]

    def _spin(self) -> None:
        while not self.stop.is_set():
            sum(range(1000))

    def __enter__(self) -> Busy:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@needs_cores
def test_all_threads_are_put_on_one_core_and_let_go(everywhere: set[int], until: Until) -> None:
    before = stats.main.get("core_moves")
    keeper = cores.CoreKeeper(cores.Policy(busy=0.05, idle=0.02, crowded=1.0))  # whatever else this machine does
    keeper.start()
    try:
        with Busy() as busy:
            until(lambda: len(os.sched_getaffinity(0)) == 1)
            kept = os.sched_getaffinity(0)
            until(lambda: all(os.sched_getaffinity(thread.native_id or 0) == kept for thread in busy.threads))
            table.load([("keep_core", "off")])
            until(lambda: os.sched_getaffinity(0) == everywhere)
        assert stats.main.get("core_moves") >= before + 2
    finally:
        keeper.stop()


@needs_cores
def test_what_taskset_said_stays_true(everywhere: set[int], until: Until) -> None:
    keeper = cores.CoreKeeper(cores.Policy(busy=0.05, idle=0.02))  # whatever share of the machine we get
    only = {max(everywhere)}
    keeper.start()
    try:
        os.sched_setaffinity(os.getpid(), only)
        with Busy():
            until(lambda: keeper.allowed == only)
            assert os.sched_getaffinity(0) == only
    finally:
        keeper.stop()
