"""The manager's event loop: descriptors, timers and signals on one thread.

The manager is single threaded on purpose: it forks the child, and a fork of a program with threads is a gamble.
"""

from __future__ import annotations

import heapq
import itertools
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

# How long a signal may go unnoticed by a wait outside of the loop (seconds).
_GLANCE: Final = 0.2


@dataclass(order=True, slots=True)
class Timer:
    """A call in the future; `cancel` it while it is pending."""

    when: float
    number: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Runs callbacks until `stop`."""

    def __init__(self) -> None:
        # poll(2): few descriptors, and unlike epoll(7) it takes plain files, which standard input may be
        self._selector = selectors.PollSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._stopped = False
        self._signals: dict[int, Callable[[], None]] = {}
        self._urgent: set[int] = set()
        self._hurry = False
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self.watch(self._read_end.fileno(), self._take_signals)

    def watch(self, fd: int, call: Callable[[], None], events: int = selectors.EVENT_READ) -> None:
        """Call ``call`` whenever the descriptor is ready."""
        self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; must be called before it is closed."""
        self._selector.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call ``call`` once, that many seconds from now."""
        timer = Timer(time.monotonic() + seconds, next(self._numbers), call)
        heapq.heappush(self._timers, timer)
        return timer

    def on_signal(self, number: int, call: Callable[[], None], urgent: bool = False) -> None:
        """Call ``call`` from the loop, not from the handler, when a signal arrives.

        :param urgent: whoever keeps the loop waiting (`wait_readable`) shall hurry then
        """
        self._signals[number] = call
        if urgent:
            self._urgent.add(number)
        signal.signal(number, self._note)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)

    def forget_signals(self) -> None:
        """Give signals back their defaults, as a freshly forked child wants them."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)

    def wait_readable(self, fd: int, seconds: float, hurried: float) -> bool:
        """Wait for one descriptor, and for nothing else, outside of the loop's turns; False after so many seconds.

        :param hurried: the longest that it may still last once an urgent signal has arrived, in seconds
        """
        deadline = time.monotonic() + seconds
        hurry_until: float | None = None
        while True:
            now = time.monotonic()
            if self._hurry and hurry_until is None:
                hurry_until = now + hurried
            left = (deadline if hurry_until is None else min(deadline, hurry_until)) - now
            if left <= 0:
                return False
            # a handler that has run does not end a wait (PEP 475): look again from time to time
            if readable(fd, min(left, _GLANCE)):
                return True

    def stop(self) -> None:
        """Leave `run` after the callback that is running, or at once if it has not begun."""
        self._stopped = True

    def run(self) -> None:
        """Run until `stop`."""
        while not self._stopped:
            self.once(None)

    def once(self, limit: float | None) -> None:
        """One turn: wait for something to happen, at most ``limit`` seconds, and see to it."""
        now = time.monotonic()
        timeout = limit
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        if self._timers:
            due = max(0.0, self._timers[0].when - now)
            timeout = due if timeout is None else min(timeout, due)
        for key, _ in self._selector.select(timeout):
            # an earlier callback of this turn may have dropped the descriptor
            if self._selector.get_map().get(key.fd) is key:
                call: Callable[[], None] = key.data
                call()
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if timer.call is not None:
                timer.call()

    def close(self) -> None:
        """Release the loop's own descriptors."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._read_end.close()
        self._write_end.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """The handler of all signals. The loop learns of them through the wakeup descriptor."""
        if number in self._urgent:
            self._hurry = True

    def _take_signals(self) -> None:
        try:
            numbers = self._read_end.recv(4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            call = self._signals.get(number)
            if call is not None:
                call()


def readable(fd: int, seconds: float) -> bool:
    """Wait for a descriptor of any number, which select(2) would not, to have something to read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
