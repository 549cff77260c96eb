"""Streams as requests: making them, running them on the pool, and knowing who holds them.

A request is *held* by every request thread (or queued task) that may still touch it; ``holders`` counts them under
the mutex. The session thread may be through with a response while the request thread that handed it over has not
quite left: then it only notes that (``finish_pending``), and the thread that leaves last finishes the request.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from varnishpy.base.panic import Panic
from varnishpy.base.workspace import make_workspace
from varnishpy.h2.connection import Connection, Post
from varnishpy.h2.headers import HeaderBlock
from varnishpy.h2.receive_buffer import ReceiveBuffer
from varnishpy.h2.stream import Stream, kill
from varnishpy.h2.tables import SE
from varnishpy.http.message import FIRST_LINE
from varnishpy.http2.reqbody import StreamBody
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import CLIENT, Records, TaskLog
from varnishpy.params import params
from varnishpy.request.request import Request, Step
from varnishpy.threads import Priority
from varnishpy.threads.worker import Worker, current_worker

if TYPE_CHECKING:
    from varnishpy.http2.transport import Http2Transport
    from varnishpy.request.env import Env
    from varnishpy.session.session import Session
    from varnishpy.threads.pool import Pool

_BEGIN: Final = int(Tag.Begin)
_ERROR: Final = int(Tag.Error)
_TIMESTAMP: Final = int(Tag.Timestamp)
_LINK: Final = int(Tag.Link)
_REQ_METHOD: Final = int(Tag.ReqMethod)

# members of an Enum cost a look-up in two tables each time
_PRIORITY_STR: Final = Priority.STR
_PRIORITY_RUSH: Final = Priority.RUSH
_STEP_DONE: Final = Step.DONE
_POST_RELEASED: Final = Post.RELEASED


class RequestDesk:
    """The part of a session that deals with requests."""

    __slots__ = ("_opening", "_opening_at", "_starting", "env", "h2", "sess", "transport", "wrk")

    def __init__(self, transport: Http2Transport, sess: Session) -> None:
        self.transport = transport
        self.env: Env = transport.env
        self.sess = sess
        self.h2: Connection
        self.wrk: Worker | None = None  # the worker that is the session thread now
        self._starting: list[Stream] = []  # made requests of, and not yet given to the pool
        self._opening_at = 0.0  # requests that arrive at one moment have the same first records
        self._opening: Records | None = None

    @property
    def pool(self) -> Pool:
        """Where this session's tasks run."""
        pool = self.sess.pool
        return pool if pool is not None else self.env.pools.any()

    # -- for the connection, on the session thread -----------------------------------------------------------------

    def start(self, stream: Stream, block: HeaderBlock, size: int) -> bool:
        req = self._request(stream, block, size)
        message = req.http
        message.method = block.method
        message.url = block.path
        assert block.headers is not None
        message.headers = block.headers.copy()
        if not req.ws.account(block.size):
            req.log.put(_ERROR, "workspace_client overflow")
            self._drop(stream)
            return False
        if not stream.rx_ended:
            req.body = StreamBody(stream, self._body_timeout, _blocking)
        req.received = block.received
        stream.scheduled = True
        stream.holders = 1
        self._starting.append(stream)
        return True

    def start_all(self) -> None:
        """Give the requests made of what was just received to the pool, all at once; what it refuses is reset."""
        starting = self._starting
        if not starting:
            return
        self._starting = []
        run = self._run
        taken = self.pool.schedule_all([partial(run, stream) for stream in starting], _PRIORITY_STR)
        for stream in starting[taken:]:
            stream.scheduled = False
            stream.holders = 0
            self._drop(stream)
            self.h2.stats.h2_streams_refused += 1
            kill(stream, SE.REFUSED_STREAM, charge=False)

    def abandon_starting(self) -> None:
        """Finish requests that were not given to the pool, because something broke just after they were made."""
        starting, self._starting = self._starting, []
        for stream in starting:
            stream.scheduled = False
            stream.holders = 0
            self._drop(stream)

    def schedule(self, stream: Stream) -> bool:
        """Give a request to the pool. False: it was refused, and the request is finished."""
        stream.scheduled = True
        stream.holders = 1
        if self.pool.schedule(partial(self._run, stream), _PRIORITY_STR):
            return True
        stream.scheduled = False
        stream.holders = 0
        self._drop(stream)
        return False

    def _request(self, stream: Stream, block: HeaderBlock, size: int) -> Request:
        """A request with its log begun, and an empty message."""
        h2 = self.h2
        wrk = self.wrk
        assert wrk is not None
        vxid = wrk.next_vxid()
        log = TaskLog(vxid, CLIENT)
        ws = make_workspace("req", params.workspace_client)
        req = Request(self.env, self.sess, self.transport, vxid, log, ws)
        wrk.tally.req_made += 1
        req.transport_priv = stream
        stream.request = req
        h2.log.put(_LINK, f"req {vxid} rxreq")
        t_open = stream.t_open
        now = h2.now
        req.t_first = t_open
        if t_open == self._opening_at == now:
            opening = self._opening
            if opening is None:
                opening = self._opening = self._make_opening(now)
            log.t_first = log.t_prev = now
            log.put_records(opening)
        else:
            self._opening_at = now
            self._opening = None
            log.begin("req", self.sess.vxid, "rxreq")
            log.start_clock(t_open)
            log.timestamp("Start", t_open)
            log.timestamp("Req", now)
        req.t_req = req.t_prev = now
        req.acct.req_hdrbytes = size
        message = req.http
        message.log = log
        message.first_tag = _REQ_METHOD
        message.ws = ws
        message.max_headers = params.http_max_hdr - FIRST_LINE
        message.proto = "HTTP/2.0"
        return req

    def _make_opening(self, now: float) -> Records:
        moment = f"{now:.6f} 0.000000 0.000000"
        return Records(
            (
                (_BEGIN, f"req {self.sess.vxid} rxreq"),
                (_TIMESTAMP, f"Start: {moment}"),
                (_TIMESTAMP, f"Req: {moment}"),
            )
        )

    def reject(self, stream: Stream, block: HeaderBlock, size: int) -> None:
        req = self._request(stream, block, size)
        if block.complaint is not None and not block.on_connection:
            req.log.put(*block.complaint)
        self._drop(stream)

    def finish(self, stream: Stream) -> None:
        self.transport.finish_request(self._worker(), stream.request)
        stream.request = None

    def _drop(self, stream: Stream) -> None:
        """End a request that will not be run."""
        self.transport.drop_request(self._worker(), stream.request)
        stream.request = None

    def _worker(self) -> Worker:
        wrk = self.wrk or current_worker()
        assert wrk is not None
        return wrk

    def walk_away(self, stream: Stream) -> None:
        req = stream.request
        if req is None or req.waiting_on is None or not self.env.hash.walk_away(req):
            return
        with self.h2.mutex:
            if stream.holders:
                stream.finish_pending = True
                return
        self.finish(stream)
        stream.scheduled = False

    def receive_buffer(self, stream: Stream, size: int) -> ReceiveBuffer | None:
        return self.transport.receive_buffer(size)

    # -- for request threads ---------------------------------------------------------------------------------------

    def _run(self, stream: Stream, wrk: Worker) -> None:
        """Task: run a stream's request."""
        req: Request = stream.request
        try:
            step = self.transport.run_request(wrk, req)
        except Panic:
            raise  # the process ends: not another octet
        except BaseException:
            if stream.taken_by is not wrk:
                stream.async_error = SE.INTERNAL_ERROR
                self._left(wrk, stream, req, True)
            raise
        if stream.taken_by is not wrk:  # else this thread has let go with the response
            self._left(wrk, stream, req, step is _STEP_DONE)

    def _left(self, wrk: Worker, stream: Stream, req: Request, done: bool) -> None:
        """A request thread lets go. The last one finishes what the session thread had to leave."""
        h2 = self.h2
        with h2.mutex:
            stream.holders -= 1
            if not done:
                done = stream.finish_pending and not stream.holders
        if done:
            self.transport.finish_request(wrk, req)
            h2.post(_POST_RELEASED, stream)

    def reembark(self, stream: Stream) -> None:
        """A request that waited for an object, or for its client to take more of a computed body, goes on."""
        h2 = self.h2
        with h2.mutex:
            stream.holders += 1
        if self.pool.schedule(partial(self._run, stream), _PRIORITY_RUSH):
            return
        # the pool is stopping: nothing will ever run again, so let the stream go
        req = stream.request
        if req.pump is not None:
            with h2.mutex:
                stream.holders -= 1
            req.pump.give_up()
            return
        stream.async_error = SE.REFUSED_STREAM
        wrk = current_worker()
        if wrk is not None:
            self._left(wrk, stream, req, True)

    def _body_timeout(self) -> float:
        return self.h2.idle_timeout()


def _blocking() -> Any:
    """Tells this thread's pool that it is going to wait."""
    wrk = current_worker()
    return wrk.blocking() if wrk is not None else contextlib.nullcontext()
