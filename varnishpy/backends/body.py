"""Bodies of backend responses over HTTP/1, as readers.

``read(limit)`` returns at most ``limit`` octets, ``b""`` at the end and only there. It waits between_bytes_timeout at
most for each piece. ``complete`` tells that the body was read to its end and nothing is left on the connection before
the next response. A failed read raises `FetchError` with the reference's text; the system's reason is logged before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from varnishpy.backends.errors import FetchError
from varnishpy.http.wire_chunked import ChunkedDecoder
from varnishpy.http.wire_fields import WireError
from varnishpy.log.tag_numbers import FETCH_ERROR
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.backends.connection import Connection
    from varnishpy.log import TaskLog
    from varnishpy.threads.worker import Worker

_READ_SIZE: Final = 256 * 1024  # most octets asked of the kernel at once
_LONG: Final = 8 * 1024  # octets of a body that came with its head
_FIRST_READ: Final = 16 * 1024  # and at the beginning, when the size of what comes is unknown


class BodyReader:
    """Base, and the reader of a body that is not there."""

    __slots__ = ("_conn", "_log", "_size", "_wrk", "complete", "kind", "length", "octets", "why_close")

    def __init__(self, wrk: Worker, conn: Connection, log: TaskLog, length: int = 0) -> None:
        self.kind = "none"
        self.length = length
        self.complete = length == 0
        self.octets = 0  # received so far, as they came over the wire but for chunk headers
        self.why_close: str | None = None  # SessClose-like reason after a failure
        self._wrk = wrk
        self._conn = conn
        self._log = log
        self._size = _FIRST_READ

    def moved_to(self, wrk: Worker) -> None:
        """From now on another worker reads."""
        self._wrk = wrk

    def read(self, limit: int) -> bytes:
        """The next octets of the body. :raises FetchError:"""
        return b""

    def is_at_hand(self) -> bool:
        """Would `read` not wait for the backend? It may yet, where what is there is no whole piece."""
        if self.complete:
            return True
        conn = self._conn
        return conn.has_leftover() or not conn.is_quiet()

    def skip_buffered(self) -> bool:
        """Drop the rest of a body that nobody wants, if it has all been received; else nothing changes."""
        return False

    def _receive(self, limit: int) -> bytes | None:
        """What the kernel has, waiting for it; ``None``, with the reason logged, on failure."""
        size = min(limit, self._size)
        try:
            with self._wrk.blocking():
                data = self._conn.receive(size, self._conn.patience)
        except TimeoutError:
            self._log.put(FETCH_ERROR, "between bytes timeout")
            self.why_close = "RX_TIMEOUT"
            return None
        except OSError as exc:
            self._log.put(FETCH_ERROR, exc.strerror or os.strerror(exc.errno or 0))
            self.why_close = "RX_BODY"
            return None
        if len(data) == size and size < _READ_SIZE:
            self._size = size * 2  # the backend is ahead of us: ask for more at once
        return data

    def _buffered(self, limit: int) -> bytes:
        """Octets that came along with the response head."""
        buf = self._conn.buf
        data = bytes(buf[:limit])
        del buf[:limit]
        self.octets += len(data)
        return data

    def _fail(self, text: str) -> FetchError:
        if self.why_close is None:
            self.why_close = "RX_BODY"
        return FetchError(text)


class LengthBody(BodyReader):
    """A body of announced length."""

    __slots__ = ("_left",)

    def __init__(self, wrk: Worker, conn: Connection, log: TaskLog, length: int) -> None:
        super().__init__(wrk, conn, log, length)
        self.kind = "length"
        self._left = length

    def read(self, limit: int) -> bytes:
        limit = min(limit, self._left)
        if limit <= 0:
            return b""
        conn = self._conn
        if conn.buf:
            data = self._buffered(limit)
            # what came with the head is the beginning of a long body: let no piece end where a read happened to
            if len(data) < limit and len(data) >= _LONG and not conn.speaks_tls:
                data += self._more(limit - len(data))
        else:
            received = self._receive(limit)
            if not received:
                raise self._fail("straight insufficient bytes")
            data = received
            self.octets += len(data)
        self._left -= len(data)
        if not self._left:
            self.complete = True
        return data

    def _more(self, limit: int) -> bytes:
        """What is at hand in the kernel, whose socket does not block; an end or an error is left to the next read."""
        try:
            received = self._conn.sock.recv(min(limit, _READ_SIZE))
        except OSError:
            return b""
        self.octets += len(received)
        return received

    def skip_buffered(self) -> bool:
        if len(self._conn.buf) < self._left:
            return False
        self._buffered(self._left)
        self._left = 0
        self.complete = True
        return True


class ChunkedBody(BodyReader):
    """A body in the chunked coding; trailers are dropped, but kept for who wants them in ``trailers``."""

    __slots__ = ("_decoder",)

    def __init__(self, wrk: Worker, conn: Connection, log: TaskLog) -> None:
        super().__init__(wrk, conn, log, -1)
        self.kind = "chunked"
        self._decoder = ChunkedDecoder(params.http_resp_size, params.http_max_hdr, lone_lf=True)

    @property
    def trailers(self) -> list[tuple[str, str, str]]:
        """The trailer fields, once the body is complete."""
        return self._decoder.trailers

    def read(self, limit: int) -> bytes:
        decoder = self._decoder
        buf = self._conn.buf
        while not self.complete:
            try:
                data = decoder.decode(buf, limit)
            except WireError as exc:
                raise self._fail(exc.text) from None
            if decoder.done:
                self.complete = True
            if data:
                self.octets += len(data)
                return data
            if self.complete:
                break
            in_chunk = decoder.want > 0
            if in_chunk and not buf:  # straight to the caller, not through the buffer
                received = self._receive(min(limit, decoder.want))
                if received:
                    decoder.skip(len(received))
                    self.octets += len(received)
                    return received
            else:
                received = self._receive(_FIRST_READ)
                if received:
                    buf += received
                    continue
            raise self._fail("chunked insufficient bytes" if in_chunk else "chunked read err")
        return b""


class EofBody(BodyReader):
    """A body that ends with the connection."""

    __slots__ = ()

    def __init__(self, wrk: Worker, conn: Connection, log: TaskLog) -> None:
        super().__init__(wrk, conn, log, -1)
        self.kind = "eof"

    def read(self, limit: int) -> bytes:
        if self.complete:
            return b""
        if self._conn.buf:
            return self._buffered(limit)
        data = self._receive(limit)
        if data is None:
            raise self._fail("eof socket fail")
        if not data:
            self.complete = True
        self.octets += len(data)
        return data


def can_rewind(body: object) -> bool:
    """May this request body (``request/transport.py``) be sent once more, after a call of its ``rewind``?"""
    return callable(getattr(body, "rewind", None))
