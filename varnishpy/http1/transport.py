"""The HTTP/1 session: one request after the other on one connection.

The session is a loop on a worker: read a request head, parse it, run the request, clean up. It leaves its worker

* when there is no more to read, be it in the middle of a head: it then rests in the watch of its pool, and `_stirred`
  comes back here when there is, or when ``timeout_idle`` is over,
* when the request waits for another one's fetch: `reembark` continues in the middle of the loop, on another worker,
* when the connection turns into HTTP/2 (the preface, or ``Upgrade: h2c``): the HTTP/2 transport takes it from there,
* when it ends.

Records of a request are gathered in its own log; those of the session are written one by one.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.base.workspace import make_workspace
from varnishpy.http.dates import format_date
from varnishpy.http.message import UNSET, Message
from varnishpy.http.received_head import ReceivedHead
from varnishpy.http.status import reason as reason_phrase
from varnishpy.http.wire import NO_BODY, PREFACE, BodyKind, parse_request, response_head
from varnishpy.http.wire_fields import FieldBlock, WireError
from varnishpy.http1.body import ChunkedBody, LengthBody, is_off
from varnishpy.http1.connection import Connection, Received
from varnishpy.http1.deliver import deliver
from varnishpy.log.tag_numbers import (
    BOGO_HEADER,
    DEBUG,
    ERROR,
    HTTP_GARBAGE,
    LINK,
    REQ_HEADER,
    REQ_METHOD,
    REQ_START,
    REQ_TARGET,
    RESP_PROTOCOL,
    RESP_REASON,
    RESP_STATUS,
)
from varnishpy.log.tasklog import CLIENT, Records, TaskLog
from varnishpy.params import params
from varnishpy.request.client import run_request
from varnishpy.request.finish import finish_request
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import Delivered, Successor
from varnishpy.threads import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from varnishpy.request.env import Env
    from varnishpy.session.session import Session
    from varnishpy.storage.boc import Notice
    from varnishpy.storage.source import Source
    from varnishpy.threads import Worker


# Requests that a session may have answered in a row when it sends one behind the other, until others have their turn.
_TURN: Final = 32
_LINGER: Final = 2.0  # seconds for which a client that goes on with its body is listened to, behind the last answer
_REFUSED: Final = frozenset(("RX_BAD", "RX_JUNK"))

_CLOSE_REASON: Final = {
    Received.OVERFLOW: "RX_OVERFLOW",
    Received.EOF: "REM_CLOSE",
}


class Http1Transport:
    """HTTP/1.0 and HTTP/1.1 towards clients; one object serves all sessions and keeps no state of its own."""

    name: str = "HTTP/1"
    pull_may_block = True
    line_name = "V1B"

    def __init__(self, env: Env, run: Callable[[Worker, Request], Step] | None = None) -> None:
        """:param run: the client state machine; only tests bring their own"""
        self.env = env
        self.run_request = run or run_request

    # -- entering --------------------------------------------------------------------------------------------------

    def new_session(self, wrk: Worker, sess: Session, leftover: bytes = b"") -> None:
        """Task: serve a fresh connection.

        :param leftover: what was read behind a PROXY header
        """
        sess.transport = self
        conn = sess.transport_priv = Connection(sess, leftover)
        if sess.watched is not None:  # whoever shook hands before has rested: from here on we are woken
            sess.watched.task = partial(self._stirred, sess)
        self._serve(wrk, sess, conn)

    def _stirred(self, sess: Session, wrk: Worker) -> None:
        """Task: the resting session has something to read, or its time is over."""
        conn = _connection(sess)
        conn.dry = False
        self._serve(wrk, sess, conn)

    # -- the loop --------------------------------------------------------------------------------------------------

    def _serve(
        self,
        wrk: Worker,
        sess: Session,
        conn: Connection,
        before: Callable[[Worker, Session, Connection, Request], bool] | None = None,
        req: Request | None = None,
    ) -> None:
        """Serve requests until the session leaves this worker.

        :param before: what is to be done first with a request that comes back from elsewhere; False if the session
            has left then
        """
        wrk.subject = sess
        try:
            if before is not None and req is not None and not before(wrk, sess, conn, req):
                return
            self._loop(wrk, sess, conn)
        except Exception:
            # a defect of this session only: the worker logs it; nobody else knows the socket any more
            if not sess.ended:
                self._end(wrk, sess, "TX_ERROR")
            raise

    def _loop(self, wrk: Worker, sess: Session, conn: Connection) -> None:
        for _ in range(_TURN):
            received = conn.receive_head(params.http_req_size)
            if received is not Received.COMPLETE:
                conn.flush()
            if received is Received.QUIET:
                if self._rest(wrk, sess, conn):
                    return
                continue
            if received is not Received.COMPLETE and received is not Received.JUNK:
                self._no_request(wrk, sess, conn, received)
                return
            if sess.tls is not None and sess.tls.alpn == "h2":  # agreed on HTTP/2, and then sent no preface
                self._end(wrk, sess, "RX_JUNK")
                return
            if not self._request(wrk, sess, conn):
                return
        conn.flush()
        sess.pool.again(partial(self._stirred, sess))

    def _no_request(self, wrk: Worker, sess: Session, conn: Connection, received: Received) -> None:
        if received is Received.PREFACE:
            self._prior_knowledge(wrk, sess, conn)
        else:
            wrk.stats.s_req_hdrbytes += len(conn.buf)
            status = params.http_req_overflow_status
            if received is Received.OVERFLOW and status:
                answer = _minimal_head(conn, status)
                conn.send(TaskLog(), [answer], len(answer), clock.mono() + params.idle_send_timeout)
                sess.half_close(conn.wait_readable)
            self._end(wrk, sess, _CLOSE_REASON[received])

    def _end(self, wrk: Worker, sess: Session, reason: str | None) -> None:
        conn = sess.transport_priv
        if isinstance(conn, Connection):
            conn.flush()
        wrk.stats.sess_closed += 1
        sess.delete(reason)

    def _rest(self, wrk: Worker, sess: Session, conn: Connection) -> bool:
        """Leave the worker for as long as there is nothing to read; False: there is, or it is time to look."""
        idle = sess.timeout_idle
        due = conn.t_quiet + (params.timeout_idle if idle is None else idle)
        if clock.mono() >= due:
            if conn.buf:
                wrk.stats.s_req_hdrbytes += len(conn.buf)
            self._end(wrk, sess, "RX_TIMEOUT" if conn.buf else "RX_CLOSE_IDLE")
            return True
        watched = sess.watched
        wrk.stats.sess_herd += 1
        try:
            if watched is None:
                watched = sess.watch(partial(self._stirred, sess))
            if watched.rest(due):
                return True
        except OSError:
            self._end(wrk, sess, "PIPE_OVERFLOW")
            return True
        wrk.stats.sess_herd -= 1
        conn.dry = False
        return False

    def _request(self, wrk: Worker, sess: Session, conn: Connection) -> bool:
        """Parse and run the request whose head stands in the buffer; False when the session has left this worker."""
        vxid = wrk.next_vxid()
        log = TaskLog(vxid, CLIENT)
        ws = make_workspace("req", params.workspace_client)
        req = Request(self.env, sess, self, vxid, log, ws)
        wrk.tally.req_made += 1
        req.wrk = wrk
        log.begin("req", sess.vxid, "rxreq")
        log.put_ahead(LINK, sess.vxid, f"req {vxid} rxreq")
        req.t_first = conn.t_first
        req.t_req = conn.t_done
        log.received(conn.t_first, conn.t_done)
        req.t_prev = conn.t_done
        conn.requests += 1
        if conn.held:
            req.before_wait = conn.flush

        head = bytes(conn.buf[: conn.head_len])
        del conn.buf[: conn.head_len]
        req.acct.req_hdrbytes = len(head) + conn.skipped
        message = req.http
        message.attach(log, REQ_METHOD, ws)
        try:
            if conn.complaint is not None:
                raise conn.complaint
            parsed = parse_request(
                head,
                message,
                hdr_len=params.http_req_hdr_len,
                max_hdr=message.max_headers,
                https_scheme=params.feature.https_scheme,
                lenient=conn.lenient,
            )
        except WireError as error:
            self._refuse(wrk, req, head, error, answer=not (conn.requests == 1 and _is_broken_preface(head)))
            return self._after(wrk, sess, conn, req)
        log.put(REQ_TARGET, parsed.target)
        if parsed.absolute_form:
            wrk.stats.http1_absolute_form += 1
            for _, name, value in parsed.hosts:
                log.put(REQ_METHOD + UNSET, f"{name}: {value}")
            log.put(REQ_HEADER, f"Host: {message.get('host')}")
        else:
            fields = parsed.fields
            if fields.times > 1 and fields.received.records is None:
                _keep_records(fields)
            req.received = fields.received
        if not ws.account(len(head)):
            log.put(ERROR, "workspace_client overflow")
            wrk.stats.client_req_400 += 1
            req.doclose = "RX_OVERFLOW"
            self.minimal_response(wrk, req, 400)
            return self._after(wrk, sess, conn, req)
        framing = parsed.framing
        if framing is not NO_BODY:
            conn.flush()  # a body that comes fast enough is never waited for
            if framing.kind is BodyKind.LENGTH:
                req.body = LengthBody(conn, req, framing.length)
            else:
                req.body = ChunkedBody(conn, req, params.http_req_hdr_len, params.http_max_hdr)
        elif parsed.has_upgrade and self._upgrade(wrk, sess, conn, req):
            return False
        return self._run(wrk, sess, conn, req)

    def _run(self, wrk: Worker, sess: Session, conn: Connection, req: Request) -> bool:
        if self.run_request(wrk, req) is Step.DISEMBARK:
            return False
        return self._delivered(wrk, sess, conn, req)

    def _delivered(self, wrk: Worker, sess: Session, conn: Connection, req: Request) -> bool:
        wrk.stats.client_req += 1
        return self._after(wrk, sess, conn, req)

    def _after(self, wrk: Worker, sess: Session, conn: Connection, req: Request) -> bool:
        """Clean up behind a request; False when the session has ended."""
        body = req.body
        if req.doclose is None and body is not None and not is_off(body):
            body.discard()  # sets doclose when it fails
        if req.doclose is not None:
            conn.flush()
            if conn.failure is None and not is_off(body):
                sess.half_close(conn.wait_readable, _LINGER)
            elif conn.failure is None and req.doclose in _REFUSED:  # a body may follow what is no request
                sess.half_close(conn.wait_readable)
        elif conn.failure is not None:
            req.doclose = conn.failure
        finish_request(wrk, req)
        if sess.closed is None and req.doclose is not None:
            sess.close(req.doclose)
        if sess.closed is not None:
            self._end(wrk, sess, None)
            return False
        sess.t_idle = clock.now()
        conn.next_head()
        if conn.buf:
            wrk.stats.sess_readahead += 1
        return True

    def _refuse(self, wrk: Worker, req: Request, head: bytes, error: WireError, answer: bool) -> None:
        """What came is no request: log it, answer 400 (if an answer would be understood), and close."""
        log = req.log
        wrk.stats.client_req_400 += 1
        if error.headers_known:
            self._log_start(req)
            req.http.log_request()
            log.put(BOGO_HEADER, error.text)
            req.doclose = "RX_BAD"
        else:
            if error.text:
                log.put(BOGO_HEADER, error.text)
            log.put(HTTP_GARBAGE, head.decode("latin-1").partition("\0")[0])
            self._log_start(req)
            req.doclose = "RX_JUNK"
        if answer:
            self.minimal_response(wrk, req, 400)

    @staticmethod
    def _log_start(req: Request) -> None:
        sess = req.sess
        client = sess.client_ip
        req.log.put(REQ_START, f"{client.ip} {client.port} {sess.listen.name} {sess.scheme}")

    # -- HTTP/2 ----------------------------------------------------------------------------------------------------

    def _prior_knowledge(self, wrk: Worker, sess: Session, conn: Connection) -> None:
        if not params.feature.http2:
            self._end(wrk, sess, "REQ_HTTP20")
            return
        leftover = bytes(conn.buf[len(PREFACE) :])
        sess.unwatch()
        sess.debug("H2 Prior Knowledge Upgrade")
        sess.transport_priv = None
        self._successor(sess).prior_knowledge(wrk, sess, leftover)

    def _upgrade(self, wrk: Worker, sess: Session, conn: Connection, req: Request) -> bool:
        """Hand the session to HTTP/2 if the request asks for h2c; False: serve it as HTTP/1."""
        if not req.http.has_token("upgrade", "h2c"):
            return False
        if not params.feature.http2 or sess.tls is not None:
            req.log.put(DEBUG, "H2 upgrade attempt")
            return False
        settings = _decode_settings(req.http.values("http2-settings"))
        if settings is None:
            req.log.put(DEBUG, "H2: Bad HTTP-Settings")
            req.doclose = "RX_JUNK"
            self._after(wrk, sess, conn, req)
            return True
        conn.flush()
        leftover = bytes(conn.buf)
        sess.unwatch()
        sess.debug("H2 Optimistic Upgrade")
        sess.transport_priv = None
        self._successor(sess).upgrade(wrk, sess, req, settings, leftover)
        return True

    def _successor(self, sess: Session) -> Successor:
        """HTTP/2, which has the session from here on."""
        successor = sess.transport = self.env.transports["HTTP2"]
        assert isinstance(successor, Successor)
        return successor

    # -- what the state machine asks for ---------------------------------------------------------------------------

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        """Send the response; it is complete, or ``req.doclose`` is set, when this returns."""
        deliver(wrk, _connection(req.sess), req, source)
        return Delivered.DONE

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        """A response without a body; see `_minimal_head`."""
        conn = _connection(req.sess)
        head = _minimal_head(conn, status)
        log = req.log
        log.put(RESP_PROTOCOL, "HTTP/1.1")
        log.put(RESP_STATUS, f"{status:03d}")
        log.put(RESP_REASON, reason_phrase(status))
        if status >= 400:
            req.err_code = status
        failure = conn.send(log, [head], len(head), clock.mono() + params.idle_send_timeout)
        if failure is None:
            req.acct.resp_hdrbytes += len(head)
        elif req.doclose is None:
            req.doclose = failure

    def send_100(self, wrk: Worker, req: Request) -> None:
        """Answer ``Expect: 100-continue``, unless the body is coming anyway (RFC 9110 section 10.1.1)."""
        if not _connection(req.sess).buf:
            self.minimal_response(wrk, req, 100)

    def send_interim(self, wrk: Worker, req: Request, notice: Notice) -> None:
        """Pass on an interim response of the backend; see `Transport`."""
        message = Message()
        message.status, message.reason, message.headers = notice.status, reason_phrase(notice.status), notice.fields
        try:
            head = response_head(message)
        except WireError:  # the backend's fields hold what no client should see: it is a hint only
            req.log.put(DEBUG, "interim response dropped")
            return
        failure = _connection(req.sess).send(req.log, [head], len(head), clock.mono() + params.idle_send_timeout)
        if failure is None:
            req.acct.resp_hdrbytes += len(head)
        elif req.doclose is None:
            req.doclose = failure

    def take_readahead(self, req: Request) -> bytes:
        """What was read from the client behind the request's head; a pipe must send it on first."""
        self.settle(req)
        conn = _connection(req.sess)
        leftover = bytes(conn.buf)
        conn.buf.clear()
        req.sess.unwatch()  # the pipe waits for the client itself
        return leftover

    def settle(self, req: Request) -> None:
        """Send the answers that are held: nobody else would, when the request or the connection goes elsewhere."""
        _connection(req.sess).flush()

    def fail(self, req: Request, reason: str) -> None:
        """Close the connection; the loop finds it closed and ends the session."""
        if req.doclose is None:
            req.doclose = reason
        self.settle(req)
        req.sess.close(reason)

    def reembark(self, req: Request) -> None:
        """Schedule a request that waited elsewhere; callable from any thread."""
        sess = req.sess
        if not sess.pool.schedule(lambda wrk: self._resume(wrk, req), Priority.RUSH):
            sess.close("OVERLOAD")  # only a pool that is being stopped refuses: the process is about to end

    def _resume(self, wrk: Worker, req: Request) -> None:
        req.wrk = wrk
        self._serve(wrk, req.sess, _connection(req.sess), self._run, req)

    def carry_on(self, wrk: Worker, req: Request) -> None:
        """Task: go on behind a response that was `TAKEN` and has been delivered.

        For a transport of a VMOD's that puts itself in this one's place and delivers elsewhere.
        """
        self._serve(wrk, req.sess, _connection(req.sess), self._delivered, req)

    def client_gone(self, req: Request) -> bool:
        """HTTP/1 learns that its client left when it sends; only a closed session is known."""
        return req.sess.closed is not None

    def panic_dump(self, sess: Session) -> str:
        conn = sess.transport_priv
        if not isinstance(conn, Connection):
            return "state = idle"
        return f"requests = {conn.requests},\nbuffered = {len(conn.buf)},\nheld = {len(conn.held)},"

    def describe(self, sess: Session) -> dict[str, object]:
        conn = sess.transport_priv
        if not isinstance(conn, Connection):
            return {}
        return {"requests": conn.requests, "buffered": len(conn.buf), "held": len(conn.held)}


def _connection(sess: Session) -> Connection:
    conn = sess.transport_priv
    assert isinstance(conn, Connection)
    return conn


def _minimal_head(conn: Connection, status: int) -> bytes:
    """A response without a body; an error says when it arose, and that it is the last (RFC 9110 section 6.6.1)."""
    fields = ""
    if status >= 400 and not conn.lenient:
        fields = f"Date: {format_date(clock.now())}\r\nContent-Length: 0\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status:03d} {reason_phrase(status)}\r\n{fields}\r\n".encode("latin-1")


def _keep_records(fields: FieldBlock) -> None:
    """Keep what the log says of field lines that come again and again."""
    records = Records([(REQ_HEADER, f"{name}: {value}") for _, name, value in fields.headers])
    fields.received = ReceivedHead(fields.received.names, records)


def _is_broken_preface(head: bytes) -> bool:
    """Does a connection begin with a protocol that is no version of HTTP/1, on a port that also speaks HTTP/2?

    That is an invalid connection preface, a connection error (RFC 9113 section 3.4); a GOAWAY may be omitted, and an
    answer in HTTP/1 would be read as a frame. Varnish answers 400.
    """
    if not params.feature.http2 or params.feature.h2_compat:
        return False
    words = head.partition(b"\r\n")[0].split(b" ")
    return len(words) == 3 and not words[2].startswith(b"HTTP/")


def _decode_settings(values: list[str]) -> bytes | None:
    """The SETTINGS payload in ``HTTP2-Settings`` (RFC 7540 section 3.2.1); ``None`` if missing, repeated or broken."""
    if len(values) != 1:
        return None
    text = values[0].rstrip("=")
    try:
        payload = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error, or characters beyond ASCII
        return None
    return payload if len(payload) % 6 == 0 else None
