"""Pipe mode: connect a client with a backend and copy octets both ways until one of them has had enough.

Nothing is understood of what passes; the request counts for the log only. When one side ends, the other is told so by a
half-close and may go on; when both have ended, or nothing moved for ``pipe_timeout``, or ``pipe_task_deadline`` is
over, both connections are closed. Each direction holds at most one buffer, so that a slow reader slows its writer down.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from varnishpy import stats
from varnishpy.backends.backend import Backend
from varnishpy.backends.director import resolve
from varnishpy.backends.errors import FetchError
from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.log.tag_numbers import BEREQ_METHOD, PIPE_ACCT
from varnishpy.params import params
from varnishpy.request import bodystatus
from varnishpy.request.fetch import new_busy_object
from varnishpy.request.finish_fetch import log_end
from varnishpy.request.header_rules import CLOSE, filter_headers
from varnishpy.request.reqbody import take_body
from varnishpy.request.request import Request, Step
from varnishpy.request.trace_context import pass_trace_on
from varnishpy.request.vclstep import client_left
from varnishpy.vcl.context import Ctx, end_task

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.storage.source import Piece
    from varnishpy.threads.worker import Worker

_CHUNK: Final = 65536
_TURNS: Final = 16  # pieces moved one way before the other way, and the clock, are looked at

_count_lock = threading.Lock()
_running = 0


class Stream(Protocol):
    """What a pipe needs of a socket, plain or TLS; non-blocking."""

    def fileno(self) -> int: ...
    def recv(self, bufsize: int, /) -> bytes: ...
    def sendmsg(self, buffers: list[Piece], /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...


@dataclass(slots=True)
class PipeAccounting:
    """Octets, for ``PipeAcct``: the client's head, ours to the backend, and the two directions."""

    req: int = 0
    bereq: int = 0
    client_in: int = 0
    client_out: int = 0


def _enter() -> bool:
    """Take one of ``pipe_sess_max`` places."""
    global _running
    with _count_lock:
        if params.pipe_sess_max and _running >= params.pipe_sess_max:
            return False
        _running += 1
    stats.main.inc("n_pipe")
    return True


def _leave() -> None:
    global _running
    with _count_lock:
        _running -= 1
    stats.main.dec("n_pipe")


def step_pipe(wrk: Worker, req: Request) -> str | Step:
    """vcl_pipe, then copy until the end."""
    wrk.stats.s_pipe += 1
    bo = new_busy_object(wrk, req, "pipe")
    bo.wrk = wrk
    now = clock.now()
    bo.t_first = bo.t_prev = now
    bo.log.start_clock(now)
    bo.log.timestamp("Start", now)
    bereq = bo.bereq
    bereq.attach(bo.log, BEREQ_METHOD, req.ws)
    bereq.method, bereq.url, bereq.proto = req.http.method, req.http.url, req.http.proto
    bereq.headers = filter_headers(req.http.headers, 0, req.hop_headers)
    bereq.log_request()
    bereq.add("X-Varnish", str(req.vxid))
    if params.feature.trace_context:
        pass_trace_on(bereq, bo.log)
    bereq.set_field(CLOSE)
    if req.want100cont:
        bereq.set("Expect", "100-continue")
        req.want100cont = False
    try:
        return _run(wrk, req, bo)
    finally:
        if bo.privs is not None:
            end_task(bo)
        present(bo.vcl, "bo->vcl").rel()
        bo.vcl = None
        bo.director_req = bo.director_resp = None
        log_end(wrk, bo)


def _run(wrk: Worker, req: Request, bo: BusyObject) -> str | Step:
    action = "fail"
    if not req.ws.overflowed and not client_left(wrk, req):
        action = present(req.vcl, "req->vcl").run("pipe", Ctx.for_pipe(req, bo))
        if action == "fail":
            wrk.stats.vcl_fail += 1
    if action == "synth":
        return "synth"
    if action != "pipe":
        return "vclfail"
    now = clock.now()
    req.log.timestamp("Process", now)
    req.t_prev = now
    bo.log.timestamp("Process", now)
    bo.t_prev = now
    if not _enter():
        wrk.stats.pipe_limited += 1
        return "vclfail"
    try:
        if req.body_status is bodystatus.CACHED:
            bo.bereq_body = take_body(req, bo.log)  # read already: it goes out with the head
        else:
            req.body_status = bodystatus.NO_BODY
        req.doclose = _pipe(wrk, req, bo)
    finally:
        _leave()
    return Step.DONE


def _pipe(wrk: Worker, req: Request, bo: BusyObject) -> str:
    """Connect, send the request, copy; the SessClose reason."""
    req.settle()
    acct = PipeAccounting(req=req.acct.req_hdrbytes)
    req.acct.req_hdrbytes = 0
    req.res_pipe = True
    why = "TX_ERROR"
    backend = resolve(bo.director_req, Ctx.for_pipe(req, bo), bo.log)
    bo.director_resp = backend
    if backend is not None:
        try:
            upstream = backend.open_pipe(wrk, bo)
        except FetchError:
            upstream = None  # logged by the backend
        if upstream is not None:
            try:
                upstream.sock.setblocking(False)
                _timestamp(req, "Pipe")
                acct.bereq = bo.acct.bereq_hdrbytes
                acct.client_in = bo.acct.bereq_bodybytes
                early = _take_early(req)
                deadline = bo.task_deadline if bo.task_deadline is not None else params.pipe_task_deadline
                ends = clock.NEVER if deadline <= 0 else req.sess.t_idle + deadline
                left = ends - clock.now() if ends != clock.NEVER else ends
                splice = Splice(req.sess.sock, upstream.sock, bytes(upstream.buf), acct)
                with wrk.blocking():
                    why = splice.run(early, clock.mono() + left)
                _timestamp(req, "PipeSess")
            finally:  # whatever happened, the backend has its place back
                bo.doclose = why
                backend.finish(wrk, bo)
    req.log.put(PIPE_ACCT, f"{acct.req} {acct.bereq} {acct.client_in} {acct.client_out}")
    counters = wrk.stats
    counters.s_pipe_hdrbytes += acct.req
    counters.s_pipe_in += acct.client_in
    counters.s_pipe_out += acct.client_out
    if isinstance(backend, Backend):
        backend.charge_pipe(acct.bereq, acct.client_in, acct.client_out)
    return why


def _timestamp(req: Request, label: str) -> None:
    now = clock.now()
    req.log.timestamp(label, now)
    req.t_prev = now


def _take_early(req: Request) -> bytes:
    """What the client sent behind its request head, and the transport has read already."""
    return req.transport.take_readahead(req)


def _unsent(sink: Stream) -> int:
    """Octets that TLS has taken and not yet written."""
    return getattr(sink, "unsent", 0)


class _Way:
    """One direction: a buffer of octets read and not yet written."""

    __slots__ = ("count", "ended", "held", "sink", "source")

    def __init__(self, source: Stream, sink: Stream) -> None:
        self.source = source
        self.sink = sink
        self.held: bytes = b""
        self.ended = False  # nothing more will be read
        self.count = 0

    def done(self) -> bool:
        return self.ended and not self.held


class Splice:
    """Copies between two sockets; see the module text."""

    __slots__ = ("_acct", "_inward", "_outward")

    def __init__(self, client: Stream, backend: Stream, early: bytes, acct: PipeAccounting) -> None:
        self._acct = acct
        self._inward = _Way(client, backend)
        self._outward = _Way(backend, client)
        self._outward.held = early  # came along with something the backend sent before

    def run(self, early: bytes, deadline: float) -> str:
        """Copy until the end.

        :param early: octets of the client that were read before
        :param deadline: monotonic
        :returns: the SessClose reason
        """
        self._inward.held = early
        ways = (self._inward, self._outward)
        why = "TX_PIPE"
        while True:
            intact = [self._move(way) for way in ways]
            if not all(intact) or all(way.done() for way in ways):
                break
            timeout = params.pipe_timeout or clock.NEVER
            timeout = min(timeout, deadline - clock.mono())
            if timeout <= 0 or not self._wait(timeout):
                why = "RX_TIMEOUT"
                break
        self._count()
        return why

    def _count(self) -> None:
        self._acct.client_in = self._inward.count
        self._acct.client_out = self._outward.count

    def _wait(self, timeout: float) -> bool:
        poll = select.poll()
        wanted: dict[int, int] = {}
        for way in (self._inward, self._outward):
            if way.held or _unsent(way.sink):
                wanted[way.sink.fileno()] = wanted.get(way.sink.fileno(), 0) | select.POLLOUT
            elif not way.ended:
                wanted[way.source.fileno()] = wanted.get(way.source.fileno(), 0) | select.POLLIN
        for fd, events in wanted.items():
            poll.register(fd, events)
        return bool(poll.poll(None if timeout == clock.NEVER else max(1, int(timeout * 1000))))

    def _move(self, way: _Way) -> bool:
        """Move what can be moved without waiting; False when the pipe is broken."""
        try:
            for _ in range(_TURNS):
                if _unsent(way.sink) and not way.sink.flush():  # type: ignore[attr-defined]
                    return True
                if way.held:
                    sent = way.sink.sendmsg([way.held])
                    way.count += sent
                    way.held = way.held[sent:]
                    if way.held:
                        return True
                if way.ended:
                    return True
                data = way.source.recv(_CHUNK)
                if not data:
                    way.ended = True
                    with contextlib.suppress(OSError):
                        way.sink.shutdown(socket.SHUT_WR)
                    return True
                way.held = data
            return True
        except BlockingIOError:
            return True
        except OSError:
            # reset, or gone: what comes the other way has nobody to go to, or nobody it could come from
            return False
