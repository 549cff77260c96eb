"""A bounded pipe between the thread that computes a body and the thread that sends it.

Filters (gunzip, ESI, filters of VMODs) cost time, may wait and may run VCL. HTTP/2's session thread must do none of
that: there a request thread computes the body and pushes it in here, and the session thread pulls. When the pipe holds
``limit`` octets the writer leaves its thread, and is called back when half of them are gone: a slow client costs the
memory of one buffer, and no thread.

Callbacks are called outside the lock, each at most once: ``on_ready`` per ``LATER``, the writer's per `wants_more`.
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
    :param limit: octets that may lie unread before the writer is asked to pause; one piece may exceed it
    """

    __slots__ = ("_asked", "_closed", "_ended", "_error", "_held", "_limit", "_lock", "_offset", "_pieces", "_writer")

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(length, False)
        self._lock = threading.Lock()
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._limit = max(1, limit)
        self._offset = 0
        self._ended = False
        self._error: str | None = None
        self._closed = False
        self._asked = False
        self._writer: Callable[[], None] | None = None

    # -- the writer's side -----------------------------------------------------------------------------------------

    def wants_more(self, resume: Callable[[], None]) -> bool:
        """May the writer go on? False: not now; ``resume`` will be called, from any thread, perhaps at once.

        :raises ReaderGone: the reader closed the source
        """
        with self._lock:
            if self._closed:
                raise ReaderGone
            if self._held < self._limit:
                return True
            self._writer = resume
            return False

    def push(self, piece: Piece) -> None:
        """Append a piece.

        :raises ReaderGone: the reader closed the source
        """
        if not len(piece):
            return
        with self._lock:
            if self._closed:
                raise ReaderGone
            self._pieces.append(piece)
            self._held += len(piece)
            ready = self._take_ready()
        if ready is not None:
            ready()

    def finish(self, error: str | None = None) -> None:
        """No more will come; with ``error`` the body is incomplete. Called once, by the writer."""
        with self._lock:
            self._ended = True
            self._error = error
            ready = self._take_ready()
        if ready is not None:
            ready()

    def _take_ready(self) -> Callable[[], None] | None:
        if not self._asked:
            return None
        self._asked = False
        return self.on_ready

    # -- the reader's side -----------------------------------------------------------------------------------------

    def pull(self, limit: int) -> Piece | _Mark:
        resume = None
        with self._lock:
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
            if self._writer is not None and self._held * 2 <= self._limit:
                resume, self._writer = self._writer, None
        if resume is not None:
            resume()
        return taken

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._pieces.clear()
            self._held = 0
            self._asked = False
            resume, self._writer = self._writer, None
        if resume is not None:
            resume()
