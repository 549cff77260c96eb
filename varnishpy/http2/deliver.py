"""From a request thread to the session thread: responses, interim responses, failures.

The request thread encodes the header block, hands block and body source over, and is done with the request: it must not
touch it afterwards. The response's bytes, its accounting and the end of its log are the session thread's business.
"""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.h2.hpack import SPECIAL, encode_response, encode_stored
from varnishpy.h2.outgoing import Outgoing
from varnishpy.h2.tables import SE
from varnishpy.http.dates import format_date
from varnishpy.http.status import reason as reason_phrase
from varnishpy.log.tag_numbers import DEBUG, ERROR, RESP_PROTOCOL, RESP_REASON, RESP_STATUS
from varnishpy.request.transport import DELIVERED_DONE, DELIVERED_TAKEN, Delivered

if TYPE_CHECKING:
    from varnishpy.h2.stream import Stream
    from varnishpy.http.message import Message
    from varnishpy.request.request import Request
    from varnishpy.storage.boc import Notice
    from varnishpy.storage.source import Source
    from varnishpy.threads.worker import Worker


_CONTINUE: Final = encode_response(100, [])
_RESPONSE_500: Final = encode_response(
    500, [("content-length", "Content-Length", "0"), ("server", "Server", "Varnish")]
)


def stream_of(req: Request) -> Stream:
    """The stream of a request that is not over."""
    return present(req.stream, "req->stream")


def deliver(wrk: Worker, req: Request, source: Source | None) -> Delivered:
    """Hand a response over. ``DONE``, with ``doclose`` set, only if the stream is dead already."""
    stream = req.stream
    assert stream is not None
    h2 = stream.h2
    if get_ident() == h2.thread:
        h2.assert_request_thread()
    req.log.put(RESP_PROTOCOL, "HTTP/2.0")
    error = stream.error or h2.error
    if error is not None:
        if source is not None:
            source.close()
        req.doclose = req.doclose or "TX_ERROR"
        req.log.put(ERROR, f"H2: send error ({error.log_name})")
        return DELIVERED_DONE
    if source is not None and source.length == 0:
        source.close()
        source = None
    resp = req.resp
    block, priority = _encode(req, resp)
    if len(block) >= req.ws.free:
        if source is not None:
            source.close()
            source = None
        block, priority = _overflow(wrk, req), None
    out = Outgoing(stream, block, source, req)
    out.priority = priority
    if source is not None and not source.complete:
        source.on_ready = partial(h2.source_ready, stream)
    h2.send_headers(out, wrk if req.pump is None else None)
    return DELIVERED_TAKEN


def _encode(req: Request, resp: Message) -> tuple[bytes, str | None]:
    """The header block, and ``priority``; what begins as the stored object does is encoded once for all."""
    headers = resp.headers
    prepared = req.prepared
    if prepared is not None:
        count = len(prepared.headers)
        if headers[:count] == prepared.headers:  # VCL has left them alone
            front = prepared.hpack
            if front is None:
                front = prepared.hpack = encode_stored(prepared.headers)
            if front:
                rest = headers[count:]
                for header in rest:
                    if header[0] in SPECIAL:
                        break
                else:
                    return encode_response(resp.status, rest, front), None
    return encode_response(resp.status, headers), resp.get("priority")


def _overflow(wrk: Worker, req: Request) -> bytes:
    """The header block has no room in workspace_client: what is sent in its place."""
    req.ws.mark_overflow()
    log = req.log
    log.put(ERROR, "workspace_client overflow")
    log.put(RESP_STATUS, "500")
    log.put(RESP_REASON, reason_phrase(500))
    wrk.stats.client_resp_500 += 1
    return _RESPONSE_500


def minimal_response(req: Request, status: int) -> None:
    """Answer with nothing but a status."""
    stream = stream_of(req)
    log = req.log
    log.put(RESP_PROTOCOL, "HTTP/2.0")
    log.put(RESP_STATUS, f"{status:03d}")
    log.put(RESP_REASON, reason_phrase(status))
    if status >= 400:
        req.err_code = status
    # RFC 9110 section 6.6.1
    fields = [] if stream.h2.compat else [("date", "Date", format_date(clock.now()))]
    block = encode_response(status, fields)
    req.acct.resp_hdrbytes += len(block)
    stream.h2.send_own(Outgoing(stream, block, None, None))


def send_100(req: Request) -> None:
    """Answer ``Expect: 100-continue``."""
    stream = stream_of(req)
    req.acct.resp_hdrbytes += len(_CONTINUE)
    stream.h2.send_own(Outgoing(stream, _CONTINUE, None, None, interim=True))


def send_interim(req: Request, notice: Notice) -> None:
    """Pass on an interim response of the backend (RFC 9113 section 8.1)."""
    stream = stream_of(req)
    block = encode_response(notice.status, notice.fields)
    req.acct.resp_hdrbytes += len(block)
    stream.h2.send_own(Outgoing(stream, block, None, None, interim=True))


def fail(req: Request, reason: str) -> None:
    """Give up on a request: its stream is reset."""
    req.log.put(DEBUG, "H2FAILREQ")
    req.doclose = req.doclose or reason
    stream = stream_of(req)
    stream.h2.reset_stream(stream, SE.INTERNAL_ERROR)
