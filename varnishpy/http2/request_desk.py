"""Streams as requests: making them of header blocks, running them on the pool, finishing them.

Who holds a request, and who finishes it, is decided by its `Holding` (``h2/holding.py``).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.base.panic import Panic
from varnishpy.base.workspace import make_workspace
from varnishpy.h2.ending import reset
from varnishpy.h2.headers import HeaderBlock
from varnishpy.h2.holding import RUNNING
from varnishpy.h2.receive_buffer import ReceiveBuffer
from varnishpy.h2.stream import Stream
from varnishpy.h2.tables import SE
from varnishpy.http.message import FIRST_LINE
from varnishpy.http2.reqbody import StreamBody
from varnishpy.log.moments import absolute
from varnishpy.log.tag_numbers import BEGIN, ERROR, LINK, REQ_METHOD, TIMESTAMP
from varnishpy.log.tasklog import CLIENT, Records, TaskLog
from varnishpy.params import params
from varnishpy.request.request import STEP_DONE, Request
from varnishpy.threads import Priority
from varnishpy.threads.worker import Worker, blocking, current_worker

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.http2.role import Role
    from varnishpy.http2.transport import Http2Transport
    from varnishpy.session.session import Session
    from varnishpy.threads.pool import Pool


_PRIORITY_STR: Final = Priority.STR


class RequestDesk:
    """The part of a session that deals with requests; the engine's `Desk`."""

    __slots__ = ("_env", "_h2", "_opening", "_opening_at", "_opening_time", "_role", "_sess", "_starting", "_transport")

    def __init__(self, transport: Http2Transport, sess: Session, h2: Connection, role: Role) -> None:
        self._transport = transport
        self._env = transport.env
        self._sess = sess
        self._h2 = h2
        self._role = role
        self._starting: deque[Stream] = deque()  # made requests of, and not yet run or given to the pool
        self._opening_at = 0.0  # requests that arrive at one moment (monotonic time) have the same first records
        self._opening_time = 0.0  # that moment as wall-clock time
        self._opening: Records | None = None

    @property
    def pool(self) -> Pool:
        """Where this session's tasks run."""
        return self._sess.pool

    @property
    def waiting(self) -> bool:
        """Are there requests that were made, and not yet run or given to the pool?"""
        return len(self._starting) > 0

    # -- for the connection, on the session thread -----------------------------------------------------------------

    def start(self, stream: Stream, block: HeaderBlock, size: int) -> bool:
        req = self._request(stream, block, size)
        message = req.http
        message.method = block.method
        message.url = block.path
        assert block.headers is not None
        message.headers = block.headers.copy()
        if not req.ws.account(block.size):
            req.log.put(ERROR, "workspace_client overflow")
            self._drop(stream)
            return False
        if not stream.rx_ended:
            req.body = StreamBody(stream, self._h2.idle_timeout, blocking)
        req.received = block.received
        stream.holding.take()
        self._starting.append(stream)
        return True

    def start_all(self) -> None:
        """Give the requests made of what was just received to the pool, all at once; what it refuses is reset."""
        if not self._starting:
            return
        starting = list(self._starting)
        self._starting.clear()
        run = self._run
        taken = self.pool.schedule_all([partial(run, stream) for stream in starting], _PRIORITY_STR)
        for stream in starting[taken:]:
            self._take_back(stream)
            self._h2.stats.h2_streams_refused += 1
            reset(stream, SE.REFUSED_STREAM, charge=False)

    def abandon_starting(self) -> None:
        """Finish requests that were not given to the pool, because something broke just after they were made."""
        while self._starting:
            self._take_back(self._starting.popleft())

    def start_upgraded(self, stream: Stream) -> bool:
        """Give the request of an upgraded connection to the pool. False: it was refused, and is finished."""
        stream.holding.take()
        if self.pool.schedule(partial(self._run, stream), _PRIORITY_STR):
            return True
        self._take_back(stream)
        return False

    def _take_back(self, stream: Stream) -> None:
        """Finish a request that was to be run, and was not."""
        holding = stream.holding
        holding.over()
        if holding.give_back():
            self._drop(stream)
            with self._h2.mutex:
                holding.hand_over(self)

    def _request(self, stream: Stream, block: HeaderBlock, size: int) -> Request:
        """A request with its log begun, and an empty message."""
        h2 = self._h2
        wrk = self._role.wrk
        assert wrk is not None
        vxid = wrk.next_vxid()
        log = TaskLog(vxid, CLIENT)
        ws = make_workspace("req", params.workspace_client)
        req = Request(self._env, self._sess, self._transport, vxid, log, ws)
        wrk.tally.req_made += 1
        req.stream = stream
        stream.request = req
        h2.log.put(LINK, f"req {vxid} rxreq")
        if stream.t_open == self._opening_at == h2.now:
            now = t_open = self._opening_time
            opening = self._opening
            if opening is None:
                opening = self._opening = self._make_opening(now)
            log.t_first = log.t_prev = now
            log.put_records(opening)
        else:
            now = self._opening_time = clock.now()
            t_open = now - (h2.now - stream.t_open)
            self._opening_at = h2.now
            self._opening = None
            log.begin("req", self._sess.vxid, "rxreq")
            log.start_clock(t_open)
            log.timestamp("Start", t_open)
            log.timestamp("Req", now)
        req.t_first = t_open
        req.t_req = req.t_prev = now
        req.acct.req_hdrbytes = size
        message = req.http
        message.log = log
        message.first_tag = REQ_METHOD
        message.ws = ws
        message.max_headers = params.http_max_hdr - FIRST_LINE
        message.proto = "HTTP/2.0"
        return req

    def _make_opening(self, now: float) -> Records:
        moment = f"{absolute(now)} 0.000000 0.000000"
        return Records(
            (
                (BEGIN, f"req {self._sess.vxid} rxreq"),
                (TIMESTAMP, f"Start: {moment}"),
                (TIMESTAMP, f"Req: {moment}"),
            )
        )

    def reject(self, stream: Stream, block: HeaderBlock, size: int) -> None:
        req = self._request(stream, block, size)
        if block.complaint is not None and not block.on_connection:
            req.log.put(*block.complaint)
        self._drop(stream)

    def finish(self, stream: Stream) -> None:
        req = stream.request
        assert isinstance(req, Request)
        self._transport.finish_request(self._role.wrk or self._worker(), req)
        stream.request = None

    def _drop(self, stream: Stream) -> None:
        """End a request that will not be run."""
        self._transport.drop_request(self._worker(), request_of(stream))
        stream.request = None

    def _worker(self) -> Worker:
        wrk = self._role.wrk or current_worker()
        assert wrk is not None
        return wrk

    def walk_away(self, stream: Stream) -> None:
        if stream.request is None:
            return
        req = request_of(stream)
        if req.waiting_on is not None and self._env.hash.walk_away(req) and stream.holding.over():
            self.finish(stream)

    def receive_buffer(self, size: int) -> ReceiveBuffer | None:
        return self._transport.receive_buffer(size)

    # -- on request threads ----------------------------------------------------------------------------------------

    def run_next(self, wrk: Worker) -> None:
        """Run the request that has waited longest on this thread, which has laid the role of session thread down."""
        self._run(self._starting.popleft(), wrk)

    def _run(self, stream: Stream, wrk: Worker) -> None:
        """Task: run a stream's request."""
        req = stream.request
        assert isinstance(req, Request)
        holding = stream.holding
        try:
            step = self._transport.run_request(wrk, req)
        except Panic:
            raise  # the process ends: not another octet
        except BaseException:
            if holding.handed_by is not wrk:
                self._h2.reset_stream(stream, SE.INTERNAL_ERROR)
                self._leave(wrk, stream, req, True)
            raise
        if holding.handed_by is not wrk:  # else this thread has let go with the response
            self._leave(wrk, stream, req, step is STEP_DONE)

    def _leave(self, wrk: Worker, stream: Stream, req: Request, done: bool) -> None:
        """A request thread lets go.

        :param done: it has come to the end of the request; False: the request goes on elsewhere
        """
        holding = stream.holding
        if done and holding.stage is RUNNING:
            holding.over()  # no response was handed over, and none will be
        if holding.give_back():
            self._transport.finish_request(wrk, req)
            self._h2.finished(holding)

    def reembark(self, stream: Stream) -> None:
        """A request that waited for an object, or for its client to take more of a computed body, goes on. On any
        thread.
        """
        stream.holding.take()
        if self.pool.schedule(partial(self._run, stream), Priority.RUSH):
            return
        # the pool is stopping: nothing will ever run again, so let the stream go
        req = request_of(stream)
        wrk = current_worker()
        pump = req.pump
        if pump is None:
            stream.async_error = SE.REFUSED_STREAM
        if wrk is not None:
            self._leave(wrk, stream, req, pump is None)
        if pump is not None:
            pump.give_up()


def request_of(stream: Stream) -> Request:
    """The request of a stream that has one. The engine knows only a part of it."""
    req = stream.request
    assert isinstance(req, Request)
    return req
