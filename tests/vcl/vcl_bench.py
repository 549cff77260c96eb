"""A cache process small enough to run VCL in: requests, fetches, a log, a host, and no network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from varnishpy.base.workspace import make_workspace
from varnishpy.cache.expire import Expiry
from varnishpy.cache.keys import KeyIndex
from varnishpy.http.message import Message
from varnishpy.log.tags import Tag
from varnishpy.vcl.compiler import CompileOptions, compile_vcl
from varnishpy.vcl.context import Ctx
from varnishpy.vcl.loader import Vcl, load
from varnishpy.vcl.values import SockAddr

HEAD = 'vcl 4.1;\nbackend b { .host = "127.0.0.1"; }\n'


class Log:
    """Keeps records as (tag name, text)."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str]] = []

    def put(self, tag: int, text: str) -> None:
        self.records.append((Tag(tag).name, text))

    def timestamp(self, label: str, now: float) -> None:
        self.records.append(("Timestamp", label))

    def texts(self, tag: str) -> list[str]:
        return [text for name, text in self.records if name == tag]


class FakeBackend:
    def __init__(self, name: str) -> None:
        self.vcl_name = name
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

    def new_backend(self, vcl: Vcl, spec: Any, via: Any) -> FakeBackend:
        self.specs[spec.vcl_name] = spec
        self.backends[spec.vcl_name] = FakeBackend(spec.vcl_name)
        return self.backends[spec.vcl_name]

    def stevedore(self, name: str) -> Any:
        return SimpleNamespace(ident=name, free_space=1000, used_space=24, happy=True)

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

    def add_filters(self, vcl: Any, fetch: dict[str, Any], delivery: dict[str, Any]) -> None:
        """Nobody filters here."""

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


class Bench:
    """Compiles, loads and runs a program."""

    def __init__(self, text: str, options: CompileOptions | None = None) -> None:
        if not text.lstrip().startswith("vcl "):
            text = HEAD + text
        self.host = FakeHost()
        self.compiled = compile_vcl(text, "test", options or CompileOptions())
        self.vcl = load("test", self.compiled.python_source, self.host)
        self.log = Log()
        self.ctx = Ctx(None)

    def request(self, url: str = "/", workspace: int = 64 * 1024, **headers: str) -> Any:
        """A request as a session would have received it; ``workspace`` octets of its own."""
        return self._request(url, workspace, headers)

    def _request(self, url: str, workspace: int, headers: dict[str, str]) -> Any:
        ws = make_workspace("req", workspace)
        address = SockAddr("192.0.2.7", 4711)
        listen = SimpleNamespace(name="a0", endpoint=":80", is_uds=False)
        sess = SimpleNamespace(
            client_ip=address,
            remote_ip=address,
            server_ip=SockAddr("127.0.0.1", 80),
            local_ip=SockAddr("127.0.0.1", 80),
            listen=listen,
            vxid=99,
            timeout_idle=None,
            timeout_linger=None,
            send_timeout=None,
            idle_send_timeout=None,
            proxy=None,
            tls=None,
            ws=ws,
        )
        req = SimpleNamespace(
            vcl=self.vcl,
            http=Message(self.log, int(Tag.ReqMethod), ws, 64),
            resp=Message(self.log, int(Tag.RespMethod), ws, 64),
            log=self.log,
            ws=ws,
            sess=sess,
            t_prev=100.0,
            t_req=90.0,
            t_resp=0.0,
            vcl_trace=False,
            restarts=2,
            esi_level=0,
            err_code=0,
            err_reason=None,
            privs=None,
            vxid=1001,
            hash_parts=[],
            synth_body=[],
            director_hint=self.vcl.default_director,
            client_identity=None,
            disable_esi=False,
            filter_list=None,
            req_filter_list=None,
            d_ttl=-1.0,
            d_grace=-1.0,
            digest=b"\1\2\3\4" * 8,
            hash_always_miss=False,
            hash_ignore_busy=False,
            hash_ignore_vary=False,
            is_hitmiss=False,
            is_hitpass=False,
            is_hit=True,
            storage_hint=None,
            transport=SimpleNamespace(name="HTTP1"),
            objcore=None,
            catflap=None,
            late100cont=False,
            wrk=None,
        )
        req.topreq = req
        req.http.method, req.http.url = "GET", url
        for name, value in headers.items():
            name = name.replace("_", "-")
            req.http.headers.append((name.lower(), name, value))
        return req

    def fetch(self, url: str = "/", **headers: str) -> Any:
        req = self.request(url)
        ws = make_workspace("bo", 64 * 1024)
        core = SimpleNamespace(ttl=120.0, grace=10.0, keep=0.0, t_origin=95.0, hits=4, flags=0)
        bo = SimpleNamespace(
            vcl=self.vcl,
            log=self.log,
            ws=ws,
            sess=req.sess,
            t_prev=100.0,
            t_first=99.0,
            t_resp=100.0,
            vcl_trace=False,
            privs=None,
            bereq=Message(self.log, int(Tag.BereqMethod), ws, 64),
            beresp=Message(self.log, int(Tag.BerespMethod), ws, 64),
            objcore=core,
            stale_oc=None,
            uncacheable=False,
            do_pass=False,
            do_esi=False,
            do_gzip=False,
            do_gunzip=False,
            do_stream=True,
            filter_list=None,
            bereq_filter_list=None,
            transit_buffer=None,
            connect_timeout=None,
            first_byte_timeout=None,
            between_bytes_timeout=None,
            task_deadline=None,
            no_retry=None,
            retries=0,
            director_req=self.vcl.default_director,
            director_resp=None,
            vxid=1002,
            err_code=0,
            err_reason=None,
            synth_body=[],
            storage_hint=None,
            client_identity=None,
            digest=req.digest,
            was_304=False,
            is_bgfetch=False,
            is_hitmiss=False,
            is_hitpass=False,
            backend_conn=None,
        )
        bo.bereq.method, bo.bereq.url, bo.beresp.status, bo.beresp.reason = "GET", url, 200, "OK"
        for name, value in headers.items():
            name = name.replace("_", "-")
            bo.beresp.headers.append((name.lower(), name, value))
        return bo

    def run(self, method: str, task: Any) -> str:
        self.ctx = Ctx.for_fetch(task) if method.startswith("backend") else Ctx.for_request(task)
        return self.vcl.run(method, self.ctx)

    def recv(self, url: str = "/", **headers: str) -> Any:
        """Run vcl_recv; the request, with the action as ``action``."""
        req = self._request(url, 64 * 1024, {"Host": "example.com", **headers})
        req.action = self.run("recv", req)
        return req
