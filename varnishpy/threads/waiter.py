"""The waiter: one thread that watches idle descriptors, so that no worker has to.

Idle client connections, idle backend connections and parked HTTP/2 sessions are handed to it with a deadline and a
callback. Each registration ends in exactly one of: its callback is called, once; `Waiter.remove` returns True. The
callback runs on the waiter's thread and must only schedule or close: everything idle waits for it.

A descriptor must be removed before it is closed. Events are level-triggered, so one that may stem from an earlier user
of the same descriptor number is skipped, and comes again at once if it is real.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import select
import sys
import termios
import threading
import traceback
from collections.abc import Callable
from enum import Enum

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.base.panic import invariant
from varnishpy.base.wakeup import Wakeup
from varnishpy.log import Tag, vsl


class WaitEvent(Enum):
    """Why a callback is called."""

    READABLE = "readable"  # octets, or an end of file after some
    TIMEOUT = "timeout"
    CLOSED = "closed"  # the connection is gone both ways, or in error


Callback = Callable[[WaitEvent], None]

_WATCHED = select.EPOLLIN | select.EPOLLRDHUP
_BATCH = 256
_LONGEST_WAIT = 3600.0


class _Entry:
    __slots__ = ("callback", "deadline", "fd", "serial")

    def __init__(self, fd: int, deadline: float, callback: Callback, serial: int) -> None:
        self.fd = fd
        self.deadline = deadline
        self.callback = callback
        self.serial = serial


class Waiter:
    """Watches descriptors until they turn readable, hang up, or their time is over."""

    def __init__(self, name: str = "default") -> None:
        self._lock = make_lock("waiter")
        self._entries: dict[int, _Entry] = {}
        self._heap: list[tuple[float, int, int]] = []  # deadline, serial, descriptor; stale ones are skipped
        self._serial = itertools.count(1)
        self._wake = Wakeup()
        self._epoll = select.epoll()
        self._epoll.register(self._wake.fileno(), select.EPOLLIN)
        self._next_look = 0.0  # when the thread will look at deadlines again, if it is not woken
        self._stopping = False
        self._stats = stats.new_segment(stats.WAITER, name)
        self._runner = threading.Thread(target=self._run, name=f"waiter-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread. Descriptors may be added before."""
        stats.add_collector(self._refresh_stats)
        self._runner.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread. Registrations that are left are dropped without a call: their owners close what they own."""
        with self._lock:
            self._stopping = True
        self._wake.signal()
        if self._runner.is_alive() and self._runner is not threading.current_thread():
            self._runner.join(timeout)
        with self._lock:
            self._entries.clear()
            self._heap.clear()
            if not self._epoll.closed:
                self._epoll.close()
        self._wake.close()
        stats.remove_collector(self._refresh_stats)
        self._stats.destroy()

    def __len__(self) -> int:
        """How many descriptors are being watched."""
        return len(self._entries)

    def add(self, fd: int, deadline: float, callback: Callback) -> None:
        """Watch a descriptor.

        :param deadline: monotonic time (`clock.mono`) at which to give up; infinite for never
        :param callback: called once, on the waiter's thread
        :raises OSError: the descriptor cannot be watched
        """
        with self._lock:
            invariant(fd not in self._entries, "waiter: a descriptor is watched once at a time")
            if self._stopping:
                raise OSError("the waiter is stopped")
            serial = next(self._serial)
            self._epoll.register(fd, _WATCHED)
            self._entries[fd] = _Entry(fd, deadline, callback, serial)
            if deadline < clock.NEVER:
                heapq.heappush(self._heap, (deadline, serial, fd))
                if len(self._heap) > 64 and len(self._heap) > 4 * len(self._entries):
                    self._compact()
            sooner = deadline < self._next_look
            if sooner:
                self._next_look = deadline
        if sooner:
            self._wake.signal()

    def remove(self, fd: int, callback: Callback | None = None) -> bool:
        """Stop watching. True: the callback will not be called any more. False: it was, or is being called.

        :param callback: whose watch it is, for a caller that cannot know whether its descriptor is still open: the
            number may be somebody else's by now
        """
        with self._lock:
            entry = self._entries.get(fd)
            if entry is None or (callback is not None and entry.callback != callback):
                return False
            del self._entries[fd]
            self._unregister(fd)
            return True

    def _unregister(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except OSError as exc:  # closed under our feet: the kernel has forgotten it already, but the owner is wrong
            vsl(Tag.Error, 0, f"waiter: descriptor {fd} was closed while watched: {exc}")

    def _compact(self) -> None:
        """With the lock held: drop heap entries whose registration has ended."""
        entries = self._entries
        self._heap = [
            item for item in self._heap if (entry := entries.get(item[2])) is not None and entry.serial == item[1]
        ]
        heapq.heapify(self._heap)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._stopping:
                    return
                wait = self._time_to_wait()
                newest = next(self._serial)
            events = self._epoll.poll(wait, _BATCH)
            due: list[tuple[_Entry, WaitEvent]] = []
            with self._lock:
                if self._stopping:
                    return
                for fd, mask in events:
                    self._take_event(fd, mask, newest, due)
                self._take_expired(due)
            for entry, event in due:
                try:
                    entry.callback(event)
                except Exception as exc:  # one owner's fault must not stall all the others
                    stats.main.inc("req_contained")
                    for line in "".join(traceback.format_exception(exc)).rstrip("\n").split("\n"):
                        vsl(Tag.Error, 0, f"waiter: {line}")

    def _time_to_wait(self) -> float:
        """With the lock held: seconds until the next deadline."""
        heap, entries = self._heap, self._entries
        while heap:
            _, serial, fd = heap[0]
            entry = entries.get(fd)
            if entry is not None and entry.serial == serial:
                break
            heapq.heappop(heap)
        now = clock.mono()
        self._next_look = min(heap[0][0], now + _LONGEST_WAIT) if heap else now + _LONGEST_WAIT
        return max(0.0, self._next_look - now)

    def _take_event(self, fd: int, mask: int, newest: int, due: list[tuple[_Entry, WaitEvent]]) -> None:
        if fd == self._wake.fileno():
            self._wake.clear()
            return
        entry = self._entries.get(fd)
        if entry is None or entry.serial > newest:  # registered while we slept: see the module's text
            return
        del self._entries[fd]
        self._unregister(fd)
        gone = mask & (select.EPOLLERR | select.EPOLLHUP)
        self._stats.inc("remclose" if gone or (mask & select.EPOLLRDHUP and _is_drained(fd)) else "action")
        due.append((entry, WaitEvent.CLOSED if gone else WaitEvent.READABLE))

    def _take_expired(self, due: list[tuple[_Entry, WaitEvent]]) -> None:
        now = clock.mono()
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, serial, fd = heapq.heappop(heap)
            entry = self._entries.get(fd)
            if entry is None or entry.serial != serial:
                continue
            del self._entries[fd]
            self._unregister(fd)
            self._stats.inc("timeout")
            due.append((entry, WaitEvent.TIMEOUT))

    def _refresh_stats(self) -> None:
        self._stats.set("conns", len(self._entries))


def _is_drained(fd: int) -> bool:
    """Whether there is nothing to read; what is no socket, or closed, counts as such."""
    try:
        found = fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0")
    except OSError:
        return True
    return int.from_bytes(found, sys.byteorder) == 0
