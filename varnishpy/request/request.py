"""The client request: what one task works on from the first byte of a request to the last of its response.

A request is owned by one task at a time: the worker that runs its state machine, or, while it waits, the waiting list
or transport it was handed to. The object is plain data; the steps stand in ``client.py``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.http.message import Header, Message
from varnishpy.request.bodystatus import NO_BODY, BodyStatus
from varnishpy.threads.worker import TaskInfo
from varnishpy.vcl.tasks import ClientTask

if TYPE_CHECKING:
    from varnishpy.base.dumptext import DumpText
    from varnishpy.base.workspace import Workspace
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.cache.search_rules import SearchKey
    from varnishpy.h2.stream import Stream
    from varnishpy.http.received_head import ReceivedHead
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.env import Env
    from varnishpy.request.transport import RequestBody, Transport
    from varnishpy.request.vdp import DeliveryProcessor, Pump
    from varnishpy.session.session import Session
    from varnishpy.storage.boc import BusyObjectControl
    from varnishpy.storage.object import StoredObject
    from varnishpy.storage.prepared import Prepared
    from varnishpy.vcl.context import Ctx
    from varnishpy.vcl.loader import Vcl


class Step(Enum):
    """How a run of the client state machine ended."""

    DONE = "done"  # the response is delivered (or never will be): the transport may go on
    DISEMBARK = "disembark"  # the request waits elsewhere and has no thread; it will be re-embarked


# plain constants for code that runs for each request: members of an Enum cost two look-ups each time
STEP_DONE: Final = Step.DONE
STEP_DISEMBARK: Final = Step.DISEMBARK


class Accounting:
    """Octets of one request, for ``ReqAcct``: header and body, received and sent.

    ``resp_pieces`` says in how many pieces the body came to the transport, for ``VdpAcct``.
    """

    __slots__ = ("req_bodybytes", "req_hdrbytes", "resp_bodybytes", "resp_hdrbytes", "resp_pieces")

    def __init__(self) -> None:
        self.req_hdrbytes = 0
        self.req_bodybytes = 0
        self.resp_hdrbytes = 0
        self.resp_bodybytes = 0
        self.resp_pieces = 0


class Request(ClientTask):
    """A client request. Times are wall-clock seconds; durations are seconds; ``ttl < 0`` is expired."""

    __deletable__ = ("topreq",)  # for the compiler

    __slots__ = (
        # where it lives
        "env", "sess", "transport", "stream", "topreq",
        # messages
        "received", "http0", "prepared", "body", "want100cont",
        # VCL
        "max_restarts", "ctx",
        # lookup
        "search", "stale_oc", "synth_stored", "boc", "found_stale",
        # progress
        "step", "doclose", "res_esi", "res_pipe", "t_first", "acct",
        # kept by the state machine for itself
        "hop_headers", "body_status", "delivering", "vcl0", "req_reset", "processors", "pump", "ws_snapshot",
        "started", "contained",
    )  # fmt: skip

    def __init__(self, env: Env, sess: Session, transport: Transport, vxid: int, log: TaskLog, ws: Workspace) -> None:
        self.env = env
        self.sess = sess
        self.transport = transport
        self.stream: Stream | None = None  # of HTTP/2, from its head until the request is over
        self.wrk = None
        self.vxid = vxid
        self.log = log
        self.ws = ws
        self.topreq: Request = self
        self.esi_level = 0

        self.http = http = Message()  # req.*: what VCL sees and changes
        self.received: ReceivedHead | None = None  # what the transport knows of the head
        self.http0 = http  # as received, from the first step on; what restarts, std.rollback and pipe go back to
        self.resp = Message()  # resp.*
        self.prepared: Prepared | None = None  # of the object that the response was made of
        self.body: RequestBody | None = None
        self.want100cont = False
        self.synth_body = []
        self.filter_list = None

        self.vcl = None
        self.restarts = 0
        self.max_restarts = 0
        self.director_hint = None
        self.client_identity = None
        self.storage_hint = None
        self.privs = None
        self.err_code = 0
        self.err_reason = None
        self.vcl_trace = False
        self.ctx: Ctx | None = None  # the context of the VCL methods run so far

        self.digest = b""
        self.search: SearchKey | None = None  # how it was made, with feature +no_vary_search
        self.hash_parts = []
        self.hash_always_miss = False
        self.hash_ignore_busy = False
        self.hash_ignore_vary = False
        self.found_stale = False  # in the shared tier
        self.is_hit = False
        self.is_hitmiss = False
        self.is_hitpass = False
        self.was_stale = False
        self.other_variant = False
        self.hitmiss_info = None
        self.objcore = None
        self.stale_oc: ObjectCore | None = None
        self.body_oc = None
        self.synth_stored: StoredObject | None = None  # the room that a synthetic body takes
        self.boc: BusyObjectControl | None = None
        self.waiting_on = None
        self.before_wait = None
        self.d_ttl = -1.0
        self.d_grace = -1.0
        self.catflap = None

        self.step = ""
        self.doclose: str | None = None  # the SessClose reason if the connection must close after this response
        self.res_esi = False
        self.res_pipe = False
        self.t_first = 0.0
        self.t_prev = 0.0
        self.t_req = 0.0
        self.t_resp = 0.0
        self.acct = Accounting()

        self.hop_headers: frozenset[Header] = frozenset()  # headers of req.http that its Connection named
        self.body_status: BodyStatus = NO_BODY
        self.delivering = False  # a response was handed to the transport, or tried to
        self.late100cont = False
        self.disable_esi = False  # resp.do_esi = false
        self.req_filter_list = None
        self.vcl0: Vcl | None = None  # the VCL that handed over with return (vcl(...)); of the top request
        self.req_reset = False  # the client was found gone at a VCL step
        self.processors: list[DeliveryProcessor] = []  # open delivery processors, storage side first
        self.pump: Pump | None = None  # what computes the body while the transport sends it, see vdp.Pump
        self.ws_snapshot = 0
        self.started = False  # the state machine has taken the request over from the transport
        self.contained = False  # a bug was contained once; a second one gives up

    def computes_body(self) -> bool:
        return bool(self.processors)

    def body_to_come(self) -> bool:
        return self.body_status.available == 1

    def session(self) -> Session:
        return self.sess

    def top(self) -> Request:
        return self.topreq

    def reembark(self) -> None:
        self.transport.reembark(self)

    def task_info(self) -> TaskInfo:
        """For the scoreboard."""
        request = f"{self.http.method} {self.http.url}"
        kind = f"{self.transport.name} request"
        sess = self.sess
        return TaskInfo(kind, self.step, clock.now() - self.t_req, self.vxid, sess.client_ip.ip, request, sess.vxid)

    def panic_dump(self, out: DumpText) -> None:
        """For the panic dump."""
        from varnishpy.request.panic_dump import dump_request

        dump_request(out, self)
