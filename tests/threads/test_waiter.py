"""The waiter: each registration ends in exactly one call or one successful removal."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.waiting import Until
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.panic import Panic
from varnishpy.log.memory import captured
from varnishpy.log.tags import Tag
from varnishpy.threads import Waiter, WaitEvent

WAIT = 10.0


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    found = Waiter("test")
    found.start()
    yield found
    found.stop()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


Pair = tuple[socket.socket, socket.socket]


def test_readable_once(waiter: Waiter, pair: Pair) -> None:
    events: queue.Queue[WaitEvent] = queue.Queue()
    waiter.add(pair[0].fileno(), clock.NEVER, events.put)
    pair[1].send(b"x")
    assert events.get(timeout=WAIT) is WaitEvent.READABLE
    assert not waiter.remove(pair[0].fileno())
    waiter.add(pair[0].fileno(), clock.NEVER, events.put)  # still readable: level-triggered
    assert events.get(timeout=WAIT) is WaitEvent.READABLE
    assert events.empty() and len(waiter) == 0


def test_data_before_a_half_close_is_readable(waiter: Waiter, pair: Pair) -> None:
    events: queue.Queue[WaitEvent] = queue.Queue()
    pair[1].send(b"x")
    pair[1].shutdown(socket.SHUT_WR)
    waiter.add(pair[0].fileno(), clock.NEVER, events.put)
    assert events.get(timeout=WAIT) is WaitEvent.READABLE


def test_closed_peer(waiter: Waiter, pair: Pair) -> None:
    events: queue.Queue[WaitEvent] = queue.Queue()
    waiter.add(pair[0].fileno(), clock.NEVER, events.put)
    pair[1].close()
    assert events.get(timeout=WAIT) is WaitEvent.CLOSED


def test_deadlines_in_order_whatever_the_order_of_adding(waiter: Waiter) -> None:
    events: queue.Queue[int] = queue.Queue()
    pairs = [socket.socketpair() for _ in range(3)]
    now = clock.mono()
    for nr in (2, 0, 1):
        waiter.add(pairs[nr][0].fileno(), now + 0.4 + 0.001 * nr, lambda event, nr=nr: events.put(nr))  # type: ignore[misc]
    assert [events.get(timeout=WAIT) for _ in range(3)] == [0, 1, 2]
    assert clock.mono() >= now + 0.06
    for left, right in pairs:
        left.close()
        right.close()


def test_a_watch_is_removed_by_its_owner_only(waiter: Waiter, pair: Pair) -> None:
    """A descriptor's number says little once it may have been closed and given out again."""
    mine: queue.Queue[WaitEvent] = queue.Queue()
    another: queue.Queue[WaitEvent] = queue.Queue()
    waiter.add(pair[0].fileno(), clock.NEVER, mine.put)
    assert not waiter.remove(pair[0].fileno(), another.put)
    pair[1].send(b"x")
    assert mine.get(timeout=WAIT) is WaitEvent.READABLE
    waiter.add(pair[0].fileno(), clock.NEVER, mine.put)
    mine.get(timeout=WAIT)
    pair[0].recv(1)
    waiter.add(pair[0].fileno(), clock.NEVER, mine.put)
    assert waiter.remove(pair[0].fileno(), mine.put)


def test_removed_is_never_called(waiter: Waiter, pair: Pair) -> None:
    called: list[WaitEvent] = []
    for _ in range(50):
        waiter.add(pair[0].fileno(), clock.mono() + 100, called.append)
        assert waiter.remove(pair[0].fileno())
    pair[1].send(b"x")
    events: queue.Queue[WaitEvent] = queue.Queue()
    other = socket.socketpair()
    other[1].send(b"x")
    waiter.add(other[0].fileno(), clock.NEVER, events.put)
    assert events.get(timeout=WAIT)
    assert not called
    other[0].close()
    other[1].close()


def test_race_of_event_and_removal_has_one_winner(waiter: Waiter) -> None:
    outcomes = {"called": 0, "removed": 0}
    for _ in range(300):
        left, right = socket.socketpair()
        called = threading.Event()
        waiter.add(left.fileno(), clock.NEVER, lambda event, c=called: c.set())  # type: ignore[misc]
        sender = threading.Thread(target=right.send, args=(b"x",))
        sender.start()
        if waiter.remove(left.fileno()):
            outcomes["removed"] += 1
            sender.join(WAIT)
            assert not called.is_set()
        else:
            outcomes["called"] += 1
            assert called.wait(WAIT)
            sender.join(WAIT)
        left.close()
        right.close()
    assert sum(outcomes.values()) == 300


def test_same_descriptor_number_used_again(waiter: Waiter) -> None:
    """An event of an earlier socket never reaches the callback of a later one with the same number."""
    for _ in range(200):
        left, right = socket.socketpair()
        number = left.fileno()
        waiter.add(number, clock.NEVER, lambda event: None)
        right.send(b"x")
        waiter.remove(number)
        left.close()
        again, peer = socket.socketpair()
        called: list[WaitEvent] = []
        waiter.add(again.fileno(), clock.NEVER, called.append)
        assert waiter.remove(again.fileno())
        assert not called
        for sock in (right, again, peer):
            sock.close()


def test_adding_twice_panics(waiter: Waiter, pair: Pair) -> None:
    waiter.add(pair[0].fileno(), clock.NEVER, lambda event: None)
    with pytest.raises(Panic):
        waiter.add(pair[0].fileno(), clock.NEVER, lambda event: None)


def test_bad_descriptor_is_refused(waiter: Waiter) -> None:
    with pytest.raises(OSError):
        waiter.add(99999, clock.NEVER, lambda event: None)
    assert len(waiter) == 0


def test_failing_callback_does_not_stop_the_others(waiter: Waiter, until: Until) -> None:
    contained = stats.main.get("req_contained")
    events: queue.Queue[WaitEvent] = queue.Queue()
    first, second = socket.socketpair(), socket.socketpair()

    def broken(event: WaitEvent) -> None:
        raise ValueError("kaputt")

    with captured() as log:
        waiter.add(first[0].fileno(), clock.mono(), broken)
        waiter.add(second[0].fileno(), clock.mono() + 0.01, events.put)
        assert events.get(timeout=WAIT) is WaitEvent.TIMEOUT
        assert any("ValueError: kaputt" in text for text in log.texts(Tag.Error))
    assert stats.main.get("req_contained") == contained + 1
    for sock in (*first, *second):
        sock.close()


def test_thousands_at_once_and_stale_deadlines_are_dropped(waiter: Waiter, until: Until) -> None:
    pairs = [socket.socketpair() for _ in range(200)]
    hits: queue.Queue[int] = queue.Queue()
    for _ in range(10):  # registrations that end leave their deadlines behind
        for left, _ in pairs:
            waiter.add(left.fileno(), clock.mono() + 1000, lambda event: None)
        for left, _ in pairs:
            assert waiter.remove(left.fileno())
    assert len(waiter._heap) <= 5 * len(pairs)
    for nr, (left, _) in enumerate(pairs):
        waiter.add(left.fileno(), clock.mono() + 1000, lambda event, nr=nr: hits.put(nr))  # type: ignore[misc]
    for _, right in pairs:
        right.send(b"x")
    assert sorted(hits.get(timeout=WAIT) for _ in pairs) == list(range(200))
    for left, right in pairs:
        left.close()
        right.close()


def test_stopped_waiter_takes_nothing_more(pair: Pair) -> None:
    waiter = Waiter("stopping")
    waiter.start()
    called: list[WaitEvent] = []
    waiter.add(pair[0].fileno(), clock.mono() + 1000, called.append)
    waiter.stop()
    with pytest.raises(OSError):
        waiter.add(pair[1].fileno(), clock.NEVER, called.append)
    assert not called
