"""A small cache process for the state machines: real cache, storage, pools and VCL; scripted backend and client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from tests.builders import make_env, make_session, make_worker
from tests.waiting import wait_for
from varnishpy import log as vsl
from varnishpy.backends.connection import Connection
from varnishpy.backends.director import Director
from varnishpy.backends.errors import FetchError
from varnishpy.base import clock
from varnishpy.base.workspace import make_workspace
from varnishpy.http.message import Message
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import CLIENT, TaskLog
from varnishpy.params import params
from varnishpy.request import bereq, filters, reqbody, rollback
from varnishpy.request.client import run_request
from varnishpy.request.finish import finish_request
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import BodyError, Delivered
from varnishpy.storage.config import StorageSet, parse_storage
from varnishpy.storage.source import END, Source, SourceError
from varnishpy.threads.pool import Priority
from varnishpy.threads.poolset import PoolSet
from varnishpy.vcl.compiler import CompileOptions, compile_vcl
from varnishpy.vcl.registry import VclRegistry

DEADLINE = 4.0


class Reader:
    """A backend's body: a list of pieces; an exception in it is raised, an event waited for."""

    def __init__(self, parts: list[Any], kind: str, length: int) -> None:
        self.parts = list(parts)
        self.kind = kind
        self.length = length
        self.octets = 0

    @property
    def complete(self) -> bool:
        return not self.parts

    def moved_to(self, wrk: Any) -> None:
        """Says nothing to the pool when it waits."""

    def is_at_hand(self) -> bool:
        return not self.parts or not isinstance(self.parts[0], threading.Event) or self.parts[0].is_set()

    def read(self, limit: int) -> bytes:
        data = self._next(limit)
        self.octets += len(data)
        return data

    def _next(self, limit: int) -> bytes:
        while self.parts:
            part = self.parts.pop(0)
            if isinstance(part, threading.Event):
                assert part.wait(DEADLINE)
            elif isinstance(part, Exception):
                raise part
            elif part:
                if len(part) > limit:
                    self.parts.insert(0, part[limit:])
                return bytes(part[:limit])
        return b""


class Answer:
    """What the origin says to one request."""

    def __init__(
        self,
        body: bytes | list[Any] = b"",
        status: int = 200,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        kind: str | None = None,
        length: int | None = None,
        gate: threading.Event | None = None,
        proto: str = "HTTP/1.1",
        interim: list[tuple[int, dict[str, str]]] | None = None,
    ) -> None:
        self.proto = proto
        self.interim = interim or []
        self.parts = [body] if isinstance(body, bytes) else body
        self.status = status
        self.headers = list((headers or {}).items()) if not isinstance(headers, list) else headers
        plain = isinstance(body, bytes)
        self.kind = kind or ("none" if status in (204, 304) else "length" if plain else "chunked")
        self.length = length if length is not None else len(body) if plain and self.kind == "length" else -1
        self.gate = gate


class Origin(Director):
    """A backend that answers from a script: by URL, each list item once, the last one for ever."""

    type = "backend"

    def __init__(self) -> None:
        super().__init__("default")
        self.script: dict[str, list[Any]] = {}
        self.requests: list[Message] = []
        self.bodies: list[bytes] = []
        self.closed: list[str | None] = []
        self.asked = threading.Condition()
        self.upstream: Connection | None = None  # for a pipe

    def open_pipe(self, wrk: Any, bo: Any) -> Connection:
        return self.upstream or super().open_pipe(wrk, bo)

    def on(self, url: str, *answers: Any) -> None:
        self.script[url] = list(answers)

    def get_response(self, wrk: Any, bo: Any) -> None:
        body = b""
        if bo.bereq_body is not None:
            while True:
                piece = bo.bereq_body.read(65536)
                if not piece:
                    break
                body += piece
        bo.acct.bereq_bodybytes += len(body)
        seen = Message()
        seen.copy_from(bo.bereq)
        with self.asked:
            self.requests.append(seen)
            self.bodies.append(body)
            url = bo.bereq.url
            answers = self.script.get(url) or self.script.get(url.partition("?")[0]) or [Answer(status=404)]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.asked.notify_all()
        if isinstance(answer, FetchError):
            bo.log.put(Tag.FetchError, str(answer))
            raise answer
        if answer.gate is not None:
            with wrk.blocking():
                assert answer.gate.wait(DEADLINE)
        for status, fields in answer.interim:
            if bo.announce is not None:
                early = Message()
                early.status = status
                early.headers = [(name.lower(), name, value) for name, value in fields.items()]
                bo.announce(early)
        bo.beresp.proto = answer.proto
        bo.beresp.status = answer.status
        bo.beresp.reason = "OK"
        for name, value in answer.headers:
            bo.beresp.headers.append((name.lower(), name, value))
        if answer.length >= 0 and answer.kind == "length":
            bo.beresp.headers.append(("content-length", "Content-Length", str(answer.length)))
        bo.beresp.log_response()
        none = bo.bereq.method == "HEAD"
        bo.body_reader = Reader([] if none else answer.parts, "none" if none else answer.kind, answer.length)

    def finish(self, wrk: Any, bo: Any) -> None:
        self.closed.append(bo.doclose)

    def wait_requests(self, count: int) -> None:
        with self.asked:
            assert self.asked.wait_for(lambda: len(self.requests) >= count, DEADLINE)


class Body:
    """A client's request body."""

    filter_name = "V1F_STRAIGHT"

    def __init__(self, parts: list[Any], length: int) -> None:
        self.parts = list(parts)
        self.length = length
        self.discarded = False

    def read(self, limit: int) -> bytes:
        if not self.parts:
            return b""
        part = self.parts.pop(0)
        if isinstance(part, Exception):
            raise part
        assert len(part) <= limit
        return bytes(part)

    def discard(self) -> bool:
        self.discarded = True
        try:
            while self.read(1 << 20):
                pass
        except BodyError:
            return False
        return True


class Client:
    """A transport that keeps what it is given.

    ``taking`` makes it send by itself, on a thread of its own, as HTTP/2 does.
    """

    name = "TEST"

    def __init__(self, cache: Cache, taking: bool = False) -> None:
        self.cache = cache
        self.taking = taking
        self.pull_may_block = not taking
        self.done = threading.Event()
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.error: str | None = None
        self.minimal: list[int] = []
        self.interim: list[tuple[int, list[Any]]] = []
        self.gone = False
        self.req: Request | None = None
        self.started = threading.Event()
        self.hold: threading.Event | None = None
        self.failed: str | None = None
        self.doclose: str | None = None
        self.close_early = False

    def send(self, req: Request) -> Client:
        self.req = req
        assert self.cache.env.pools.any().schedule(self._task(req), Priority.REQ)
        return self

    def _task(self, req: Request) -> Callable[[Any], None]:
        def task(wrk: Any) -> None:
            if run_request(wrk, req) is Step.DONE:
                self._end(wrk, req)

        return task

    def _end(self, wrk: Any, req: Request) -> None:
        self.doclose = req.doclose
        finish_request(wrk, req)
        self.doclose = req.doclose
        self.done.set()

    def wait(self) -> Client:
        assert self.done.wait(DEADLINE), f"no response; step {self.req.step if self.req else '?'}"
        return self

    # -- the transport ---------------------------------------------------------------------------------------------

    def deliver(self, wrk: Any, req: Request, source: Source | None) -> Delivered:
        self.status = req.resp.status
        self.reason = req.resp.reason
        self.headers = {lname: value for lname, _, value in req.resp.headers}
        req.acct.resp_hdrbytes += req.resp.size()
        self.started.set()
        if self.taking:
            threading.Thread(target=self._send, args=(req, source)).start()
            return Delivered.TAKEN
        if source is not None:
            self._pull(req, source)
        return Delivered.DONE

    def _send(self, req: Request, source: Source | None) -> None:
        if source is not None:
            self._pull(req, source)
        self._end(make_worker(), req)

    def _pull(self, req: Request, source: Source) -> None:
        parts = []
        try:
            while not self.close_early:
                if self.hold is not None:
                    assert self.hold.wait(DEADLINE)
                piece = source.pull_wait(1000, lambda: DEADLINE)
                if piece is END:
                    break
                parts.append(bytes(piece))  # type: ignore[arg-type]
                self.body = b"".join(parts)
        except SourceError as exc:
            self.error = str(exc)
            req.doclose = req.doclose or "TX_ERROR"
        req.acct.resp_bodybytes += len(self.body)
        source.close()

    def minimal_response(self, wrk: Any, req: Request, status: int) -> None:
        self.minimal.append(status)
        if status >= 200:
            self.status = status

    def send_interim(self, wrk: Any, req: Request, notice: Any) -> None:
        self.interim.append((notice.status, notice.fields))

    def send_100(self, wrk: Any, req: Request) -> None:
        self.minimal.append(100)

    def fail(self, req: Request, reason: str) -> None:
        self.failed = reason

    def reembark(self, req: Request) -> None:
        assert self.cache.env.pools.any().schedule(self._task(req), Priority.RUSH)

    def client_gone(self, req: Request) -> bool:
        return self.gone


class Host:
    """Offers VCL the scripted origin as every backend."""

    identity = "varnishpy-test"
    hostname = "localhost"

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def new_backend(self, vcl: Any, spec: Any, via: Any) -> Any:
        return self._cache.origin

    def stevedore(self, name: str) -> Any:
        return self._cache.env.stevedores.get(name)

    def ban(self, spec: str) -> str | None:
        return "no bans here"

    def drop_bereq_body(self, ctx: Any) -> None:
        bereq.drop_body(ctx.bo)

    def rollback(self, ctx: Any, which: str) -> None:
        if which == "req":
            rollback.rollback_request(ctx.req.wrk, ctx.req)
        else:
            rollback.rollback_fetch(ctx.bo)

    def cache_req_body(self, ctx: Any, size: int) -> int:
        return reqbody.cache_body(ctx.req, size)

    def purge(self, ctx: Any, ttl: float, grace: float, keep: float) -> int:
        return int(ctx.req.env.hash.purge(ctx.req.wrk, ctx.req.digest, ctx.now, ttl, grace, keep))

    def add_filters(self, vcl: Any, fetch: Mapping[str, Any], delivery: Mapping[str, Any]) -> None:
        """Nobody filters here."""

    def forget(self, vcl: Any) -> None:
        """Nothing is kept."""

    def subscribe(self, listener: Callable[[str, Any], None]) -> None:
        """Nobody subscribes here."""

    def unsubscribe(self, listener: Callable[[str, Any], None]) -> None:
        """Nobody subscribed."""

    def deliver_elsewhere(self, ctx: Any, name: str, wrap: Any) -> None:
        raise NotImplementedError

    def shared_limits(self) -> Any:
        return self._cache.env.tier

    def key_index(self) -> Any:
        return self._cache.env.hash.keys

    def default_resp_filters(self, ctx: Any) -> str:
        return filters.default_delivery_filters(ctx.req)

    def default_beresp_filters(self, ctx: Any) -> str:
        return filters.default_fetch_filters(ctx.bo)


class Cache:
    """The process."""

    def __init__(self) -> None:
        self.storage = StorageSet(parse_storage(["s0=malloc,64m"]))
        self.env = make_env(PoolSet())
        self.session = make_session(self.env, client="192.0.2.1", server="192.0.2.9")
        self.env.run_request, self.env.finish_request = run_request, finish_request
        self.storage.open(self.env.hash)
        self.env.default_stevedore = self.storage.default
        self.env.transient = self.storage.transient
        self.env.next_stevedore = self.storage.next
        self.origin = Origin()
        self.vcls = self.env.vcls = VclRegistry(Host(self))
        self.env.pools.start()
        self.number = 0
        self.labels: list[str] = []
        self.clients: list[Client] = []
        self.vcl()

    def vcl(self, text: str = "", use: bool = True, label: str | None = None) -> None:
        self.number += 1
        name = f"v{self.number}"
        if "backend " not in text:
            text = 'backend default { .host = "127.0.0.1"; }\n' + text
        source = "vcl 4.1;\n" + text
        self.vcls.load(name, compile_vcl(source, name, CompileOptions(labels=tuple(self.labels))).python_source)
        if label is not None:
            self.vcls.label(label, name)
            self.labels.append(label)
        elif use:
            self.vcls.use(name)

    def request(
        self,
        url: str = "/",
        method: str = "GET",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: Body | None = None,
        taking: bool = False,
        proto: str = "HTTP/1.1",
    ) -> tuple[Client, Request]:
        """A request not yet sent."""
        client = Client(self, taking)
        vxid = vsl.next_vxid()
        log = TaskLog(vxid, CLIENT)
        ws = make_workspace("req", params.workspace_client)
        req = Request(self.env, self.session, client, vxid, log, ws)  # type: ignore[arg-type]
        log.begin("req", 1, "rxreq")
        now = clock.now()
        req.t_first = req.t_prev = req.t_req = now
        log.start_clock(now)
        log.timestamp("Start", now)
        http = req.http
        http.method, http.url, http.proto = method, url, proto
        http.ws, http.max_headers = ws, params.http_max_hdr
        given = list(headers.items()) if isinstance(headers, dict) else headers or []
        if not any(name.lower() == "host" for name, _ in given):
            given = [("Host", "example.com"), *given]
        http.headers = [(name.lower(), name, value) for name, value in given]
        req.body = body
        self.clients.append(client)
        return client, req

    def get(self, url: str = "/", **more: Any) -> Client:
        """Send a request and wait for the response."""
        client, req = self.request(url, **more)
        return client.send(req).wait()

    def start(self, url: str = "/", **more: Any) -> Client:
        """Send a request."""
        client, req = self.request(url, **more)
        return client.send(req)

    def idle(self, count: int) -> None:
        """Wait until nothing but ``count`` objects is left of what was done."""

        def at_rest() -> bool:
            self.env.expiry.step()
            cores = self.env.hash.all_objects()
            return len(cores) <= count and all(oc.boc is None and oc.refcount == 1 for oc in cores)

        try:
            wait_for(at_rest)
        except AssertionError:
            raise AssertionError("\n".join(oc.describe() for oc in self.env.hash.all_objects())) from None

    def stop(self) -> None:
        self.env.pools.stop(5.0)
        self.storage.close()
