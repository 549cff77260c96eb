"""Wakeup descriptors of both kinds."""

from __future__ import annotations

import os
import select
import threading

import pytest

from varnishpy.base.panic import Panic
from varnishpy.base.wakeup import Kind, Wakeup

KINDS: list[Kind] = ["eventfd", "pipe"]


def readable(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup.fileno()], [], [], 0)[0])


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def test_signals_coalesce_until_cleared(kind: Kind) -> None:
    with Wakeup(kind) as wakeup:
        assert not readable(wakeup)
        assert wakeup.signal()
        assert not wakeup.signal()
        assert readable(wakeup)
        assert wakeup.clear()
        assert not readable(wakeup)
        assert not wakeup.clear()
        assert wakeup.signal()


def test_close_gives_descriptors_back_and_silences_signals(kind: Kind) -> None:
    wakeup = Wakeup(kind)
    fd = wakeup.fileno()
    wakeup.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    assert not wakeup.signal()
    assert not wakeup.clear()
    assert wakeup.fileno() == -1
    wakeup.close()


def test_no_signal_is_lost_between_threads(kind: Kind) -> None:
    rounds = 500
    with Wakeup(kind) as wakeup:
        produced = 0
        consumed = 0
        answered = threading.Semaphore(0)

        def produce() -> None:
            nonlocal produced
            for _ in range(rounds):
                produced += 1
                wakeup.signal()
                assert answered.acquire(timeout=5)

        thread = threading.Thread(target=produce)
        thread.start()
        while consumed < rounds:
            assert select.select([wakeup.fileno()], [], [], 5)[0], "a signal was lost"
            wakeup.clear()
            while consumed < produced:
                consumed += 1
                answered.release()
        thread.join(5)
        assert not thread.is_alive()


def signal_often(wakeup: Wakeup) -> None:
    for _ in range(20):
        wakeup.signal()


def test_signal_during_close_never_writes_elsewhere(kind: Kind) -> None:
    for _ in range(50):
        wakeup = Wakeup(kind)
        thread = threading.Thread(target=signal_often, args=(wakeup,))
        thread.start()
        wakeup.close()
        with Wakeup("pipe") as other:
            thread.join(5)
            assert not readable(other)


def test_auto_prefers_eventfd() -> None:
    with Wakeup() as wakeup:
        assert wakeup.kind == ("eventfd" if hasattr(os, "eventfd") else "pipe")


def test_unknown_kind_panics() -> None:
    with pytest.raises(Panic):
        Wakeup("semaphore")  # type: ignore[arg-type]
