"""The session thread: a connection, its socket, and the thread pool.

A session is served by a worker as long as it has open streams or something to send. The worker waits in poll(2) on
the socket and the wakeup descriptor, until the next moment at which something is due. When nothing has been open
for ``timeout_linger`` the session is *parked*: it leaves its worker and waits in the waiter, with all its state;
its next byte, its timeout or a drain brings it back on any worker.

The end has two stages. In the first, every stream is killed, requests are taken off waiting lists, and GOAWAY is
flushed until the deadline. Then the socket is closed. In the second, request threads that still hold a request let
go one by one; nobody waits for them: the last one frees the session.

The role of session thread passes from worker to worker, but never has two holders: it is handed on through the
waiter, or left behind (``ghost``) for whoever posts next.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.wakeup import Wakeup
from varnishpy.h2.connection import Connection
from varnishpy.h2.frames import settings_frame
from varnishpy.h2.receive import apply_settings
from varnishpy.h2.stream import Stream, advance, release
from varnishpy.h2.tables import CE, Event, State
from varnishpy.h2.transmit import CONTROL_SIZE
from varnishpy.http2.socket_io import SocketDesk
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.request.request import Request
from varnishpy.threads import Priority, WaitEvent
from varnishpy.threads.worker import TaskInfo, Worker

if TYPE_CHECKING:
    from varnishpy.base.dumptext import DumpText
    from varnishpy.http2.transport import Http2Transport
    from varnishpy.session.session import Session

_DEBUG: Final = int(Tag.Debug)
_ERROR: Final = int(Tag.Error)
_LINK: Final = int(Tag.Link)
_REQ_ACCT: Final = int(Tag.ReqAcct)
_REQ_METHOD: Final = int(Tag.ReqMethod)

LAST_READ: Final = 0.1  # seconds at most to read what a client still sends, so that closing does not reset
DRAIN_PATIENCE: Final = 1.0  # seconds a client has to answer the PING behind the first GOAWAY

_RESPONSE_101: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class Http2Session(SocketDesk):
    """What drives one `Connection`; its `Host`."""

    __slots__ = ("_aws_snap", "_poll", "_t_drain", "_wakeup", "_want_write")

    def __init__(self, transport: Http2Transport, sess: Session) -> None:
        super().__init__(transport, sess)
        self.h2 = Connection(self, sess.vxid, clock.now())
        self._wakeup: Wakeup | None = None
        self._poll: Any = None
        self._aws_snap = 0
        self._deadline = 0.0
        self._want_write = False
        self._t_drain = 0.0
        sess.transport_priv = self
        stats.main.inc("h2_sessions")
        stats.main.inc("h2_sessions_live")

    # -- Host ------------------------------------------------------------------------------------------------------

    def control_buffer(self) -> memoryview | None:
        wrk = self.wrk
        assert wrk is not None
        buffer = wrk.aws.alloc(CONTROL_SIZE)
        if buffer is None:
            self.h2.fail(CE.ENHANCE_YOUR_CALM, "H2 sess: Out of workspace_thread", _ERROR)
        return buffer

    def signal(self, ghost: bool) -> None:
        if ghost:
            self._reap()
            return
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.signal()

    def flush(self) -> bool:
        """Send the batch and the control frames, nothing else, waiting for the socket until the deadline."""
        return self.flush_until(self._deadline)

    # -- serving ---------------------------------------------------------------------------------------------------

    def begin(self, wrk: Worker, leftover: bytes) -> None:
        """The preface has been read: send our settings, take what came behind it, and serve."""

        def enter() -> bool:
            h2 = self.h2
            h2.log.put(_DEBUG, "H2: Got pu PRISM")
            h2.control(settings_frame(h2.settings_payload()))
            if leftover:
                self.take(leftover)
            if self._tls is not None:
                self.receive()  # poll(2) does not know of what TLS has read already
            return True

        self._hold_role(wrk, enter)

    def upgrade(self, wrk: Worker, req: Request, settings: bytes, leftover: bytes) -> None:
        """The request with ``Upgrade: h2c`` becomes stream 1."""
        self._hold_role(wrk, partial(self._switch, wrk, req, settings, leftover))

    def _switch(self, wrk: Worker, req: Request, settings: bytes, leftover: bytes) -> bool:
        h2 = self.h2
        error = apply_settings(h2, settings)
        rest = None
        if error is None and self.send_all(_RESPONSE_101):
            rest = self.read_preface(leftover)
        if rest is None:
            h2.log.put(_DEBUG, "H2: No/Bad OU PRISM")
            self.transport.finish_request(wrk, req)
            self._end("RX_JUNK")
            return False
        message = req.http
        for lname in ("upgrade", "http2-settings", "connection"):
            message.unset(lname)
        message.set_proto("HTTP/2.0")
        req.received = None  # what HTTP/1 knew of the fields is not so any more
        req.transport = self.transport
        stream = h2.streams[1] = Stream(h2, 1, h2.now)
        h2.highest_stream = 1
        advance(stream, Event.RECEIVED_HEADERS)
        advance(stream, Event.RECEIVED_END)
        req.transport_priv = stream
        stream.request = req
        h2.control(settings_frame(h2.settings_payload()))
        if not self.schedule(stream):
            h2.log.put(_DEBUG, "H2: No Worker-threads")
            h2.fail(CE.ENHANCE_YOUR_CALM)
        elif rest:
            self.take(rest)
        return True

    def await_preface(self, wrk: Worker) -> None:
        """A connection that must speak HTTP/2 from its first byte (TLS with ALPN ``h2``)."""

        def enter() -> bool:
            rest = self.read_preface(b"")
            if rest is None:
                self._end("RX_JUNK")
                return False
            self.h2.control(settings_frame(self.h2.settings_payload()))
            if rest:
                self.take(rest)
            return True

        self._hold_role(wrk, enter)

    def resume(self, event: WaitEvent, wrk: Worker) -> None:
        """Task: the waiter had something to say about a parked session."""
        wrk.stats.h2_parked -= 1

        def enter() -> bool:
            if event is WaitEvent.CLOSED:
                self.h2.fail(CE.IO_ERROR)
            elif event is WaitEvent.TIMEOUT:
                self.h2.fail(CE.NO_ERROR)
            else:
                self.receive()
            return True

        self._hold_role(wrk, enter)

    def _hold_role(self, wrk: Worker, enter: Callable[[], bool]) -> None:
        """Be the session thread until the session is parked or over.

        :param enter: what comes first; False: the session has ended already
        """
        if not self._take_role(wrk):
            return
        try:
            if not enter() or self._serve():
                return
        except Exception:
            # a defect of this session only: the worker logs it; nobody else knows the socket any more
            self.h2.fail(CE.INTERNAL_ERROR)
            self._teardown()
            raise
        self._teardown()

    def _take_role(self, wrk: Worker) -> bool:
        """This thread is the session thread now."""
        h2 = self.h2
        self.wrk = wrk
        h2.thread = get_ident()
        h2.stats = wrk.stats
        h2.now = clock.now()
        sess = self.sess
        h2.send_timeout_of = sess.send_timeout
        h2.idle_timeout_of = sess.timeout_idle
        self._deadline = h2.now + h2.idle_timeout()
        wrk.subject = self
        self._aws_snap = wrk.aws.snapshot()
        try:
            self._wakeup = Wakeup()
        except OSError as exc:
            h2.log.put(_ERROR, f"H2: Failed to create eventfd: {exc}")
            self._end("OVERLOAD")
            return False
        h2.wake()
        self._poll = select.poll()
        self._poll.register(sess.fd, select.POLLIN)
        self._poll.register(self._wakeup.fileno(), select.POLLIN)
        self._want_write = False
        return True

    def task_info(self) -> TaskInfo:
        """For the scoreboard."""
        sess = self.sess
        streams = len(self.h2.streams)
        state = f"{streams} stream{'' if streams == 1 else 's'}"
        age = clock.now() - sess.t_open
        return TaskInfo("HTTP/2 session", state, age, sess.vxid, sess.client_ip.ip, "", sess.vxid)

    def panic_dump(self, out: DumpText) -> None:
        """For the panic dump."""
        self.sess.panic_dump(out)

    def _leave_role(self) -> None:
        """The thread that serves the session lets go of what it lent."""
        wrk = self.wrk
        if wrk is not None:
            self.h2.transmitter.lend_control(None)
            wrk.aws.reset(self._aws_snap)
        self.wrk = None
        self._poll = None
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.close()

    def _serve(self) -> bool:
        """Until the session is parked (True) or has come to its end."""
        h2 = self.h2
        while h2.error is None:
            self.transmit()
            if h2.take_inbox():
                self.transmit()
            if h2.error is not None:
                break
            if self._once():
                return True
        return False

    def _once(self) -> bool:
        """Sleep until something happens, and take it in. True: the session is parked, this thread is done."""
        h2 = self.h2
        wrk = self.wrk
        assert wrk is not None
        due = h2.next_due
        if self.env.draining and not h2.leaving:
            due = min(due, self._drain())
        if not h2.streams:
            if h2.leaving and not h2.transmitter.pending:
                h2.fail(CE.NO_ERROR)
                return False
            idle = h2.t_idle + h2.idle_timeout()
            if h2.now >= idle:
                h2.fail(CE.NO_ERROR)
                return False
            if not h2.transmitter.pending and not h2.header_drop and not h2.ping_sent:
                linger = self.sess.timeout_linger
                if linger is None:
                    linger = params.timeout_linger
                if h2.now >= h2.t_idle + linger:
                    if self._park():
                        return True
                else:
                    idle = min(idle, h2.t_idle + linger)
            due = min(due, idle)
        want_write = h2.transmitter.pending
        if want_write is not self._want_write:
            self._want_write = want_write
            self._poll.modify(self.sess.fd, select.POLLIN | select.POLLOUT if want_write else select.POLLIN)
        if not h2.may_sleep():
            return False
        wait = None if due == clock.NEVER else max(0.0, due - h2.now) * 1000 + 1
        h2.log.flush()
        if wait is None or wait > 1000:
            wrk.merge_stats()
            h2.stats = wrk.stats
        else:
            wrk.offer_stats()
        wrk.will_block()
        try:
            events = self._poll.poll(wait)
        finally:
            wrk.unblocked()
        h2.wake()
        h2.stats.h2_polls += 1
        now = h2.now = clock.now()
        self._deadline = now + h2.idle_timeout()
        fd = self.sess.fd
        for ready, mask in events:
            if ready == fd:
                if mask & ~select.POLLOUT:
                    self.receive()
            elif self._wakeup is not None:
                self._wakeup.clear()
        h2.take_inbox()
        if now >= h2.next_due and h2.error is None:
            h2.sweep()
        if h2.streams:
            h2.t_idle = now
        return False

    # -- draining --------------------------------------------------------------------------------------------------

    def _drain(self) -> float:
        """``traffic.stop``: two GOAWAYs with a round trip between them; when to look again."""
        h2 = self.h2
        if not self._t_drain:
            self._t_drain = h2.now + DRAIN_PATIENCE
            h2.begin_drain()
            self.transmit()
        elif not h2.ping_sent or h2.now >= self._t_drain:
            h2.ping_sent = b""
            h2.end_drain()
            self.transmit()
            return h2.now
        return self._t_drain

    def notice(self) -> None:
        """Something global changed (draining): have a look. Any thread."""
        h2 = self.h2
        fd = self.sess.fd
        if fd >= 0 and self.wrk is None and self.env.waiter.remove(fd, self._wake):
            self._wake(WaitEvent.READABLE)
            return
        with h2.mutex:
            if h2.awake:
                return
            h2.awake = True
            ghost = h2.ghost
        self.signal(ghost)

    # -- parking ---------------------------------------------------------------------------------------------------

    def _park(self) -> bool:
        """Leave this thread; False: not now."""
        h2 = self.h2
        wrk = self.wrk
        assert wrk is not None
        if self.env.draining:
            return False
        deadline = clock.mono() + max(0.0, h2.t_idle + h2.idle_timeout() - h2.now)
        h2.log.flush()
        h2.parser.compact()
        h2.transmitter.compact()
        fd = self.sess.fd
        wrk.stats.h2_parks += 1
        wrk.stats.h2_parked += 1
        self._leave_role()
        h2.thread = 0
        try:
            self.env.waiter.add(fd, deadline, self._wake)
        except OSError:
            self._abandon("PIPE_OVERFLOW")
            return True
        # from here on the session may run on another thread already
        if self.env.draining and self.env.waiter.remove(fd, self._wake):
            self._wake(WaitEvent.READABLE)
        return True

    def _wake(self, event: WaitEvent) -> None:
        """Callback of the waiter."""
        if not self.pool.schedule(partial(self.resume, event), Priority.REQ):
            stats.main.dec("h2_parked")
            self._abandon("OVERLOAD")

    def _abandon(self, reason: str) -> None:
        """There is no thread for this session any more, and it holds no stream: close it here."""
        self.h2.thread = get_ident()
        self._end(reason)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _teardown(self) -> None:
        """Stage one, and the beginning of stage two."""
        h2 = self.h2
        h2.assert_session_thread()
        self.abandon_starting()
        h2.take_inbox()
        h2.now = clock.now()
        error = h2.error or CE.NO_ERROR
        alive = error is not CE.IO_ERROR
        if not alive and not self._ended_by_client:
            h2.transmitter.stop()
        h2.shut_down()
        if alive:
            linger: float = params.timeout_linger
            if self.flush_until(self._deadline + linger):
                self.half_close(min(linger, LAST_READ))
        elif self._ended_by_client:
            self._send_batch(True)  # GOAWAY, if there is room for it: nobody waits for a client that may be gone
        h2.transmitter.stop()
        reason = error.reason
        self.sess.close(reason)
        h2.log.flush()
        self._leave_role()
        h2.thread = 0
        with h2.mutex:
            h2.ghost = True
            h2.awake = True  # so that nobody else reaps while this thread still looks
        self._reap()

    def _reap(self) -> None:
        """Stage two, on whatever thread: see whether the last request has been let go."""
        h2 = self.h2
        h2.thread = get_ident()
        while True:
            h2.take_inbox()
            for stream in list(h2.streams.values()):
                self.walk_away(stream)
                if stream.state is State.CLOSED:
                    release(stream)
            if not h2.streams:
                self._end(None)
                return
            h2.thread = 0
            if h2.may_sleep():
                return  # whoever posts next comes here
            h2.thread = get_ident()

    def _end(self, reason: str | None) -> None:
        """Free the session, and close the socket if it still is open."""
        h2 = self.h2
        h2.assert_session_thread()
        if h2.ended:
            return
        h2.ended = True
        self._leave_role()
        received = h2.rx_overhead_hdr + h2.rx_overhead_body
        sent_hdr = h2.tx_overhead - h2.tx_control
        h2.log.put(
            _REQ_ACCT,
            f"{h2.rx_overhead_hdr} {h2.rx_overhead_body} {received} {sent_hdr} {h2.tx_control} {h2.tx_overhead}",
        )
        h2.log.flush()
        main = stats.main
        main.inc("s_req_hdrbytes", h2.rx_overhead_hdr)
        main.inc("s_req_bodybytes", h2.rx_overhead_body)
        main.inc("s_resp_hdrbytes", sent_hdr)
        main.inc("s_resp_bodybytes", h2.tx_control)
        main.inc("h2_wakeups", h2.wakeups)
        main.inc("h2_wakeups_spared", h2.wakeups_spared)
        main.dec("h2_sessions_live")
        main.inc("sess_closed")
        self.transport.forget(self)
        self.sess.delete(reason)
