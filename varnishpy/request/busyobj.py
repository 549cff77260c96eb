"""The busy object: a fetch from a backend while it runs.

Owned by the worker that runs the backend state machine (``backend.py``). The client request may look at ``objcore.boc``
only, which has its own lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.backends.exchange import BackendAccounting
from varnishpy.base import clock
from varnishpy.http.message import Header, Message
from varnishpy.request.sent_body import processed
from varnishpy.threads.worker import TaskInfo
from varnishpy.vcl.tasks import FetchTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from varnishpy.backends.exchange import RequestBody
    from varnishpy.base.dumptext import DumpText
    from varnishpy.base.workspace import Workspace
    from varnishpy.cache.search_rules import SearchKey
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.env import Env
    from varnishpy.request.request import Request
    from varnishpy.request.vfp import FetchContext, FetchStack
    from varnishpy.session.address import SockAddr
    from varnishpy.session.session import Session
    from varnishpy.storage.object import StoredObject
    from varnishpy.threads.worker import Worker
    from varnishpy.tier.node import Ticket


class BusyObject(FetchTask):
    """A backend fetch. Times are wall-clock seconds, durations seconds."""

    __slots__ = (
        "env", "wrk", "sess", "client_req", "bereq0", "search", "step", "max_retries", "failed",
        # kept by the state machine for itself
        "hop_headers", "stack", "held", "director_open", "ws_snapshot", "vfp_context", "drop_body",
        "resume", "borrows",
        "ticket", "skip_tier", "grace_limit", "take_stale", "found_stale",
    )  # fmt: skip

    def __init__(self, env: Env, vxid: int, log: TaskLog, ws: Workspace) -> None:
        self.env = env
        self.wrk: Worker | None = None
        self.vxid = vxid
        self.log = log
        self.ws = ws
        self.sess: Session | None = None
        self.client_req: Request | None = None  # only until REQ_DONE, and only for the request's body
        self.vcl = None
        self.privs = None
        self.vcl_trace = False

        self.bereq = Message()
        self.bereq0 = Message()  # as built from the client's request; what retries and std.rollback go back to
        self.beresp = Message()
        self.bereq_body = None
        self.client_identity = None
        self.digest = b""
        self.search: SearchKey | None = None

        self.director_req = None
        self.director_resp = None
        self.backend_conn = None
        self.body_reader = None
        self.filter_list = None
        self.storage_hint = None
        self.step = ""
        self.connect_timeout = None
        self.first_byte_timeout = None
        self.between_bytes_timeout = None
        self.task_deadline = None

        self.objcore = None
        self.stale_oc = None
        self.uncacheable = False
        self.is_bgfetch = False
        self.is_hitmiss = False
        self.is_hitpass = False
        self.was_304 = False
        self.do_pass = False
        self.do_esi = False
        self.do_gzip = False
        self.do_gunzip = False
        self.do_stream = True
        self.retries = 0
        self.max_retries = 0
        self.no_retry = None
        self.err_code = 0
        self.err_reason = None
        self.failed: str | None = None
        self.t_first = 0.0
        self.t_prev = 0.0
        self.acct = BackendAccounting()
        self.synth_body = []
        self.doclose = None
        self.bereq_filter_list = None
        self.transit_buffer = None
        self.t_resp = 0.0

        self.resume: Callable[[], None] | None = None  # has the fetch go on after a pause, see backend.run_fetch
        self.hop_headers: frozenset[Header] = frozenset()
        self.stack: FetchStack | None = None  # the open fetch processors, see vfp.FetchStack
        self.announce = None
        self.borrows = False  # it runs on the worker of its client's request, which waits for it
        self.held: bytes | None = None  # read already, to see whether more follows
        self.director_open = False  # get_response succeeded and finish is still owed
        self.ws_snapshot = 0
        self.vfp_context: FetchContext | None = None  # vfp.FetchContext of the running attempt
        self.tier = None
        self.ticket: Ticket | None = None  # of the shared tier, if there is one
        self.skip_tier = False  # what it has is not wanted
        self.take_stale = True  # what is stale there will do, for a start
        self.grace_limit = -1.0  # ``req.grace``, negative if VCL has not set it
        self.found_stale = False  # what it had is in grace and in the cache now: the request is to look again
        self.drop_body = False  # VCL does not want the request's body sent

    def session(self) -> Session | None:
        return self.sess

    def request_body(self) -> StoredObject | None:
        return None if self.client_req is None else self.client_req.body_oc

    def client_broke_off(self) -> None:
        if self.client_req is not None:
            self.client_req.doclose = "RX_BODY"

    def sent_body(self) -> RequestBody | None:
        return self.bereq_body if self.bereq_filter_list is None else processed(self)

    def ends(self) -> tuple[tuple[str, int], tuple[str, int]]:
        sess = self.sess
        if sess is None:
            return ("0.0.0.0", 0), ("0.0.0.0", 0)
        return _end(sess.client_ip), _end(sess.server_ip)

    def task_info(self) -> TaskInfo:
        """For the scoreboard."""
        kind = "bgfetch" if self.is_bgfetch else "fetch"
        age = clock.now() - self.t_first
        client = self.sess.client_ip.ip if self.sess is not None else ""
        return TaskInfo(kind, self.step, age, self.vxid, client, f"{self.bereq.method} {self.bereq.url}".strip())

    def panic_dump(self, out: DumpText) -> None:
        """For the panic dump."""
        from varnishpy.request.panic_dump import dump_fetch

        dump_fetch(out, self)


def _end(address: SockAddr) -> tuple[str, int]:
    """An address as PROXY headers carry it; zeros for a Unix socket."""
    ip = address.ip
    return ("0.0.0.0", 0) if not ip or ip[0] in "/@" else (ip, address.port)
