"""The manager's event loop: its end, and what a wait outside of its turns does when it is told to hurry."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from varnishpy.manager.loop import Loop

FOREVER = 1000.0  # far beyond the limit that each test has


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGUSR1)
    made = Loop()
    yield made
    made.close()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def silent() -> Iterator[int]:
    """A descriptor that never becomes readable, unless somebody writes to the one behind it."""
    read_end, write_end = os.pipe()
    yield read_end
    os.close(read_end)
    os.close(write_end)


def test_an_urgent_signal_cuts_a_wait_short(loop: Loop, silent: int) -> None:
    called: list[str] = []
    loop.on_signal(signal.SIGUSR1, lambda: called.append("urgent"), urgent=True)
    sender = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    sender.start()
    assert not loop.wait_readable(silent, FOREVER, 0.05)
    sender.join()
    assert not called, "the signal is the loop's to take"
    assert not loop.wait_readable(silent, FOREVER, 0.05), "there is no more time for whoever waits next"
    loop.once(0)
    assert called == ["urgent"]


def test_other_signals_do_not(loop: Loop, silent: int) -> None:
    loop.on_signal(signal.SIGUSR1, lambda: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    read_end, write_end = os.pipe()
    writer = threading.Timer(0.3, os.write, (write_end, b"x"))
    writer.start()
    assert loop.wait_readable(read_end, FOREVER, 0.0)
    writer.join()
    assert not loop.wait_readable(silent, 0.01, FOREVER)
    os.close(read_end)
    os.close(write_end)


def test_a_plain_file_can_be_watched(loop: Loop) -> None:
    seen: list[bytes] = []
    with open(__file__, "rb", buffering=0) as file:
        loop.watch(file.fileno(), lambda: seen.append(file.read(3)))
        loop.once(0)
        loop.unwatch(file.fileno())
    assert seen == [b'"""']


def test_who_is_told_to_stop_before_it_runs_does_not_run(loop: Loop) -> None:
    loop.after(0.0, lambda: pytest.fail("it ran"))
    loop.stop()
    loop.run()
