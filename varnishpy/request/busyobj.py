"""The busy object: a fetch from a backend while it runs.

Owned by the worker that runs the backend state machine (``backend.py``). The client request may look at ``objcore.boc``
only, which has its own lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from varnishpy.base import clock
from varnishpy.http.message import Header, Message
from varnishpy.threads.worker import TaskInfo

if TYPE_CHECKING:
    from varnishpy.base.dumptext import DumpText
    from varnishpy.base.workspace import Workspace
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.env import Env
    from varnishpy.request.request import Request
    from varnishpy.request.transport import RequestBody
    from varnishpy.threads.worker import Worker


@dataclass(slots=True)
class BackendAccounting:
    """Octets of one fetch, for ``BereqAcct``."""

    bereq_hdrbytes: int = 0
    bereq_bodybytes: int = 0
    beresp_hdrbytes: int = 0
    beresp_bodybytes: int = 0
    bereq_pieces: int = 0  # in how many the body was sent, for ``VdpAcct``


class BusyObject:
    """A backend fetch. Times are wall-clock seconds, durations seconds."""

    __slots__ = (
        "env", "wrk", "vxid", "log", "ws", "sess", "client_req", "vcl", "privs", "vcl_trace",
        "bereq", "bereq0", "beresp", "bereq_body", "client_identity", "digest",
        "director_req", "director_resp", "backend_conn", "body_reader", "filter_list", "storage_hint",
        "step",
        "connect_timeout", "first_byte_timeout", "between_bytes_timeout", "task_deadline",
        "objcore", "stale_oc", "uncacheable", "is_bgfetch", "is_hitmiss", "is_hitpass", "was_304", "do_pass",

        "do_esi", "do_gzip", "do_gunzip", "do_stream", "retries", "max_retries", "no_retry", "err_code",
        "err_reason", "failed",
        "t_first", "t_prev", "acct", "synth_body",
        "doclose",
        "bereq_filter_list", "transit_buffer", "t_resp",
        # kept by the state machine for itself
        "hop_headers", "stack", "held", "announce", "director_open", "ws_snapshot", "vfp_context", "drop_body",
        "resume", "borrows",
    )  # fmt: skip

    def __init__(self, env: Env, vxid: int, log: TaskLog, ws: Workspace) -> None:
        self.env = env
        self.wrk: Worker | None = None
        self.vxid = vxid
        self.log = log
        self.ws = ws
        self.sess: Any = None
        self.client_req: Request | None = None  # only until REQ_DONE, and only for the request's body
        self.vcl: Any = None
        self.privs: dict[Any, Any] | None = None
        self.vcl_trace = False

        self.bereq = Message()
        self.bereq0 = Message()  # as built from the client's request; what retries and std.rollback go back to
        self.beresp = Message()
        self.bereq_body: RequestBody | None = None
        self.client_identity: str | None = None
        self.digest = b""

        self.director_req: Any = None
        self.director_resp: Any = None
        self.backend_conn: Any = None
        self.body_reader: Any = None
        self.filter_list: str | None = None
        self.storage_hint: Any = None
        self.step = ""
        self.connect_timeout: float | None = None  # None: the backend's, else the parameter's
        self.first_byte_timeout: float | None = None
        self.between_bytes_timeout: float | None = None
        self.task_deadline: float | None = None

        self.objcore: ObjectCore | None = None
        self.stale_oc: ObjectCore | None = None
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
        self.no_retry: str | None = None
        self.err_code = 0
        self.err_reason: str | None = None
        self.failed: str | None = None
        self.t_first = 0.0
        self.t_prev = 0.0
        self.acct = BackendAccounting()
        self.synth_body: list[bytes] = []
        self.doclose: str | None = None
        self.bereq_filter_list: str | None = None  # bereq.filters as VCL set it
        self.transit_buffer: int | None = None  # octets; None: the parameter
        self.t_resp = 0.0  # when the response's headers were complete

        self.resume: Any = None  # has the fetch go on after a pause, see backend.run_fetch
        self.hop_headers: frozenset[Header] = frozenset()
        self.stack: Any = None  # the open fetch processors, see vfp.FetchStack
        self.announce: Callable[[Message], None] | None = None  # takes interim responses for the client
        self.borrows = False  # it runs on the worker of its client's request, which waits for it
        self.held: bytes | None = None  # read already, to see whether more follows
        self.director_open = False  # get_response succeeded and finish is still owed
        self.ws_snapshot = 0
        self.vfp_context: Any = None  # vfp.FetchContext of the running attempt
        self.drop_body = False  # VCL does not want the request's body sent

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
