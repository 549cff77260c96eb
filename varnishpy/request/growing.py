"""A bounded pipe between the thread that computes a body and the thread that sends it.

Filters (gunzip, ESI, filters of VMODs) cost time, may wait and may run VCL. HTTP/2's session thread must do none of
that: there a request thread computes the body and pushes it in here, and the session thread pulls. The pipe holds at
most ``limit`` octets; then the request thread waits, saying so to its pool, so that a slow client costs memory for
one buffer and not for the body.

The reader's ``on_ready`` is called outside the lock, at most once per ``LATER``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator

from varnishpy.storage.source import END, LATER, Piece, Source, SourceError, _Mark

#: a body being computed, piece by piece; raises `SourceError` where it cannot be completed
Pieces = Generator[Piece, None, None]


class ReaderGone(Exception):
    """The transport closed the source: nobody wants the rest of the body."""


class GrowingSource(Source):
    """See the module text.

    :param length: the size of the body if known, else -1
    :param limit: octets that may lie unread before `push` waits; one piece may exceed it
    """

    __slots__ = ("_asked", "_closed", "_cond", "_ended", "_error", "_held", "_limit", "_offset", "_pieces")

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(length, False)
        self._cond = threading.Condition(threading.Lock())
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._limit = max(1, limit)
        self._offset = 0
        self._ended = False
        self._error: str | None = None
        self._closed = False
        self._asked = False

    # -- the writer's side -----------------------------------------------------------------------------------------

    def push(self, piece: Piece, wait: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Append a piece; waits while the pipe is full.

        :param wait: runs its argument, which blocks; lets the caller tell its pool. ``None``: just block.
        :raises ReaderGone: the reader closed the source
        """
        if not len(piece):
            return
        with self._cond:
            full = self._held >= self._limit and not self._closed
        if full:
            if wait is None:
                self._wait_for_room()
            else:
                wait(self._wait_for_room)
        with self._cond:
            if self._closed:
                raise ReaderGone
            self._pieces.append(piece)
            self._held += len(piece)
            ready = self._take_ready()
        if ready is not None:
            ready()

    def finish(self, error: str | None = None) -> None:
        """No more will come; with ``error`` the body is incomplete. Callable once, from the writer's thread."""
        with self._cond:
            self._ended = True
            self._error = error
            ready = self._take_ready()
        if ready is not None:
            ready()

    def _wait_for_room(self) -> None:
        with self._cond:
            while self._held >= self._limit and not self._closed:
                # whoever reads has its own deadline (send_timeout) and closes the source when it is over
                self._cond.wait()

    def _take_ready(self) -> Callable[[], None] | None:
        if not self._asked:
            return None
        self._asked = False
        return self.on_ready

    # -- the reader's side -----------------------------------------------------------------------------------------

    def pull(self, limit: int) -> Piece | _Mark:
        with self._cond:
            if not self._pieces:
                if not self._ended:
                    self._asked = True
                    return LATER
                if self._error is not None:
                    raise SourceError(self._error)
                return END
            piece = self._pieces[0]
            left = len(piece) - self._offset
            if self._offset == 0 and left <= limit:
                self._pieces.popleft()
                taken: Piece = piece
            else:
                take = min(left, limit)
                taken = memoryview(piece)[self._offset : self._offset + take]
                if take == left:
                    self._pieces.popleft()
                    self._offset = 0
                else:
                    self._offset += take
            self._held -= len(taken)
            self._cond.notify()
            return taken

    def close(self) -> None:
        with self._cond:
            self._closed = True
            self._pieces.clear()
            self._held = 0
            self._asked = False
            self._cond.notify_all()
