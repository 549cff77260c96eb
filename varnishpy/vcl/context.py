"""The context in which VCL runs: which request or fetch, its messages, its log, and how it ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from varnishpy.base.panic import panic, present
from varnishpy.log import vsl
from varnishpy.log.tag_numbers import VCL_ERROR

if TYPE_CHECKING:
    from varnishpy.base.workspace import Workspace
    from varnishpy.http.message import Message
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.vcl.loader import Vcl
    from varnishpy.vcl.tasks import ClientSession, ClientTask, FetchTask

Method = Callable[["Ctx"], str | None]
T = TypeVar("T")


def module_name(vcl: str) -> str:
    """What the module that a program is compiled to is called."""
    return f"vcl.{vcl}"


class VclFailure(Exception):
    """VCL has failed (``return (fail)``, a VMOD, a limit); the text goes into the log as VCL_Error."""


class Ctx:
    """What the generated code and VMODs work on, good for one run of one method; `renew` makes it fit for the next.

    ``handling`` is set only where a sub called by a VMOD has ended the method.
    """

    __slots__ = (
        "bo",
        "called",
        "failure",
        "handling",
        "http_bereq",
        "http_beresp",
        "http_req",
        "http_req_top",
        "http_resp",
        "messages",
        "method",
        "now",
        "req",
        "selected",
        "sess",
        "syntax",
        "trace",
        "vcl",
        "vsl",
        "ws",
    )

    def __init__(self, vcl: Vcl) -> None:
        self.vcl = vcl
        self.syntax: int = vcl.syntax
        self.req: ClientTask | None = None
        self.bo: FetchTask | None = None
        self.http_req: Message | None = None
        self.http_req_top: Message | None = None
        self.http_resp: Message | None = None
        self.http_bereq: Message | None = None
        self.http_beresp: Message | None = None
        self.vsl: TaskLog | None = None
        self.ws: Workspace | None = None
        self.sess: ClientSession | None = None
        self.now = 0.0
        self.method = ""
        self.handling: str | None = None
        self.failure: str | None = None
        self.selected: tuple[Vcl, str] | None = None
        self.trace = False
        self.called: set[str] | None = None
        self.messages: list[str] | None = None  # where failures go without a log: vcl_init

    @classmethod
    def for_request(cls, req: ClientTask) -> Ctx:
        """For the client side; ``now`` is the request's last timestamp."""
        vcl = req.vcl
        assert vcl is not None
        ctx = cls(vcl)
        ctx._take_request(req)
        return ctx

    def renew(self, req: ClientTask) -> None:
        """Ready for the request's next method; what the last one left is gone."""
        self.http_resp = req.resp
        self.now = req.t_prev
        self.trace = req.vcl_trace
        self.handling = None
        self.failure = None
        self.selected = None
        self.called = None

    @classmethod
    def for_fetch(cls, bo: FetchTask) -> Ctx:
        """For the backend side; ``now`` is the fetch's last timestamp."""
        ctx = cls(present(bo.vcl, "bo->vcl"))
        ctx._take_fetch(bo)
        return ctx

    @classmethod
    def for_pipe(cls, req: ClientTask, bo: FetchTask) -> Ctx:
        """For vcl_pipe, which sees both."""
        ctx = cls(present(req.vcl, "req->vcl"))
        ctx._take_fetch(bo)
        ctx._take_request(req)
        return ctx

    @classmethod
    def for_cli(cls, vcl: Vcl) -> Ctx:
        """For loading, events and discarding: no transaction, failures are collected."""
        ctx = cls(vcl)
        ctx.messages = []
        ctx.now = time.time()
        return ctx

    def _take_request(self, req: ClientTask) -> None:
        self.req = req
        self.http_req = req.http
        self.http_req_top = req.top().http
        self.http_resp = req.resp
        self.vsl = req.log
        self.ws = req.ws
        self.sess = req.session()
        self.now = req.t_prev
        self.trace = req.vcl_trace

    def _take_fetch(self, bo: FetchTask) -> None:
        self.bo = bo
        self.http_bereq = bo.bereq
        self.http_beresp = bo.beresp
        self.vsl = bo.log
        self.ws = bo.ws
        self.sess = bo.session()
        self.now = bo.t_prev
        self.trace = bo.vcl_trace

    def message(self, where: str) -> Message:
        """The message of a header prefix: req, req_top, resp, bereq, beresp, obj, obj_stale."""
        found: Message | None = None
        if where in ("obj", "obj_stale"):
            oc = None
            if where == "obj":
                oc = None if self.req is None else self.req.objcore
            elif self.bo is not None:
                oc = self.bo.stale_oc
            if oc is not None and oc.stobj is not None:
                found = oc.stobj.headers
        else:
            found = getattr(self, f"http_{where}")
        if found is None:
            raise VclFailure(f"{where}.http is not available here")
        return found

    def log(self, tag: int, text: str) -> None:
        """Log into the transaction; without one (vcl_init, events) as the process, but failures go to the CLI."""
        if self.vsl is not None:
            self.vsl.put(tag, text)
        elif tag == VCL_ERROR and self.messages is not None:
            self.messages.append(text)
        else:
            vsl(tag, 0, text)

    def request(self) -> ClientTask:
        """The request that this is part of; raises `VclFailure` where there is none."""
        if self.req is None:
            raise VclFailure("req is not available here")
        return self.req

    def fetch(self) -> FetchTask:
        """The fetch that this is part of; raises `VclFailure` where there is none."""
        if self.bo is None:
            raise VclFailure("bereq is not available here")
        return self.bo

    def session(self) -> ClientSession:
        """The client's session; raises `VclFailure` where there is none."""
        if self.sess is None:
            raise VclFailure("There is no client here")
        return self.sess

    def task(self) -> ClientTask | FetchTask | None:
        """The request (a pipe too is part of it) or fetch that this is part of; ``None`` on the CLI."""
        return self.bo if self.req is None else self.req

    def account(self, text: str) -> str:
        """Charge a string to the workspace; raises `VclFailure` when it is full."""
        if self.ws is not None and not self.ws.account(len(text) + 1):
            raise VclFailure("Workspace overflow")
        return text


class VclSub:
    """A subroutine as a value: what VMODs get as SUB."""

    __slots__ = ("function", "methods", "name")

    def __init__(self, name: str, function: Method, methods: frozenset[str]) -> None:
        self.name = name
        self.function = function
        self.methods = methods

    def check(self, ctx: Ctx) -> str | None:
        """Why it cannot be called from here, or ``None``. A VMOD that kept it for another program is a panic."""
        if self.function.__globals__["__name__"] != module_name(ctx.vcl.name):
            # the name under which Varnish's users know this assertion
            panic(f"Assert error in VPI_Call_Check():\n  Condition(sub {self.name} is of VCL {ctx.vcl.name}) not true.")
        if ctx.method not in self.methods:
            return f'Dynamic call to "sub {self.name}{{}}" not allowed from here'
        if ctx.called is not None and self.name in ctx.called:
            return f'Recursive dynamic call to "sub {self.name}{{}}"'
        return None

    def call(self, ctx: Ctx) -> None:
        """Run it; what it returns ends the calling method, by ``ctx.handling``."""
        reason = self.check(ctx)
        if reason is not None:  # in the words of a call, which are not those of the question
            raise VclFailure(reason.replace("Dynamic call", "call").replace("Recursive dynamic call", "Recursive call"))
        action = run_once(ctx, self.name, self.function)
        if action is not None:
            ctx.handling = action


def run_once(ctx: Ctx, name: str, function: Method) -> str | None:
    """Run a sub, which it must not reach again: what the compiler sees to where no sub is a value."""
    if ctx.called is None:
        ctx.called = set()
    if name in ctx.called:
        raise VclFailure(f'Recursive call to "sub {name}{{}}"')
    ctx.called.add(name)
    try:
        return function(ctx)
    finally:
        ctx.called.discard(name)


_DIGESTS = 4096  # keys remembered
_LONGEST_KEY = 512  # octets of one
_digests: dict[str, bytes] = {}


def digest(parts: list[str]) -> bytes:
    """The hash key (32 octets) of what ``hash_data`` collected; each call ends its data with a NUL."""
    text = "".join(parts)
    found = _digests.get(text)
    if found is None:
        found = hashlib.sha256(text.encode("latin-1")).digest()
        if len(text) <= _LONGEST_KEY:
            if len(_digests) >= _DIGESTS:
                _digests.clear()
            _digests[text] = found
    return found


class PrivateData(dict[object, object]):
    """What a VMOD keeps for a task (PRIV_TASK), a whole ESI tree (PRIV_TOP), a VCL or a call.

    ``on_end`` is called once when that is over.
    """

    __slots__ = ("on_end",)

    def __init__(self) -> None:
        super().__init__()
        self.on_end: Callable[[PrivateData], None] | None = None

    def __bool__(self) -> bool:
        return True

    def find(self, key: object, kind: type[T]) -> T | None:
        """What is kept under that key, if it is of that kind."""
        found = self.get(key)
        return found if isinstance(found, kind) else None

    def of(self, kind: type[T]) -> T:
        """The one thing of a kind that is kept here; made, without arguments, when it is first asked for."""
        found = self.find(kind, kind)
        if found is None:
            self[kind] = found = kind()
        return found


def end_private(store: dict[Hashable, PrivateData] | None) -> None:
    """Let VMODs clean up; an error of one does not keep the others from it."""
    if not store:
        return
    errors: list[Exception] = []
    for private in list(store.values()):
        if private.on_end is not None:
            try:
                private.on_end(private)
            except Exception as error:
                errors.append(error)
    store.clear()
    if errors:
        raise errors[0]


def end_task(task: ClientTask | FetchTask) -> None:
    """The state machines call this when a request or fetch is over."""
    if task.privs:
        end_private(task.privs)
        task.privs = None
