"""Locks by class: how many there are, and what watched ones tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.perturbing import watched_locks
from varnishpy.base import locks


@pytest.fixture
def watched() -> Iterator[None]:
    with watched_locks():
        locks.new_orders()
        yield


def test_locks_are_counted_while_they_live() -> None:
    kind = locks.lock_class("test-life")
    first, second = locks.make_lock("test-life"), locks.make_lock("test-life")
    assert (kind.creat, kind.destroy, kind.live) == (2, 0, 2)
    del first
    assert (kind.creat, kind.destroy, kind.live) == (2, 1, 1)
    locks.retire_lock("test-life", second)
    assert (kind.creat, kind.destroy, kind.live) == (2, 2, 0), "what it belonged to has ended"
    with second:
        pass
    del second
    assert kind.destroy == 2
    assert kind.locks == 0, "nobody watches"


@pytest.mark.usefixtures("watched")
def test_watched_locks_count() -> None:
    kind = locks.lock_class("test-count")
    lock = locks.make_lock("test-count")
    with lock:
        assert lock.locked()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.001)

        def take() -> None:
            with lock:
                pass

        waiting = threading.Thread(target=take)
        waiting.start()
    waiting.join(10)
    assert not lock.locked()
    assert kind.try_fail == 1
    assert kind.locks == 2
    assert kind.busy <= 1, "the thread may have come when it was free again"


@pytest.mark.usefixtures("watched")
def test_watched_locks_note_their_order() -> None:
    outer, inner = locks.make_lock("test-outer"), locks.make_lock("test-inner")
    for _ in range(2):
        with outer, inner:
            pass
    with inner:
        pass
    assert locks.new_orders() == ["test-outer > test-inner"]
    assert locks.new_orders() == [], "each is told once"


@pytest.mark.usefixtures("watched")
def test_a_condition_on_a_watched_lock() -> None:
    condition = locks.make_condition("test-condition")
    seen: list[str] = []

    def wait() -> None:
        with condition:
            while not seen:
                condition.wait(10)
            seen.append("woken")

    waiter = threading.Thread(target=wait)
    waiter.start()
    with condition:
        seen.append("told")
        condition.notify()
    waiter.join(10)
    assert seen == ["told", "woken"]
    assert locks.lock_class("test-condition").try_fail == 0
