"""HTTP/1 towards a backend: sending ``bo.bereq``, receiving the head of ``bo.beresp``.

Failures are logged here, as ``FetchError`` with the texts an operator knows from Varnish, and raised as
`ExchangeError`: whether nothing at all was received decides if the request may be sent again on another connection.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from varnishpy.backends.body import BodyReader, ChunkedBody, EofBody, LengthBody, can_rewind
from varnishpy.backends.errors import FetchError, RequestBodyError
from varnishpy.base import clock
from varnishpy.http import vectors
from varnishpy.http.message import FIRST_LINE, Message
from varnishpy.http.status import reason as reason_of
from varnishpy.http.wire import BodyKind, Framing, head_end, parse_response, request_head
from varnishpy.http.wire_chunked import encode_chunk, last_chunk
from varnishpy.http.wire_fields import WireError
from varnishpy.log import is_masked
from varnishpy.log.tag_numbers import BOGO_HEADER, ERROR, FETCH_ERROR, HTTP_GARBAGE, VDP_ACCT
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.backends.connection import Connection
    from varnishpy.backends.exchange import Exchange, RequestBody
    from varnishpy.threads.worker import Worker


BODY_GONE: Final = "req.body not cached"  # ``bo.no_retry``: why this request cannot be sent once more
_EOF: Final = "HTC eof (Unexpected end of input)"
_PIECE: Final = 64 * 1024  # of a request body
_READ: Final = 16 * 1024
_MAX_INFORMATIONAL: Final = 16  # interim responses (RFC 9110 section 15.2) that a backend may send for one request


class ExchangeError(FetchError):
    """An exchange with a backend failed, logged already; ``nothing``: not one octet of a response was received."""

    def __init__(self, text: str, nothing: bool = False) -> None:
        super().__init__(text)
        self.nothing = nothing


def _refuse(bo: Exchange, reason: str, text: str, nothing: bool = False) -> ExchangeError:
    """Log a failure and note why the connection has to be closed; returns the exception to raise."""
    bo.log.put(FETCH_ERROR, text)
    bo.doclose = reason
    return ExchangeError(text, nothing)


def _no_body_to_fetch(bo: Exchange) -> ExchangeError:
    """The status does not go with the body that the head announces, or with any response."""
    text = "Body cannot be fetched"
    bo.log.put(ERROR, text)
    bo.doclose = "RX_BODY"
    return ExchangeError(text, False)


def send_request(wrk: Worker, bo: Exchange, conn: Connection, send_timeout: float, piped: bool = False) -> None:
    """Send head and body of ``bo.bereq``.

    :param send_timeout: seconds that the backend may take nothing
    :param piped: the body is not ours: it follows as it comes, and the head tells of it what the client told
    :raises ExchangeError:
    """
    body = None
    try:
        try:
            body = bo.sent_body()
        except RequestBodyError:
            raise _refuse(bo, "OVERLOAD", "Failure to push processors") from None
        _send(wrk, bo, conn, body, send_timeout, piped)
    finally:
        if body is not None and body is not bo.bereq_body:
            body.discard()
        if not is_masked(VDP_ACCT):
            bo.log.put(VDP_ACCT, f"V1B {bo.acct.bereq_pieces} {bo.acct.bereq_bodybytes}")
        now = clock.now()
        bo.log.timestamp("Bereq", now)
        bo.t_prev = now


def _send(
    wrk: Worker, bo: Exchange, conn: Connection, body: RequestBody | None, send_timeout: float, piped: bool
) -> None:
    chunked = body is not None and body.length < 0
    if not piped or body is not None:
        _frame(bo.bereq, body)
    try:
        head = request_head(bo.bereq)
    except WireError as exc:
        raise _refuse(bo, "TX_ERROR", f"request cannot be sent: {exc.text}") from None
    wrk.stats.http1_iovs_flush += vectors.flushes(len(bo.bereq.headers), vectors.room(wrk.aws))
    try:
        bo.acct.bereq_hdrbytes += len(head)
        if body is None:
            sent = conn.send_now(head)
            if sent < len(head):
                with wrk.blocking():
                    conn.send_all(head[sent:], send_timeout)
        else:
            with wrk.blocking():
                _send_with_body(bo, conn, head, body, chunked, send_timeout)
    except _BodyFailure as broken:
        bo.err_code = 400
        bo.client_broke_off()
        raise _refuse(bo, "TX_ERROR", f"req.body read error: {broken}") from None
    except OSError as error:
        number = error.errno or errno.EAGAIN  # no number: the time to send was over
        text = f"backend write error: {number} ({os.strerror(number)}) (Error transaction)"
        # a reused connection that its peer has closed may refuse the request before that is seen any other way
        raise _refuse(bo, "TX_ERROR", text, number in (errno.EPIPE, errno.ECONNRESET)) from None


def _frame(bereq: Message, body: RequestBody | None) -> None:
    """Make the framing headers say what will be sent, whatever VCL made of them."""
    if body is None:
        # a length without a body would make the backend wait for what never comes
        if bereq.has("transfer-encoding"):
            bereq.unset("transfer-encoding")
        if (bereq.get("content-length") or "0") != "0":
            bereq.unset("content-length")
    elif body.length < 0:
        bereq.unset("content-length")
        if bereq.values("transfer-encoding") != ["chunked"]:
            bereq.set("Transfer-Encoding", "chunked")
    else:
        bereq.unset("transfer-encoding")
        if bereq.values("content-length") != [str(body.length)]:
            bereq.set("Content-Length", str(body.length))


class _BodyFailure(Exception):
    """The client's body could not be read."""


def _send_with_body(
    bo: Exchange, conn: Connection, head: bytes, body: RequestBody, chunked: bool, send_timeout: float
) -> None:
    """Send the head together with the first piece of the body, then the rest.

    A body that cannot be read is sent as far as it could: the backend shall see that there was a request.
    """
    if not can_rewind(bo.bereq_body):
        bo.no_retry = BODY_GONE
    acct = bo.acct
    left = body.length
    pending = head
    failure: _BodyFailure | None
    while True:
        try:
            piece = body.read(_PIECE)
        except OSError as exc:
            failure = _BodyFailure(f"{exc.errno or 0} ({exc.strerror or exc})")
        except RequestBodyError as error:
            failure = _BodyFailure(f"0 ({error})")
        else:
            failure = None
        if failure is not None:
            if chunked and params.feature.http1_compat:
                pending += last_chunk(None)
            if pending:
                conn.send_all(pending, send_timeout)
            raise failure
        if not piece:
            break
        acct.bereq_bodybytes += len(piece)
        acct.bereq_pieces += 1
        if not chunked:
            left -= len(piece)
            if left < 0:
                raise _BodyFailure("0 (body is longer than announced)")
        conn.send_all(pending + (encode_chunk(piece) if chunked else piece), send_timeout)
        pending = b""
        if not chunked and not left:
            break
    if not chunked and left:
        raise _BodyFailure("0 (body is shorter than announced)")
    if chunked:
        pending += last_chunk(getattr(body, "trailers", None))
    if pending:
        conn.send_all(pending, send_timeout)


def receive_response(
    wrk: Worker, bo: Exchange, conn: Connection, first_byte_timeout: float, between_bytes_timeout: float
) -> None:
    """Receive the head into ``bo.beresp`` and set ``bo.body_reader``.

    :raises ExchangeError:
    """
    wrk.stats.backend_req += 1
    buf = conn.buf
    deadline = clock.mono() + first_byte_timeout
    for _ in range(_MAX_INFORMATIONAL):
        try:
            end = _receive_head(wrk, bo, conn, deadline, between_bytes_timeout)
        except ExchangeError:
            bo.acct.beresp_hdrbytes += len(buf)
            raise
        head = bytes(buf[:end])
        del buf[:end]
        bo.acct.beresp_hdrbytes += end
        framing = _parse(bo, head)
        status = bo.beresp.status
        if status >= 200 or status == 101:
            break
        if status > 101 and bo.announce is not None:
            bo.announce(bo.beresp)
    else:
        raise _refuse(bo, "RX_JUNK", "too many interim responses")
    if not bo.ws.account(len(head)):
        raise _refuse(bo, "RX_OVERFLOW", "overflow")
    if not bo.beresp.reason:
        bo.beresp.reason = reason_of(status)
    conn.patience = between_bytes_timeout
    bo.beresp.log_response()
    bo.body_reader = _reader(wrk, bo, conn, framing)


def _receive_head(wrk: Worker, bo: Exchange, conn: Connection, deadline: float, between_bytes_timeout: float) -> int:
    """Receive until a whole head stands in the buffer; returns where it ends. :raises ExchangeError:"""
    buf = conn.buf
    limit = params.http_resp_size
    scanned = 0
    wait = deadline - clock.mono()
    while True:
        if buf:
            end = head_end(buf, scanned, True)
            if end > limit or (not end and len(buf) >= limit):
                raise _refuse(bo, "RX_OVERFLOW", "overflow")
            if end:
                return end
            if not scanned and b"\n" in buf and not buf.startswith(b"HTTP/"):
                bo.log.put(HTTP_GARBAGE, bytes(buf[:1024]).decode("latin-1"))
                raise _refuse(bo, "RX_JUNK", "Received junk")
            scanned = len(buf)
            wait = between_bytes_timeout
        received = _receive(wrk, bo, conn, wait)
        if received is None:
            if buf:
                raise _refuse(bo, "RX_TIMEOUT", "timeout")
            reused = " (reused connection)" if conn.reused else ""
            raise _refuse(bo, "RX_TIMEOUT", f"first byte timeout{reused}")
        if not received:
            raise _refuse(bo, "RX_BAD", _EOF, not buf)
        buf += received


def _receive(wrk: Worker, bo: Exchange, conn: Connection, wait: float) -> bytes | None:
    """What arrives within ``wait`` seconds, or ``None``."""
    if wait <= 0:
        return None
    try:
        with wrk.blocking():
            return conn.receive(_READ, wait)
    except TimeoutError:
        return None
    except OSError as exc:
        raise _refuse(bo, "RX_BAD", f"{_EOF}: {exc.strerror or exc}", not conn.buf) from None


def _parse(bo: Exchange, head: bytes) -> Framing:
    beresp = bo.beresp
    try:
        return parse_response(
            head,
            beresp,
            bo.bereq.method,
            hdr_len=params.http_resp_hdr_len,
            max_hdr=params.http_max_hdr - FIRST_LINE,
            unknown_coding=params.feature.unknown_coding,
        )
    except WireError as exc:
        if exc.headers_known:
            beresp.log_response()
        if exc.text:
            bo.log.put(BOGO_HEADER, exc.text)
        if not exc.headers_known:
            bo.log.put(HTTP_GARBAGE, head[:1024].decode("latin-1"))
            beresp.set_status(503)
            beresp.set_reason(reason_of(503))
    raise _refuse(bo, "RX_JUNK", "http format error")


def _reader(wrk: Worker, bo: Exchange, conn: Connection, framing: Framing) -> BodyReader:
    """The reader of the body, and whether the connection can be used again after it."""
    beresp = bo.beresp
    if beresp.has_token("connection", "close") or (
        beresp.proto < "HTTP/1.1"
        # with Transfer-Encoding its framing is faulty (RFC 9112 section 6.1)
        and (beresp.has("transfer-encoding") or not beresp.has_token("connection", "keep-alive"))
    ):
        bo.doclose = "RESP_CLOSE"
    status = beresp.status
    counts = wrk.stats
    if bo.bereq.method == "HEAD":
        counts.fetch_head += 1
    elif status < 200:
        counts.fetch_1xx += 1
        raise _no_body_to_fetch(bo)
    elif status == 204:
        counts.fetch_204 += 1
        if (beresp.get("content-length") or "0") != "0" or beresp.has("transfer-encoding"):
            raise _no_body_to_fetch(bo)  # RFC 9110 section 8.6, RFC 9112 section 6.1
    elif status == 304:
        counts.fetch_304 += 1
    elif framing.kind is BodyKind.CHUNKED:
        counts.fetch_chunked += 1
        return ChunkedBody(wrk, conn, bo.log)
    elif framing.kind is BodyKind.LENGTH:
        counts.fetch_length += 1
        return LengthBody(wrk, conn, bo.log, framing.length)
    elif framing.kind is BodyKind.EOF:
        counts.fetch_eof += 1
        bo.doclose = "RESP_CLOSE"
        return EofBody(wrk, conn, bo.log)
    else:
        counts.fetch_none += 1
    return BodyReader(wrk, conn, bo.log)
