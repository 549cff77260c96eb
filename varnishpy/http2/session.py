"""The session thread: a connection, its socket, and the thread pool.

The session thread is a *role* (``role.py``): whichever worker serves the session has it. There are three ways to serve.

* A session with no open stream and nothing to send *rests* in the watch of its pool, and no thread has the role. Its
  next byte, its timeout or a drain has a worker take it.
* A session whose requests are run by other threads is served by a worker of its own, which sleeps in a selector over
  the socket and the wakeup descriptor, until the next moment at which something is due.
* With ``h2_inline`` the session thread runs the requests itself, some at a time, and sends the responses in one go. It
  lays the role down meanwhile. Before a request waits (see `Worker.will_block`), or when the requests of one go take
  longer than ``h2_inline_time``, it *gives the role away*: the session's task is queued, with the requests not begun,
  and another worker goes on. The request that waits is then on an ordinary request thread.

The end has two stages. In the first, every stream is reset, requests are taken off waiting lists, and GOAWAY is
flushed until the deadline. Then the socket is closed. In the second, request threads that still hold a request let
go one by one; nobody waits for them: the session leaves `_reap` behind in its inbox as what a post wakes, and the last
one frees the session.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.h2.connection import Connection
from varnishpy.h2.ending import free, reset
from varnishpy.h2.frames import settings_frame
from varnishpy.h2.settings import apply_settings
from varnishpy.h2.stream import Stream, advance
from varnishpy.h2.tables import CE, RECEIVED_END, RECEIVED_HEADERS, SE
from varnishpy.http2.request_desk import RequestDesk
from varnishpy.http2.role import Role
from varnishpy.http2.sleep import Sleep
from varnishpy.http2.socket_desk import RECEIVE_SIZE, SocketDesk
from varnishpy.log.tag_numbers import DEBUG, ERROR, REQ_ACCT
from varnishpy.params import params
from varnishpy.request.request import Request
from varnishpy.threads import Priority
from varnishpy.threads.planned import planned
from varnishpy.threads.worker import TaskInfo, Worker

if TYPE_CHECKING:
    from varnishpy.base.dumptext import DumpText
    from varnishpy.http2.transport import Http2Transport
    from varnishpy.session.session import Session


LAST_READ: Final = 0.1  # seconds at most to read what a client still sends, so that closing does not reset
DRAIN_PATIENCE: Final = 1.0  # seconds a client has to answer the PING behind the first GOAWAY
INLINE_BATCH: Final = 16  # requests that the session thread runs before it sends
INLINE_TURN: Final = 128  # and before it lets other sessions have their turn

_RESPONSE_101: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class Http2Session:
    """What drives one `Connection`. It has a desk for the socket and one for the requests; the engine's `Host`."""

    __slots__ = (
        "_ended",
        "_env",
        "_role",
        "_sess",
        "_sleep",
        "_t_drain",
        "_transport",
        "_turn",
        "desk",
        "h2",
        "line",
    )

    def __init__(self, transport: Http2Transport, sess: Session) -> None:
        self._transport = transport
        self._env = transport.env
        self._sess = sess
        self.h2 = Connection(self, sess.vxid, clock.mono())
        self._role = Role(self.h2)
        self.line = SocketDesk(sess, self.h2, self._role)
        self.desk = RequestDesk(transport, sess, self.h2, self._role)
        self._sleep = Sleep(sess.fd)
        self._t_drain = 0.0
        self._turn = 0  # requests run by this thread since it took the role
        self._ended = False
        sess.transport_priv = self
        sess.h2 = self.h2
        stats.main.inc("h2_sessions")
        stats.main.inc("h2_sessions_live")

    # -- entering --------------------------------------------------------------------------------------------------

    def begin(self, wrk: Worker, leftover: bytes) -> None:
        """The preface has been read: send our settings, take what came behind it, and serve."""

        def enter() -> bool:
            h2 = self.h2
            h2.log.put(DEBUG, "H2: Got pu PRISM")
            h2.control(settings_frame(h2.settings_payload()))
            if leftover:
                self._take(leftover)
            if self.line.may_hold_more:
                self._receive()
            return True

        self._hold_role(wrk, enter)

    def upgrade(self, wrk: Worker, req: Request, settings: bytes, leftover: bytes) -> None:
        """The request with ``Upgrade: h2c`` becomes stream 1."""
        self._hold_role(wrk, partial(self._switch, wrk, req, settings, leftover))

    def _switch(self, wrk: Worker, req: Request, settings: bytes, leftover: bytes) -> bool:
        h2 = self.h2
        error = apply_settings(h2, settings)
        rest = None
        if error is None and self.line.send_all(_RESPONSE_101):
            rest = self.line.read_preface(leftover)
        if rest is None:
            h2.log.put(DEBUG, "H2: No/Bad OU PRISM")
            self._transport.finish_request(wrk, req)
            self._end("RX_JUNK")
            return False
        message = req.http
        for lname in ("upgrade", "http2-settings"):
            message.unset(lname)
        if not params.feature.h2_compat:
            message.unset("connection")  # VCL sees it with the reference
        message.set_proto("HTTP/2.0")
        req.received = None  # what HTTP/1 knew of the fields is not so any more
        req.transport = self._transport
        stream = h2.streams[1] = Stream(h2, 1, h2.now)
        h2.highest_stream = 1
        advance(stream, RECEIVED_HEADERS)
        advance(stream, RECEIVED_END)
        req.stream = stream
        stream.request = req
        h2.control(settings_frame(h2.settings_payload()))
        if not self.desk.start_upgraded(stream):
            h2.log.put(DEBUG, "H2: No Worker-threads")
            reset(stream, SE.ENHANCE_YOUR_CALM, charge=False)
            h2.fail(CE.ENHANCE_YOUR_CALM)
        elif rest:
            self._take(rest)
        return True

    def await_preface(self, wrk: Worker) -> None:
        """A connection that must speak HTTP/2 from its first byte (TLS with ALPN ``h2``)."""

        def enter() -> bool:
            rest = self.line.read_preface(b"")
            if rest is None:
                self._end("RX_JUNK")
                return False
            self.h2.control(settings_frame(self.h2.settings_payload()))
            if rest:
                self._take(rest)
            return True

        self._hold_role(wrk, enter)

    # -- the role --------------------------------------------------------------------------------------------------

    def _hold_role(self, wrk: Worker, enter: Callable[[], bool]) -> None:
        """Be the session thread until the session rests, is over, or the role is given away.

        :param enter: what comes first; False: the session has ended already
        """
        self._take_role(wrk)
        try:
            if not enter() or self._serve():
                return
        except Exception:
            # a defect of this session only: the worker logs it; nobody else knows the socket any more
            self.h2.fail(CE.INTERNAL_ERROR)
            self._teardown()
            raise
        self._teardown()

    def _take_role(self, wrk: Worker) -> None:
        """This thread is the session thread now."""
        h2 = self.h2
        sess = self._sess
        self._role.take(wrk)
        self._turn = 0
        h2.now = clock.mono()
        h2.send_timeout_of = sess.send_timeout
        h2.idle_timeout_of = sess.timeout_idle
        self.line.deadline = h2.now + h2.idle_timeout()
        wrk.subject = self
        h2.inbox.awake()

    def _leave_role(self) -> None:
        """The thread that serves the session lets go of what it lent."""
        self._role.leave()
        self._sleep.close()

    def task_info(self) -> TaskInfo:
        """For the scoreboard."""
        sess = self._sess
        streams = len(self.h2.streams)
        state = f"{streams} stream{'' if streams == 1 else 's'}"
        age = clock.now() - sess.t_open
        return TaskInfo("HTTP/2 session", state, age, sess.vxid, sess.client_ip.ip, "", sess.vxid)

    def panic_dump(self, out: DumpText) -> None:
        """For the panic dump."""
        self._sess.panic_dump(out)

    # -- serving ---------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Read once, and process it."""
        line = self.line
        while True:
            data = line.read()
            if not data:
                return
            self._take(data)
            if self.h2.error is not None or not line.holds_more:
                return

    def _drain_socket(self) -> None:
        """Read all there is, and process it: the watch tells of news only once."""
        watched = self._sess.watched
        hangup = watched is not None and watched.hangup
        if watched is not None:
            watched.readable = False
        line = self.line
        while self.h2.error is None:
            data = line.read()
            if data:
                self._take(data)
            if not data or not (hangup or line.may_hold_more or len(data) == RECEIVE_SIZE):
                return

    def _take(self, data: bytes) -> None:
        """Process what was received."""
        self.h2.receive_data(data)
        if not params.h2_inline or planned.left or self.h2.error is not None:
            self.desk.start_all()

    def _serve(self) -> bool:
        """Until this thread is done with the session (True), or the session has come to its end."""
        h2 = self.h2
        desk = self.desk
        while not h2.is_over():
            if desk.waiting and not self._run_requests():
                return True
            h2.take_inbox()
            self.line.transmit()
            if h2.take_inbox():
                self.line.transmit()
            if h2.is_over():
                break
            if desk.waiting:
                if self._turn >= INLINE_TURN:
                    self._leave_role()
                    self._go_on_elsewhere()
                    return True
                continue
            due = self._next_moment()
            if h2.is_over():
                break
            if not h2.streams and not h2.transmitter.pending and not self._env.draining:
                if self._rest(due):
                    return True
            elif self._may_sleep():
                self._wait(due)
        desk.start_all()  # they will find that the client has gone, and leave what a log says of such requests
        return False

    # -- running requests ------------------------------------------------------------------------------------------

    def _run_requests(self) -> bool:
        """Run some requests on this thread. False: the role was given away, this thread is done with the session."""
        role = self._role
        wrk = role.worker
        desk = self.desk
        run = desk.run_next
        give_away = self._give_away
        until = wrk.block_by = clock.mono() + params.h2_inline_time
        for _ in range(INLINE_BATCH):
            if not desk.waiting:
                break
            self._turn += 1
            role.lay_down()
            wrk.on_block = give_away
            try:
                wrk.run_within(run)
            except Exception as exc:  # a defect of that request only
                wrk.contain(exc)
            if _was_told(wrk):
                wrk.subject = None
                return False
            wrk.on_block = None
            role.take_up()
            if clock.mono() >= until:
                self._turn = INLINE_TURN
                break
        h2 = self.h2
        h2.now = h2.t_idle = clock.mono()
        return True

    def _give_away(self) -> None:
        """The request that this thread runs is about to wait: another thread goes on with the session."""
        self._role.give_away()
        self._go_on_elsewhere()

    def _go_on_elsewhere(self) -> None:
        """Queue the session's task; from here on another thread may have the role."""
        self._role.nobody()
        pool = self.desk.pool
        if not pool.schedule(self._next_turn, Priority.RUSH):
            pool.again(self._next_turn)  # the pool is stopping: what is begun is still seen to its end

    def _next_turn(self, wrk: Worker) -> None:
        """Task: go on with a session whose role was given away."""
        self._hold_role(wrk, self._go_on)

    def _go_on(self) -> bool:
        h2 = self.h2
        if h2.now >= h2.next_due:
            h2.take_inbox()
            h2.sweep()
        return True

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _next_moment(self) -> float:
        """When something is due, if nothing happens before. Fails the connection when it is time for that."""
        h2 = self.h2
        due = h2.next_due
        if self._env.draining and not h2.leaving:
            due = min(due, self._drain())
        if h2.streams:
            return due
        idle = h2.t_idle + h2.idle_timeout()
        if h2.now >= idle or (h2.leaving and not h2.transmitter.pending):
            h2.fail(CE.NO_ERROR)
        return min(due, idle)

    def _may_sleep(self) -> bool:
        """From here on a post wakes this thread out of its selector. False: something was posted already."""
        h2 = self.h2
        try:
            self._sleep.open()
        except OSError as exc:
            h2.fail(CE.ENHANCE_YOUR_CALM, f"H2: Failed to create eventfd: {exc}", ERROR)
            return False
        self._sess.unwatch()  # the selector tells from here on
        if h2.inbox.may_sleep(self._sleep.wake):
            if not self._env.draining or self._t_drain:
                return True
            h2.inbox.awake()  # the drain began just now
        return False

    def _wait(self, due: float) -> None:
        """Sleep until something happens or is due, and take it in."""
        h2 = self.h2
        wrk = self._role.worker
        wait = None if due == clock.NEVER else max(0.0, due - h2.now) + 0.001
        h2.log.flush()
        if wait is None or wait > 1.0:
            wrk.merge_stats()
            h2.stats = wrk.stats
        else:
            wrk.offer_stats()
        wrk.will_block()
        try:
            readable = self._sleep.wait(wait, h2.transmitter.pending)
        finally:
            wrk.unblocked()
        h2.inbox.awake()
        h2.stats.h2_polls += 1
        now = h2.now = clock.mono()
        self.line.deadline = now + h2.idle_timeout()
        if readable:
            self._receive()
        h2.take_inbox()
        if now >= h2.next_due and h2.error is None:
            h2.sweep()
        if h2.streams:
            h2.t_idle = now

    # -- draining --------------------------------------------------------------------------------------------------

    def _drain(self) -> float:
        """``traffic.stop``: two GOAWAYs with a round trip between them; when to look again."""
        h2 = self.h2
        if not self._t_drain:
            self._t_drain = h2.now + DRAIN_PATIENCE
            h2.begin_shutdown()
            self.line.transmit()
        elif not h2.ping_sent or h2.now >= self._t_drain:
            h2.ping_sent = b""
            h2.end_shutdown()
            self.line.transmit()
            return h2.now
        return self._t_drain

    def notice(self) -> None:
        """Something global changed (draining): have a look. On any thread."""
        self.h2.inbox.post(None)

    # -- resting ---------------------------------------------------------------------------------------------------

    def _rest(self, due: float) -> bool:
        """Leave this thread until something stirs. False: something has, go on."""
        h2 = self.h2
        sess = self._sess
        wrk = self._role.worker
        h2.log.flush()
        h2.parser.compact()
        h2.transmitter.compact()
        when = max(due, clock.mono())
        try:
            watched = sess.watch(self._stirred)
        except OSError:
            self._end("PIPE_OVERFLOW")
            return True
        self._leave_role()
        self._role.nobody()
        wrk.stats.h2_parks += 1
        wrk.stats.h2_parked += 1
        try:
            # whoever drains sets the flag first, and then posts
            if h2.inbox.may_sleep(watched.stir) and not self._env.draining and watched.rest(when):
                return True  # the session may run on another thread already
        except OSError:
            wrk.stats.h2_parked -= 1
            self._abandon("PIPE_OVERFLOW")
            return True
        wrk.stats.h2_parks -= 1
        wrk.stats.h2_parked -= 1
        self._role.take(wrk)
        h2.inbox.awake()
        self._look()
        return False

    def _stirred(self, wrk: Worker) -> None:
        """Task: the resting session has something to read, or its time has come, or somebody left something."""
        wrk.stats.h2_parked -= 1
        self._hold_role(wrk, self._look)

    def _look(self) -> bool:
        h2 = self.h2
        h2.now = clock.mono()
        self._drain_socket()
        h2.take_inbox()
        if h2.now >= h2.next_due and h2.error is None:
            h2.sweep()
        if h2.streams:
            h2.t_idle = h2.now
        return True

    def _abandon(self, reason: str) -> None:
        """There is no thread for this session any more, and it holds no stream: close it here."""
        self._role.clear_up()
        self._end(reason)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _teardown(self) -> None:
        """Stage one, and the beginning of stage two."""
        h2 = self.h2
        h2.assert_session_thread()
        self.desk.abandon_starting()
        h2.take_inbox()
        h2.now = clock.mono()
        error = h2.error or CE.NO_ERROR
        alive = error is not CE.IO_ERROR
        if not alive and not self.line.ended_by_client:
            h2.transmitter.stop()
        h2.close_connection()
        if alive:
            linger: float = params.timeout_linger
            if self.line.flush_until(self.line.deadline + linger):
                self.line.half_close(min(linger, LAST_READ))
        elif self.line.ended_by_client:
            self.line.send_batch(True)  # GOAWAY, if there is room for it: nobody waits for a client that may be gone
        h2.transmitter.stop()
        reason = error.reason
        self._sess.close(reason)
        h2.log.flush()
        self._leave_role()
        self._reap()

    def _reap(self) -> None:
        """Stage two, on whatever thread: see whether the last request has been let go."""
        h2 = self.h2
        while True:
            self._role.clear_up()
            h2.take_inbox()
            for stream in list(h2.streams.values()):
                self.desk.walk_away(stream)
                free(stream)
            if not h2.streams:
                self._end(None)
                return
            self._role.nobody()
            if h2.inbox.may_sleep(self._reap):
                return  # whoever posts next comes here

    def _end(self, reason: str | None) -> None:
        """Free the session, and close the socket if it still is open."""
        h2 = self.h2
        h2.assert_session_thread()
        if self._ended:
            return
        self._ended = True
        self._leave_role()
        over = h2.overhead
        received = over.rx_header + over.rx_body
        h2.log.put(
            REQ_ACCT,
            f"{over.rx_header} {over.rx_body} {received} {over.tx_header} {over.tx_control} {over.tx}",
        )
        h2.log.flush()
        main = stats.main
        main.inc("s_req_hdrbytes", over.rx_header)
        main.inc("s_req_bodybytes", over.rx_body)
        main.inc("s_resp_hdrbytes", over.tx_header)
        main.inc("s_resp_bodybytes", over.tx_control)
        main.inc("h2_wakeups", h2.inbox.wakeups)
        main.inc("h2_wakeups_spared", h2.inbox.wakeups_spared)
        main.dec("h2_sessions_live")
        main.inc("sess_closed")
        self._transport.forget(self)
        self._sess.delete(reason)


def _was_told(wrk: Worker) -> bool:
    """Has the worker's task announced a wait since ``on_block`` was set?"""
    return wrk.on_block is None
