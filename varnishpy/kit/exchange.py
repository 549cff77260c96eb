"""A request or fetch made for one subroutine: real objects, filled from what a test says, on no connection."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from varnishpy import log as vsl
from varnishpy.base.tls_info import TlsInfo
from varnishpy.base.workspace import make_workspace
from varnishpy.cache.objcore import OC_BUSY, OC_HFM, ObjectCore
from varnishpy.cache.objhead import ObjectHead
from varnishpy.http import freshness
from varnishpy.http.dates import format_date
from varnishpy.http.status import reason as reason_phrase
from varnishpy.kit.program import stage
from varnishpy.log import tasklog
from varnishpy.log.record import parse_records
from varnishpy.log.tag_numbers import BEREQ_METHOD, BERESP_METHOD, REQ_METHOD, RESP_METHOD
from varnishpy.log.tasklog import BACKEND, CLIENT, TaskLog
from varnishpy.params import params
from varnishpy.request.busyobj import BusyObject
from varnishpy.request.request import Request
from varnishpy.request.transport import Delivered
from varnishpy.request.via import SERVER, add_via
from varnishpy.session.address import SockAddr
from varnishpy.session.session import Session
from varnishpy.vcl.context import Ctx
from varnishpy.vcl.tasks import ListenInfo

if TYPE_CHECKING:
    from varnishpy.base.workspace import Workspace
    from varnishpy.http.message import Header, Message
    from varnishpy.kit.program import Program
    from varnishpy.storage.boc import Notice
    from varnishpy.storage.source import Source
    from varnishpy.threads.worker import Worker

CLIENT_IP: Final = "198.51.100.7"  # RFC 5737: nobody has them
SERVER_IP: Final = "198.51.100.80"


class NoSocket:
    """The connection of a client that there is none of."""

    def fileno(self) -> int:
        """No descriptor."""
        return -1

    def recv(self, bufsize: int, /) -> bytes:
        """The end."""
        return b""

    def sendmsg(self, buffers: object, /) -> int:
        """Nobody listens."""
        raise BrokenPipeError

    def shutdown(self, how: int, /) -> None:
        """Nothing to shut down."""

    def close(self) -> None:
        """Nothing to close."""


class NoTransport:
    """What a request that nobody sent would be answered through."""

    name = "UNIT"
    line_name = "UNIT"
    pull_may_block = True

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """Never called."""

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        """Nobody waits for it."""
        return Delivered.DONE

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        """Nobody waits for it."""

    def send_100(self, wrk: Worker, req: Request) -> None:
        """Nobody waits for it."""

    def send_interim(self, wrk: Worker, req: Request, notice: Notice) -> None:
        """Nobody hears of it."""

    def fail(self, req: Request, reason: str) -> None:
        """There is nothing to close."""

    def take_readahead(self, req: Request) -> bytes:
        """Nothing was read."""
        return b""

    def reembark(self, req: Request) -> None:
        """Never called: a unit never leaves its thread."""

    def client_gone(self, req: Request) -> bool:
        """It is here."""
        return False

    def panic_dump(self, sess: Session) -> str:
        """Nothing to tell."""
        return ""

    def describe(self, sess: Session) -> dict[str, object]:
        """Nothing to tell."""
        return {}


class _Records:
    """A sink for the log that keeps the octets of batches."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []

    def write_batch(self, data: bytes, records: int, overflow: bool, ahead: bytes = b"") -> None:
        self.batches += [ahead, data]

    def write_record(self, data: bytes) -> None:
        self.batches.append(data)


_LISTEN: Final = ListenInfo("a0", "198.51.100.80:80", "HTTP")
_TRANSPORT: Final = NoTransport()
_SOCKET: Final = NoSocket()


class Exchange:
    """One run of one subroutine: its request or fetch, and its context. Made by `of_client` and `of_fetch`."""

    def __init__(self, program: Program, method: str, given: Mapping[str, object]) -> None:
        self.program = program
        self.method = method
        self._sink = _Records()
        self._given = given
        self.now = float(given.get("now") or time.time())  # type: ignore[arg-type]
        sess = Session(stage().env, stage().pool, _SOCKET, _LISTEN, vsl.next_vxid())
        sess.client_ip = sess.remote_ip = SockAddr(self._text("client_ip", CLIENT_IP), 4711)
        sess.server_ip = sess.local_ip = SockAddr(self._text("server_ip", SERVER_IP), 80)
        if given.get("tls"):
            sess.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "http/1.1", "")
        self.sess = sess
        self.req = self._request()
        self.task: Request | BusyObject = self.req
        self.ctx: Ctx

    def _text(self, name: str, default: str) -> str:
        return str(self._given.get(name, default))

    def _number(self, name: str, default: float = 0) -> float:
        return float(self._given.get(name, default))  # type: ignore[arg-type]

    # -- making ----------------------------------------------------------------------------------------------------

    @classmethod
    def of_client(cls, program: Program, method: str, given: Mapping[str, object]) -> Exchange:
        """For a subroutine of the client's side."""
        made = cls(program, method, given)
        req = made.req
        if method in ("hit", "deliver"):
            req.objcore = made._object(0)
            req.is_hit = made._number("hits") > 0
        if method in ("deliver", "synth"):
            made._response(req)
        if method == "pipe":
            made.ctx = Ctx.for_pipe(req, made._fetch(req))
        else:
            made.ctx = Ctx.for_request(req)
        return made

    @classmethod
    def of_fetch(cls, program: Program, method: str, given: Mapping[str, object]) -> Exchange:
        """For a subroutine of the origin's side."""
        made = cls(program, method, given)
        bo = made._fetch(made.req)
        made.task = bo
        if method != "backend_fetch":
            made._beresp(bo, method)
        made.ctx = Ctx.for_fetch(bo)
        return made

    def _request(self) -> Request:
        vxid = vsl.next_vxid()
        log = TaskLog(vxid, CLIENT)
        workspace = make_workspace("req", params.workspace_client)
        req = Request(stage().env, self.sess, _TRANSPORT, vxid, log, workspace)
        req.wrk = stage().worker
        req.vcl = self.program.vcl
        req.director_hint = self.program.vcl.default_director
        req.t_first = req.t_prev = req.t_req = self.now
        log.start_clock(self.now)
        req.restarts = int(self._number("restarts"))
        req.max_restarts = params.max_restarts
        req.esi_level = int(self._number("esi_level"))
        req.hash_parts = []
        self._fill(req.http, log, REQ_METHOD, workspace)
        return req

    def _fill(self, message: Message, log: TaskLog, first: int, workspace: Workspace) -> None:
        """A request as the test gives it; a Host is there unless it gives one."""
        message.method = self._text("method", "GET")
        message.url = self._text("url", "/")
        message.proto = self._text("proto", "HTTP/1.1")
        message.headers = _headers(self._given.get("headers"))
        if not message.has("host"):
            message.headers.insert(0, ("host", "Host", "example.com"))
        message.attach(log, first, workspace)

    def _fetch(self, req: Request) -> BusyObject:
        vxid = vsl.next_vxid()
        log = TaskLog(vxid, BACKEND)
        bo = BusyObject(stage().env, vxid, log, make_workspace("bo", params.workspace_backend))
        bo.sess = self.sess
        bo.wrk = stage().worker
        bo.vcl = self.program.vcl
        bo.director_req = req.director_hint
        bo.t_first = bo.t_prev = self.now
        bo.retries = int(self._number("retries"))
        bo.max_retries = params.max_retries
        bo.uncacheable = bo.do_pass = bool(self._given.get("uncacheable"))
        log.start_clock(self.now)
        self._fill(bo.bereq, log, BEREQ_METHOD, bo.ws)
        bo.bereq0 = bo.bereq.copy()
        bo.objcore = self._core(OC_BUSY)
        return bo

    def _core(self, flags: int) -> ObjectCore:
        return ObjectCore(ObjectHead(b"\0" * 32, True), flags)

    def _status(self, message: Message) -> None:
        message.proto = "HTTP/1.1"
        message.status = int(self._number("status", 200))
        message.reason = self._text("reason", reason_phrase(message.status % 1000))
        message.headers = _headers(self._given.get("response"))

    def _beresp(self, bo: BusyObject, method: str) -> None:
        beresp = bo.beresp
        self._status(beresp)
        oc = bo.objcore
        assert oc is not None
        oc.t_origin = self.now
        if method == "backend_error":
            bo.err_code = beresp.status
            beresp.add("Date", format_date(self.now))
            beresp.set_field(SERVER)
        else:
            times = freshness.compute(beresp, self.now, params, uncacheable=bo.uncacheable)
            oc.t_origin, oc.ttl, oc.grace, oc.keep = times.t_origin, times.ttl, times.grace, times.keep
            bo.t_resp = self.now
        beresp.attach(bo.log, BERESP_METHOD, bo.ws)

    def _object(self, flags: int) -> ObjectCore:
        oc = self._core(flags | (OC_HFM if self._given.get("uncacheable") else 0))
        transient = stage().storage.transient
        stobj = transient.new_object(oc, 0)
        self._status(stobj.headers)
        stobj.free()  # of its room in the storage: the object itself stays as long as the test looks at it
        oc.boc = None
        oc.t_origin = self.now - self._number("age")
        oc.ttl, oc.grace, oc.keep = self._number("ttl", 120), self._number("grace", 10), self._number("keep")
        oc.hits = int(self._number("hits"))
        oc.xid = vsl.next_vxid()
        return oc

    def _response(self, req: Request) -> None:
        resp = req.resp
        self._status(resp)
        oc = req.objcore
        if oc is not None:
            resp.add("X-Varnish", f"{req.vxid} {oc.xid}" if req.is_hit else str(req.vxid))
            resp.add("Age", str(max(0, int(self.now - oc.t_origin))))
            add_via(resp, req.env, resp.proto, resp.has("via"))
        else:
            req.err_code, req.err_reason = resp.status, resp.reason
            resp.add("Date", format_date(self.now))
            resp.add_field(SERVER)
            resp.add("X-Varnish", str(req.vxid))
        req.t_resp = self.now
        resp.attach(req.log, RESP_METHOD, req.ws)

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Run the subroutine; the action."""
        before = tasklog.set_sink(self._sink)
        try:
            return self.program.vcl.run(self.method, self.ctx)
        finally:
            self.task.log.flush()
            tasklog.set_sink(before)

    def records(self) -> list[tuple[str, str]]:
        """The log: tag and text."""
        found = []
        for data in self._sink.batches:
            found += [(record.name, record.text) for record in parse_records(data, tasklog.layout_in_use())]
        return found


def _headers(given: object) -> list[Header]:
    if given is None:
        return []
    rows = given.items() if isinstance(given, Mapping) else given
    return [(name.lower(), name, value) for name, value in rows]  # type: ignore[attr-defined]
