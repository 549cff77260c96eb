"""Request bodies as HTTP/1 delivers them: by length, or chunked.

A body is read by one thread at a time: the worker of the request, or that of the fetch which passes it on. Octets that
were read together with the head are used first, and what follows the body stays in the connection's buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.http.wire_chunked import ChunkedDecoder
from varnishpy.http.wire_fields import WireError
from varnishpy.http1.connection import Connection, Fill
from varnishpy.params import params
from varnishpy.request.patience import Patience, too_slow
from varnishpy.request.transport import BodyError
from varnishpy.request.vfp import FETCH_NAMES

if TYPE_CHECKING:
    from varnishpy.request.request import Request
    from varnishpy.request.transport import RequestBody

_CHUNK: Final = 64 * 1024


class _Body:
    """What both kinds share.

    :ivar length: octets, or -1 when only the end will tell
    :ivar kind: ``length`` or ``chunked``
    :ivar finished: the body is off the connection, trailers included
    :ivar filter_name: see `RequestBody`
    :ivar failed: why it could not be read, or ``None``
    """

    __slots__ = ("_conn", "_patience", "_req", "failed", "filter_name", "finished", "kind", "length", "received")

    def __init__(self, conn: Connection, req: Request, kind: str, length: int) -> None:
        self._conn = conn
        self._req = req
        self._patience = Patience()
        self.kind = kind
        self.filter_name = FETCH_NAMES[kind]
        self.length = length
        self.received = 0
        self.finished = False
        self.failed: str | None = None

    def read(self, limit: int) -> bytes:
        """See `RequestBody`."""
        raise NotImplementedError

    def discard(self) -> bool:
        """Read and drop the rest, for so long as sending a response may take; False when that failed."""
        deadline = clock.mono() + params.send_timeout
        acct = self._req.acct
        try:
            while not self.finished:
                if clock.mono() > deadline:
                    self._fail("timeout discarding request body")
                acct.req_bodybytes += len(self.read(_CHUNK))
        except BodyError:
            return False
        return True

    def _fail(self, text: str) -> BodyError:
        """Remember why; the connection is out of step from here on and must close."""
        self.failed = text
        if self._req.doclose is None:
            self._req.doclose = "RX_BODY"
        raise BodyError(text)

    def _fill(self, want: int, short: str) -> None:
        """Wait for octets and put them into the connection's buffer."""
        if self.failed is not None:
            raise BodyError(self.failed)
        conn = self._conn
        sess = conn.sess
        if sess.closed is not None:
            self._fail(short)
        result = conn.fill(want)
        if result is Fill.AGAIN:
            result = self._await(want)
        if result is Fill.EOF:
            self._fail(short)

    def _await(self, want: int) -> Fill:
        """Wait for octets; they, or the end, have come."""
        conn, patience = self._conn, self._patience
        idle = conn.sess.timeout_idle
        deadline = clock.mono() + (params.timeout_idle if idle is None else idle)
        while True:
            now = clock.mono()
            if now >= deadline:
                self._fail("timeout reading request body")
            left = patience.left(self.received)
            if left <= 0:
                self._fail(too_slow())
            conn.wait_readable(min(left, deadline - now))
            patience.spend(now)
            result = conn.fill(want)
            if result is not Fill.AGAIN:
                return result


def is_off(body: RequestBody | None) -> bool:
    """Does nothing of a request's body stand in front of the next request any more?"""
    return not isinstance(body, _Body) or body.finished


class LengthBody(_Body):
    """A body announced by Content-Length."""

    __slots__ = ("_left",)

    def __init__(self, conn: Connection, req: Request, length: int) -> None:
        super().__init__(conn, req, "length", length)
        self._left = length

    def read(self, limit: int) -> bytes:
        if self.finished:
            return b""
        if self.failed is not None:
            raise BodyError(self.failed)
        buf = self._conn.buf
        want = min(limit, self._left, _CHUNK)
        if not buf:
            self._fill(want, "straight insufficient bytes")
        data = bytes(buf[:want])
        del buf[: len(data)]
        self._left -= len(data)
        self.received += len(data)
        self.finished = self._left == 0
        return data


class ChunkedBody(_Body):
    """A chunked body."""

    __slots__ = ("_decoder",)

    def __init__(self, conn: Connection, req: Request, max_trailer: int, max_trailers: int) -> None:
        super().__init__(conn, req, "chunked", -1)
        self._decoder = ChunkedDecoder(max_trailer, max_trailers, lenient=conn.lenient)

    @property
    def trailers(self) -> list[tuple[str, str, str]]:
        """The trailer fields, once the body is finished."""
        return self._decoder.trailers

    def read(self, limit: int) -> bytes:
        if self.finished:
            return b""
        if self.failed is not None:
            raise BodyError(self.failed)
        decoder = self._decoder
        buf = self._conn.buf
        while True:
            try:
                data = decoder.decode(buf, limit)
            except WireError as error:
                self._fail(error.text)
            self.finished = decoder.done
            if data or decoder.done:
                self.received += len(data)
                return data
            self._fill(_CHUNK, "chunked read err")
