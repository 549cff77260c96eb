"""The busy object control (boc): how a fetch and those who wait for it meet.

It exists from the moment an object core is made until the fetch is over. The fetch thread alone moves its state,
forward only, and makes the body grow; others wait for a state, or pull the body as it arrives. Its lock guards the
state, the counts and the pieces of a growing body, and is held for a few statements only.

Whoever must not block *subscribes*: its callback runs once, outside the lock, on the thread that made the news; it may
only signal or schedule. The same goes for a fetch that is too far ahead of its reader (`wants_more`): it leaves its
thread, so that a slow client holds none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.base.panic import invariant, present
from varnishpy.params import params
from varnishpy.storage.room import StorageError

if TYPE_CHECKING:
    from varnishpy.http.message import Header
    from varnishpy.storage.object import StoredObject


READ_AHEAD: Final = 4 << 20


class BocState(IntEnum):
    """How far a fetch is."""

    INVALID = 0
    REQ_DONE = 1  # the client's request is not needed any more
    STREAM = 3  # the response may be delivered while its body arrives
    FINISHED = 4
    FAILED = 5


# plain constants for code that runs for each request: members of an Enum cost two look-ups each time
BOC_STREAM: Final = BocState.STREAM
BOC_FINISHED: Final = BocState.FINISHED


class Abandoned(StorageError):
    """Nobody will read the rest of this body: the fetch may stop."""


class Notice(NamedTuple):
    """An interim response (RFC 9110 section 15.2): its status and fields."""

    status: int
    fields: list[Header]


class Blocker(Protocol):
    """What is told of a worker that waits."""

    def will_block(self) -> None: ...
    def unblocked(self) -> None: ...


class BusyObjectControl:
    """See the module text.

    ``transit_buffer`` is how far, in octets, the body may run ahead of its only reader (``beresp.transit_buffer``). 0
    is no limit while nobody reads; a body that *is* being read by its only reader is then held to `READ_AHEAD`, so
    that neither a slow client nor a fast origin makes a pass live in memory as a whole.
    """

    __slots__ = (
        "_paused",
        "_subscribers",
        "_waiters",
        "cancelled",
        "delivered_so_far",
        "fetched_so_far",
        "lock",
        "read_ahead",
        "refcount",
        "state",
        "stobj",
        "transit_buffer",
        "variant",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lock = make_lock("busyobj")
        self.state = BocState.INVALID
        self.refcount = 1
        self.variant: tuple[tuple[str, str | None], ...] | None = None  # predicted for this fetch (cache/vary.py)
        self.stobj: StoredObject | None = None
        self.fetched_so_far = 0
        self.delivered_so_far = 0
        self.transit_buffer = 0
        self.read_ahead = 0  # READ_AHEAD once the only reader is there
        self.cancelled = False
        self._subscribers: list[Callable[[], None]] = []
        self._paused: Callable[[], None] | None = None  # what has the fetch go on
        self._waiters: list[threading.Lock] = []  # each held by a thread that sleeps until it is released

    # -- the fetch's side ------------------------------------------------------------------------------------------

    def set_state(self, state: BocState) -> None:
        """Move on; wakes everybody who waits. States are never left backwards."""
        with self.lock:
            invariant(state > self.state and self.state < BocState.FINISHED, "boc states only move forward")
            if state >= BocState.FINISHED and self.stobj is not None:
                self.stobj.trim()
                self.stobj.incomplete = state is BocState.FAILED
            self.state = state  # last: who reads it without the lock may then take the body as it stands
            ready = self._news()
        for callback in ready:
            callback()

    def adopt(self, stobj: StoredObject) -> None:
        """Grow this object from now on: a fetch that is retried before it streams starts anew."""
        with self.lock:
            invariant(self.state < BocState.STREAM, "an object that streams cannot be replaced")
            self.stobj = stobj
            self.fetched_so_far = stobj.length
            self.delivered_so_far = 0

    def wants_more(self, resume: Callable[[], None]) -> bool:
        """May the fetch go on? False: not now, the only reader is too far behind, or the storage is.

        :param resume: is called when that has taken half of what it may lag behind, or is gone; from any thread,
            perhaps at once. Readers have deadlines of their own and close what they read, so the call always comes.
        :raises Abandoned: it is gone
        """
        stobj = self.stobj
        if stobj is not None:
            pace = stobj.stevedore.pace
            if pace is not None and not pace(resume):
                return False
        limit = self.transit_buffer or self.read_ahead
        if not limit or self.fetched_so_far - self.delivered_so_far < limit:
            return True
        with self.lock:
            if self.cancelled:
                raise Abandoned("Pass delivery abandoned")
            if self.fetched_so_far - self.delivered_so_far < limit:
                return True
            self._paused = resume
            return False

    def keep_pace(self, wrk: Blocker) -> None:
        """Wait until the storage takes more, for at most ``send_timeout`` seconds; for who cannot leave its thread.

        :raises Abandoned: the storage stands still
        """
        stobj = self.stobj
        pace = None if stobj is None else stobj.stevedore.pace
        if pace is None:
            return
        ready = threading.Event()
        if not pace(ready.set):
            wrk.will_block()
            try:
                if not ready.wait(params.send_timeout):
                    raise Abandoned("Storage stalled")
            finally:
                wrk.unblocked()

    def delivered(self, position: int) -> Callable[[], None] | None:
        """The only reader has come so far; the lock is held. Returns what to call once it is free."""
        self.delivered_so_far = position
        self._wake()
        resume = self._paused
        if resume is not None:
            if (self.fetched_so_far - position) * 2 > (self.transit_buffer or self.read_ahead):
                return None
            self._paused = None
        return resume

    def extend(self, data: bytes, wrk: Blocker | None = None) -> None:
        """Append to the body and wake the readers.

        Waits while the body is too far ahead of its only reader, for at most ``send_timeout`` seconds without
        progress.

        :param wrk: told before and after a wait
        :raises NoSpace: no room
        :raises Abandoned: the reader is gone, or stands still
        """
        if not data:
            return
        if type(data) is not bytes:  # a view would keep a whole receive buffer alive, a bytearray may change
            data = bytes(data)
        stobj = present(self.stobj, "a body needs an object to grow in")
        if self.cancelled:
            raise Abandoned("Pass delivery abandoned")
        limit = self.transit_buffer or self.read_ahead
        if limit and self.fetched_so_far - self.delivered_so_far >= limit:
            self._wait_for_reader(limit, wrk)
        portion = stobj.stevedore.portion
        if portion is not None:
            while (size := portion(stobj, len(data))) < len(data):
                self._add(stobj, data[:size])
                data = data[size:]
        self._add(stobj, data)

    def ask_room(self, size: int) -> None:
        """Before so many octets are read: does the storage take any more? :raises NoSpace:"""
        stobj = self.stobj
        if stobj is not None and stobj.stevedore.portion is not None:
            stobj.stevedore.portion(stobj, size)

    def _add(self, stobj: StoredObject, data: bytes) -> None:
        room = stobj.reserve(data)
        with self.lock:
            stobj.append(data, room)
            self.fetched_so_far += len(data)
            ready = self._news()
        for callback in ready:
            callback()

    def _wait_for_reader(self, limit: int, wrk: Blocker | None) -> None:
        def room() -> bool:
            return self.cancelled or self.fetched_so_far - self.delivered_so_far < limit

        if wrk is not None:
            wrk.will_block()
        try:
            with self.lock:
                while not room():
                    before = self.delivered_so_far
                    if not self._sleep(params.send_timeout) and self.delivered_so_far == before and not room():
                        raise Abandoned("Pass delivery stalled")
                if self.cancelled:
                    raise Abandoned("Pass delivery abandoned")
        finally:
            if wrk is not None:
                wrk.unblocked()

    def _news(self) -> list[Callable[[], None]]:
        """Wake who waits; returns who is to be called once the lock is free."""
        self._wake()
        ready = self._subscribers
        if ready:
            self._subscribers = []
        return ready

    def _wake(self) -> None:
        """With the lock held: wake all who sleep."""
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                waiter.release()

    def _sleep(self, seconds: float) -> bool:
        """With the lock held: let go of it until woken; False after so many seconds.

        What a condition variable does, but for what that costs where nobody waits, as is the rule.
        """
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        self.lock.release()
        try:
            return waiter.acquire(timeout=seconds)
        finally:
            self.lock.acquire()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    # -- everybody else's side -------------------------------------------------------------------------------------

    def wait_state(self, state: BocState, deadline: float, wrk: Blocker | None = None) -> BocState:
        """Wait until the fetch is at least that far.

        :param deadline: monotonic time (``clock.mono()``) at which to give up
        :param wrk: told before and after a wait
        :return: the state reached, which is lower than asked for when the deadline passed
        """
        if self.state >= state:
            return self.state
        if wrk is not None:
            wrk.will_block()
        try:
            with self.lock:
                while self.state < state:
                    left = deadline - clock.mono()
                    if left <= 0:
                        break
                    self._sleep(min(left, 3600.0))
                return self.state
        finally:
            if wrk is not None:
                wrk.unblocked()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call back once, at the next piece or state; at once if the fetch is over."""
        with self.lock:
            if self.state < BocState.FINISHED:
                self._subscribers.append(callback)
                return
        callback()

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        """Forget a callback; one that is being called right now is not waited for."""
        with self.lock:
            self._subscribers = [other for other in self._subscribers if other != callback]

    def cancel(self) -> None:
        """The only reader of this body is gone."""
        with self.lock:
            self.cancelled = True
            self._wake()
            resume, self._paused = self._paused, None
        if resume is not None:
            resume()
