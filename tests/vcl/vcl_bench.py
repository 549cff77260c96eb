"""A cache process small enough to run VCL in: requests, fetches, a log, a host, and no network."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from tests.builders import TaskRecords, make_env, make_request, make_session
from varnishpy.backends.director import Director
from varnishpy.base.workspace import make_workspace
from varnishpy.cache.expire import Expiry
from varnishpy.cache.keys import KeyIndex
from varnishpy.cache.limits import SharedLimits
from varnishpy.cache.objcore import ObjectCore
from varnishpy.cache.objhead import ObjectHead
from varnishpy.http.message import Header, Message
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import BACKEND
from varnishpy.request.busyobj import BusyObject
from varnishpy.request.request import Request
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.stevedore import Stevedore
from varnishpy.vcl.compiler import CompileOptions, compile_vcl
from varnishpy.vcl.context import Ctx
from varnishpy.vcl.loader import Maker, Vcl, load

HEAD = 'vcl 4.1;\nbackend b { .host = "127.0.0.1"; }\n'


class FakeBackend(Director):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_healthy = True
        self.changed = 0.0
        self.life: list[str] = []

    def resolve(self, ctx: Any) -> FakeBackend:
        return self

    def healthy(self, ctx: Any) -> tuple[bool, float]:
        return self.is_healthy, self.changed

    def warm(self) -> None:
        self.life.append("warm")

    def cool(self) -> None:
        self.life.append("cool")

    def release(self) -> None:
        self.life.append("release")


class FakeHost:
    identity = "ident"
    hostname = "host"

    def __init__(self) -> None:
        self.backends: dict[str, FakeBackend] = {}
        self.specs: dict[str, Any] = {}
        self.bans: list[str] = []
        self.calls: list[Any] = []
        self.keys = KeyIndex(Expiry(), list)
        self.limits: SharedLimits | None = None

    def new_backend(self, vcl: Vcl, spec: Any, via: Any) -> FakeBackend:
        self.specs[spec.vcl_name] = spec
        self.backends[spec.vcl_name] = FakeBackend(spec.vcl_name)
        return self.backends[spec.vcl_name]

    def stevedore(self, name: str) -> Stevedore:
        return MallocStevedore(name, 1000)

    def ban(self, spec: str) -> str | None:
        self.bans.append(spec)
        return None if "==" in spec else "Expected comparison operator."

    def drop_bereq_body(self, ctx: Ctx) -> None:
        self.calls.append("drop_bereq_body")

    def rollback(self, ctx: Ctx, which: str) -> None:
        self.calls.append(("rollback", which))

    def cache_req_body(self, ctx: Ctx, size: int) -> int:
        self.calls.append(("cache_req_body", size))
        return size

    def purge(self, ctx: Ctx, ttl: float, grace: float, keep: float) -> int:
        self.calls.append(("purge", ttl, grace, keep))
        return 3

    def add_filters(self, vcl: Vcl, fetch: Mapping[str, Maker], delivery: Mapping[str, Maker]) -> None:
        """Nobody filters here."""

    def shared_limits(self) -> SharedLimits | None:
        return self.limits

    def key_index(self) -> KeyIndex:
        return self.keys

    def forget(self, vcl: Any) -> None:
        """Nothing is kept."""

    def subscribe(self, listener: Any) -> None:
        self.calls.append("subscribe")

    def unsubscribe(self, listener: Any) -> None:
        self.calls.append("unsubscribe")

    def deliver_elsewhere(self, ctx: Ctx, name: str, wrap: Any) -> None:
        self.calls.append(("deliver_elsewhere", name))

    def default_resp_filters(self, ctx: Ctx) -> str:
        return "esi gunzip"

    def default_beresp_filters(self, ctx: Ctx) -> str:
        return "gzip"


def fields(headers: dict[str, str]) -> list[Header]:
    """Header lines of keyword arguments."""
    names = {name: name.replace("_", "-") for name in headers}
    return [(names[name].lower(), names[name], value) for name, value in headers.items()]


class Bench:
    """Compiles, loads and runs a program."""

    def __init__(self, text: str, options: CompileOptions | None = None) -> None:
        if not text.lstrip().startswith("vcl "):
            text = HEAD + text
        self.host = FakeHost()
        self.compiled = compile_vcl(text, "test", options or CompileOptions())
        self.vcl = load("test", self.compiled.python_source, self.host)
        self.log = TaskRecords()
        self.env = make_env()
        self.ctx = Ctx.for_cli(self.vcl)
        self.action = ""
        self.core = ObjectCore(ObjectHead(b"", True), 0)

    def request(self, url: str = "/", workspace: int = 64 * 1024, **headers: str) -> Request:
        sess = make_session(self.env, 99)
        req = make_request(self.env, sess, SimpleNamespace(name="HTTP1"), log=self.log.task(), room=workspace)
        req.vcl = self.vcl
        req.resp = Message(req.log, int(Tag.RespMethod), req.ws, 64)
        req.http = Message(req.log, int(Tag.ReqMethod), req.ws, 64)
        req.http.method, req.http.url = "GET", url
        req.http.headers = fields(headers)
        req.t_prev, req.t_req = 100.0, 90.0
        req.restarts = 2
        req.hash_parts = []
        req.director_hint = self.vcl.default_director
        req.digest = b"\1\2\3\4" * 8
        req.is_hit = True
        return req

    def fetch(self, url: str = "/", **headers: str) -> BusyObject:
        """A fetch of `self.core`."""
        req = self.request(url)
        self.core = core = ObjectCore(ObjectHead(b"", True), 0)
        core.t_origin, core.ttl, core.grace, core.hits = 95.0, 120.0, 10.0, 4
        bo = BusyObject(self.env, 1002, self.log.task(1002, BACKEND), make_workspace("bo", 64 * 1024))
        bo.vcl = self.vcl
        bo.sess = req.sess
        bo.t_first, bo.t_prev, bo.t_resp = 99.0, 100.0, 100.0
        bo.bereq = Message(bo.log, int(Tag.BereqMethod), bo.ws, 64)
        bo.beresp = Message(bo.log, int(Tag.BerespMethod), bo.ws, 64)
        bo.objcore = core
        bo.director_req = self.vcl.default_director
        bo.digest = req.digest
        bo.bereq.method, bo.bereq.url, bo.beresp.status, bo.beresp.reason = "GET", url, 200, "OK"
        bo.beresp.headers = fields(headers)
        return bo

    def run(self, method: str, task: Request | BusyObject) -> str:
        if isinstance(task, BusyObject):
            self.ctx = Ctx.for_fetch(task)
        else:
            self.ctx = Ctx.for_request(task)
        self.action = self.vcl.run(method, self.ctx)
        return self.action

    def recv(self, url: str = "/", **headers: str) -> Request:
        """Run vcl_recv; its action is ``self.action``."""
        req = self.request(url, 64 * 1024, **({"Host": "example.com"} | headers))
        self.run("recv", req)
        return req

    def returns(self, url: str = "/", **headers: str) -> str:
        """Run vcl_recv; its action."""
        self.recv(url, **headers)
        return self.action
