"""Sending an HTTP/1 response: framing, and gathering head and body into as few system calls as possible.

A cached hit leaves in one ``sendmsg``: its head and views of the stored body; or together with the answers behind it,
if the client has asked for more already (see ``connection.py``). A body that is still being made is sent as it comes:
what has gathered leaves before anything waits for more. A body of unknown length is chunked for HTTP/1.1 clients, one
chunk per write, and ends with the connection for others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.http import vectors
from varnishpy.http.message import Field
from varnishpy.http.wire import response_head
from varnishpy.http.wire_chunked import CHUNK_END, LAST_CHUNK, chunk_head
from varnishpy.http.wire_fields import WireError
from varnishpy.http1.body import is_off
from varnishpy.log.tag_numbers import ERROR, RESP_PROTOCOL, RESP_REASON, RESP_STATUS
from varnishpy.params import params
from varnishpy.request.header_rules import CLOSE
from varnishpy.storage.source import END, LATER, SourceError, _Mark

if TYPE_CHECKING:
    from varnishpy.http1.connection import Connection
    from varnishpy.request.request import Request
    from varnishpy.storage.source import Piece, Source
    from varnishpy.threads.worker import Worker


# One write carries at most this much body: enough for full speed, and a stalled client pins no more than this.
_BATCH: Final = 1024 * 1024
_SENDER_ROOM: Final = 72  # octets of workspace_client: what the reference keeps of the one that sends a body there

_KEEP_ALIVE: Final = Field("Connection", "keep-alive", constant=True)
_CHUNKED: Final = Field("Transfer-Encoding", "chunked", constant=True)
_RESPONSE_500: Final = b"HTTP/1.1 500 Internal Server Error\r\nServer: Varnish\r\nConnection: close\r\n\r\n"


def frame_response(req: Request, with_body: bool) -> bool:
    """Add the headers that frame the message and say whether the connection stays; True if the body is chunked."""
    resp = req.resp
    announced = connection = False
    for header in resp.headers:  # one look for both, as both are asked for of every response
        if header[0] == "content-length":
            announced = True
        elif header[0] == "connection":
            connection = True
    if req.doclose is None:
        if connection and resp.has_token("connection", "close"):
            req.doclose = "RESP_CLOSE"
        elif req.env.draining:
            req.doclose = "RESP_CLOSE"
            resp.set_field(CLOSE)
        elif not connection:
            resp.add_field(_KEEP_ALIVE)
    elif not connection or not resp.has_token("connection", "close"):
        resp.set_field(CLOSE)
    if announced or not with_body:
        return False
    if req.http.proto == "HTTP/1.1":
        resp.set_field(_CHUNKED)
        return True
    if req.doclose is None:
        resp.set_field(CLOSE)
    req.doclose = "TX_EOF"  # whatever else would end the connection: its end is the body's
    return False


def deliver(wrk: Worker, conn: Connection, req: Request, source: Source | None) -> None:
    """Send the response; whatever fails sets ``req.doclose``. The source is closed."""
    try:
        chunked = frame_response(req, source is not None)
        overflow = _overflow(wrk, req, source is not None)
        if overflow is not None:
            _error(wrk, conn, req, overflow)
            return
        try:
            head = response_head(req.resp)
        except WireError as error:
            _error(wrk, conn, req, error.text)
            return
        _send(wrk, conn, req, head, source, chunked)
    finally:
        if source is not None:
            source.close()


def _overflow(wrk: Worker, req: Request, with_body: bool) -> str | None:
    if with_body and not req.ws.overflowed and not req.ws.account(_SENDER_ROOM):
        return "Failure to push v1d processor"
    if req.ws.overflowed or req.resp.failed:
        return "workspace_client overflow"
    if req.sess.ws.overflowed:
        return "workspace_session overflow"
    if wrk.aws.overflowed:
        return "workspace_thread overflow"
    return None


def _error(wrk: Worker, conn: Connection, req: Request, text: str) -> None:
    """What was to be sent cannot be: say so in the plainest way and close."""
    log = req.log
    log.put(ERROR, text)
    log.put(RESP_PROTOCOL, "HTTP/1.1")
    log.put(RESP_STATUS, "500")
    log.put(RESP_REASON, "Internal Server Error")
    wrk.stats.client_resp_500 += 1
    conn.send(log, [_RESPONSE_500], len(_RESPONSE_500), clock.mono() + params.idle_send_timeout)
    req.acct.resp_hdrbytes += len(_RESPONSE_500)
    req.doclose = "TX_EOF"


def _send(wrk: Worker, conn: Connection, req: Request, head: bytes, source: Source | None, chunked: bool) -> None:
    log = req.log
    acct = req.acct
    timeout = req.sess.send_timeout
    deadline = clock.mono() + (params.send_timeout if timeout is None else timeout)
    acct.resp_hdrbytes += len(head)
    max_iovs = vectors.room(wrk.aws, params.http1_iovs)
    early = vectors.flushes(len(req.resp.headers), max_iovs)
    if early:
        wrk.stats.http1_iovs_flush += early
    if source is None:
        failure = _finish(wrk, conn, req, [head], len(head), deadline)
        if failure is not None:
            req.doclose = failure
        return

    bufs: list[Piece] = [head]
    size = len(head)
    if early or params.debug.flush_head:
        failure = conn.send(log, bufs, size, deadline)
        if failure is not None:
            req.doclose = failure
            return
        bufs = []
        size = 0
    payload = 0  # octets of body in the batch
    slot = len(bufs)  # where the chunk head of the batch goes
    ended = False
    broken: str | None = None
    piece: Piece | _Mark
    while not ended:
        if source.may_wait and size:
            piece = LATER  # pulling may take long: let what we have leave first
        else:
            try:
                piece = source.pull(_BATCH - payload)
            except SourceError as error:
                piece, broken = END, str(error)  # the client still gets what there was
        if piece is END:
            ended = True
        elif not isinstance(piece, _Mark):
            n = len(piece)
            acct.resp_pieces += 1
            bufs.append(piece)
            payload += n
            size += n
            if payload < _BATCH and len(bufs) + 4 < max_iovs:
                continue
            if len(bufs) + 4 >= max_iovs:
                wrk.stats.http1_iovs_flush += 1
        if chunked:
            if payload:
                opening = chunk_head(payload)
                bufs.insert(slot, opening)
                bufs.append(CHUNK_END)
                size += len(opening) + 2
            if ended and broken is None:
                bufs.append(LAST_CHUNK)
                size += 5
        if size:
            if ended and broken is None:
                failure = _finish(wrk, conn, req, bufs, size, deadline)
            else:
                failure = conn.send(log, bufs, size, deadline)
            if failure is not None:
                acct.resp_bodybytes += payload
                req.doclose = failure
                return
        acct.resp_bodybytes += payload
        bufs = []
        size = payload = slot = 0
        if piece is LATER and not source.may_wait:
            try:
                piece = _await(wrk, source, deadline)
            except SourceError as error:
                _broken(req, str(error))
                return
            if isinstance(piece, _Mark):  # the end: nothing else is waited for
                ended = True
                if chunked:
                    failure = conn.send(log, [LAST_CHUNK], 5, deadline)
                    if failure is not None:
                        req.doclose = failure
            else:
                acct.resp_pieces += 1
                bufs.append(piece)
                payload = size = len(piece)
    if broken is not None:
        _broken(req, broken)
    else:
        _check_length(req)


def _finish(wrk: Worker, conn: Connection, req: Request, bufs: list[Piece], size: int, deadline: float) -> str | None:
    """The last octets of a response: they may leave together with the next, if there will be one."""
    if req.doclose is not None or not is_off(req.body):
        return conn.send(req.log, bufs, size, deadline)
    return conn.finish(wrk, req.log, bufs, size, deadline)


def _await(wrk: Worker, source: Source, deadline: float) -> Piece | _Mark:
    wrk.will_block()
    try:
        return source.pull_wait(_BATCH, lambda: deadline - clock.mono())
    finally:
        wrk.unblocked()


def _check_length(req: Request) -> None:
    """A body shorter or longer than announced puts the client out of step: this connection must end."""
    if req.doclose is None:
        announced = req.resp.get("content-length")
        if announced is not None and announced != str(req.acct.resp_bodybytes):
            _broken(req, f"Body of {req.acct.resp_bodybytes} octets, Content-Length: {announced}")


def _broken(req: Request, text: str) -> None:
    """The body cannot be completed; closing without an end is how the client learns."""
    req.log.put(ERROR, text)
    if req.doclose != "RANGE_SHORT":
        req.doclose = "TX_ERROR"
