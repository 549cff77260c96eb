"""What a transport pulls a response body from.

One interface serves a hit, a miss that is still arriving, a pass, a synthetic body and a body that filters compute; and
it serves a transport that may block (HTTP/1) and one that must not (HTTP/2's session thread).

``pull`` is the whole of it. It returns

* a bytes-like piece of at most ``limit`` octets,
* ``END`` when the body is complete,
* ``LATER`` when more will come: ``on_ready`` is then called once, from any thread, when ``pull`` is worth another try
  (it must only signal or schedule),

or raises `SourceError` when the body can never be completed. A source is pulled by one thread at a time. Pieces are
views of storage: holding one keeps its memory alive, nothing is copied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from varnishpy.base.compiled import mypyc_attr
from varnishpy.http.message import Header

Piece = bytes | bytearray | memoryview


class SourceError(Exception):
    """The body cannot be completed; the text is the reason for the log."""


class _Mark:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


LATER: Final = _Mark("LATER")
END: Final = _Mark("END")


@mypyc_attr(allow_interpreted_subclasses=True)
class Source:
    """Base of all sources.

    ``length`` is the body's size in octets, -1 where it is not known before the end. ``complete`` tells that ``pull``
    will never answer ``LATER`` nor fail. ``may_wait`` tells that ``pull`` itself may wait (only for transports with
    ``pull_may_block``): whoever pulls then sends what it holds before it asks for more.
    """

    __slots__ = ("complete", "length", "may_wait", "on_ready")

    def __init__(self, length: int, complete: bool) -> None:
        self.length = length
        self.complete = complete
        self.may_wait = False
        self.on_ready: Callable[[], None] | None = None

    def pull(self, limit: int) -> Piece | _Mark:
        """The next piece, ``END`` or ``LATER``; raises `SourceError`."""
        raise NotImplementedError

    def pull_whole(self) -> Piece | None:
        """All that is left, if it is complete and in one piece; else ``None``, and nothing is taken."""
        return None

    def close(self) -> None:
        """Let go of everything held; called exactly once by whoever pulled, at the end or when giving up."""

    @property
    def trailers(self) -> list[Header] | None:
        """Fields to be sent behind the body, asked for once ``pull`` has answered ``END``."""
        return None

    def pull_wait(self, limit: int, deadline: Callable[[], float]) -> Piece | _Mark:
        """Like `pull`, but wait instead of answering ``LATER``; for threads that may block.

        :param deadline: seconds that the wait may still last; raises `SourceError` when they are over
        """
        piece = self.pull(limit)
        while piece is LATER:
            ready = threading.Event()
            self.on_ready = ready.set
            piece = self.pull(limit)  # it may have become ready before on_ready was set
            if piece is LATER:
                if not ready.wait(max(0.0, deadline())):
                    raise SourceError("timeout waiting for body")
                piece = self.pull(limit)
            self.on_ready = None
        return piece


class TrailedSource(Source):
    """A source with fields behind its body. Its end is only known at the end.

    :param trailers: asked at the end of the body
    """

    __slots__ = ("_inner", "_trailers")

    def __init__(self, inner: Source, trailers: Callable[[], list[Header] | None]) -> None:
        super().__init__(-1, False)
        self.may_wait = inner.may_wait
        self._inner = inner
        self._trailers = trailers

    @property
    def trailers(self) -> list[Header] | None:
        return self._trailers()

    def pull(self, limit: int) -> Piece | _Mark:
        self._inner.on_ready = self.on_ready
        return self._inner.pull(limit)

    def close(self) -> None:
        self._inner.on_ready = None
        self._inner.close()


class BytesSource(Source):
    """A body that is complete in memory: views of stored chunks, a range of them, or a synthetic body."""

    __slots__ = ("_chunks", "_index", "_left", "_offset")

    def __init__(self, chunks: Sequence[Piece], start: int = 0, length: int = -1) -> None:
        if length < 0:
            length = sum(len(chunk) for chunk in chunks) - start
        # what the base does, without the call: most responses make one of these
        self.length = length
        self.complete = True
        self.may_wait = False
        self.on_ready = None
        self._chunks = chunks
        self._index = 0
        self._offset = 0
        self._left = length
        while start and start >= len(chunks[self._index]):
            start -= len(chunks[self._index])
            self._index += 1
        self._offset = start

    def pull(self, limit: int) -> Piece | _Mark:
        if self._left <= 0:
            return END
        chunk = self._chunks[self._index]
        offset = self._offset
        take = min(limit, len(chunk) - offset, self._left)
        if take == len(chunk):
            piece: Piece = chunk
        else:
            piece = memoryview(chunk)[offset : offset + take]
        self._left -= take
        offset += take
        if offset == len(chunk):
            self._index += 1
            offset = 0
        self._offset = offset
        return piece

    def pull_whole(self) -> Piece | None:
        left = self._left
        if left <= 0:
            return None
        chunk = self._chunks[self._index]
        offset = self._offset
        end = offset + left
        if end > len(chunk):
            return None
        self._left = 0
        return chunk if left == len(chunk) else memoryview(chunk)[offset:end]

    def close(self) -> None:
        self._chunks = ()
        self._left = 0
