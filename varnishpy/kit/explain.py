"""What happens to a request, line by line: the real cache in this process, a stub in place of every origin.

`Theatre` runs requests through the real state machines, with the program recorded as it goes (`recorder`). Nothing is
simulated but the client's connection and what the origins say.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from varnishpy import log as vsl
from varnishpy.base.tls_info import TlsInfo
from varnishpy.base.workspace import make_workspace
from varnishpy.child.host import Host
from varnishpy.kit.exchange import CLIENT_IP, SERVER_IP, NoSocket, NoTransport
from varnishpy.kit.gate import Gate
from varnishpy.kit.origins import Request as OriginRequest
from varnishpy.kit.origins import Response
from varnishpy.kit.program import Program, Stage
from varnishpy.kit.recorder import Recorder, Run
from varnishpy.log.memory import captured
from varnishpy.log.tag_numbers import REQ_METHOD
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import CLIENT, TaskLog
from varnishpy.params import params, table
from varnishpy.request.client import run_request
from varnishpy.request.finish import finish_request
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import Delivered
from varnishpy.session.address import SockAddr
from varnishpy.session.session import Session
from varnishpy.storage.source import END, SourceError
from varnishpy.threads.pool import Priority
from varnishpy.vcl.tasks import ListenInfo

if TYPE_CHECKING:
    from varnishpy.log.memory import MemoryLog
    from varnishpy.storage.source import Source
    from varnishpy.threads.worker import Worker

PATIENCE: Final = 30.0  # seconds for a request
_BODY_SHOWN: Final = 1 << 20


class ExplainError(Exception):
    """A request or an origin's answer is not understood, or there was no answer; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What every origin says."""

    status: int = 200
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"hello from the origin\n"


def parse_answer(text: str) -> Answer:
    """``status=404 reason="Not there" cache-control="max-age=10" body="sorry"``: other words are headers.

    :raises ExplainError: a word is no ``name=value``, or the status no number
    """
    status, reason, body = 200, "", Answer.body
    headers: list[tuple[str, str]] = []
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ExplainError(f"--origin: {error}") from None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ExplainError(f"--origin: {word!r} is not name=value (status, reason, body, or a header)")
        if name == "status":
            if not value.isdecimal() or not 100 <= int(value) <= 999:
                raise ExplainError(f"--origin: {value!r} is no status")
            status = int(value)
        elif name == "reason":
            reason = value
        elif name == "body":
            body = value.encode()
        else:
            headers.append((name.title(), value))
    return Answer(status, reason, tuple(headers), body)


@dataclass
class Outcome:
    """What became of a request: runs of subroutines with what happened between them, and the response."""

    request: str
    events: list[Run | str] = field(default_factory=list)
    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    log: list[str] = field(default_factory=list)

    @property
    def piped(self) -> bool:
        """Has the connection been handed to the backend? Then there is no response that VCL or the cache ever see."""
        runs = [event for event in self.events if isinstance(event, Run)]
        return bool(runs) and (runs[-1].method, runs[-1].action) == ("pipe", "pipe")

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        events: list[object] = []
        for event in self.events:
            if isinstance(event, str):
                events.append({"event": event})
            else:
                steps = [vars(step) for step in event.steps]
                events.append(
                    {"sub": f"vcl_{event.method}", "action": event.action, "failure": event.failure, "steps": steps}
                )
        return {
            "request": self.request,
            "events": events,
            "piped": self.piped,
            "response": None if self.piped else {
                "status": self.status, "reason": self.reason, "headers": self.headers,
                "body": self.body.decode("utf-8", "replace"),
            },
        }  # fmt: skip


class _Teller:
    """Gathers events in the order in which they happen, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.events: list[Run | str] = []

    def __call__(self, event: Run | str) -> None:
        with self._lock:
            self.events.append(event)

    def take(self) -> list[Run | str]:
        with self._lock:
            taken, self.events = self.events, []
        return taken


class _Client(NoTransport):
    """Keeps the response."""

    name = "HTTP/1"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.done = threading.Event()
        self.body = b""
        self.failed = ""

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        """Read the body to its end."""
        deadline = time.monotonic() + PATIENCE
        if source is not None:
            parts: list[bytes] = []
            try:
                while (piece := source.pull_wait(65536, lambda: deadline - time.monotonic())) is not END:
                    parts.append(bytes(piece))  # type: ignore[arg-type]
            except SourceError as error:
                self.failed = str(error)
            source.close()
            self.body = b"".join(parts)
        return Delivered.DONE

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        """So early a failure that there are no headers."""
        req.resp.status = status

    def fail(self, req: Request, reason: str) -> None:
        """The request was given up."""
        self.failed = reason
        self.done.set()

    def reembark(self, req: Request) -> None:
        """It waited for another one."""
        self.schedule(req)

    def schedule(self, req: Request) -> None:
        """Have a worker run the request."""

        def task(wrk: Worker) -> None:
            if run_request(wrk, req) is Step.DONE:
                self.response = (req.resp.status, req.resp.reason, [(n, v) for _, n, v in req.resp.headers])
                finish_request(wrk, req)
                self.done.set()

        if not self._stage.pools.any().schedule(task, Priority.REQ):
            raise ExplainError("no thread for the request")


class Theatre:
    """A cache for explanations: a program, stub origins, threads. A context manager.

    :raises ProgramError: the program does not compile or load
    """

    def __init__(
        self,
        source: str | Path,
        answer: Answer | None = None,
        vcl_path: Sequence[str] = (),
        vmod_path: Sequence[str] = (),
    ) -> None:
        for name, value in (("thread_pools", "1"), ("thread_pool_min", "10")):
            table.set(name, value)
        self._stage = Stage()
        self._tell = _Teller()
        self._answer = answer or Answer()
        self.origin = Gate("*")
        self.origin.open_to(self._say)
        host = Host(self._stage.env, self._stage.backends)
        self.program = Program(source, vcl_path, vmod_path, host=host, stand_ins={"*": self.origin.address})
        Recorder(self.program, self._tell)
        self._tell.take()

    def __enter__(self) -> Theatre:
        self._stage.waiter.start()
        self._stage.pools.start()
        self._stage.expiry.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.pools.stop(5.0)
        self._stage.expiry.stop()
        self._stage.waiter.stop()
        self.origin.close()

    def _say(self, request: OriginRequest) -> Response:
        """What every origin answers."""
        answer = self._answer
        self._tell(f"origin is asked: {request.method} {request.url}")
        self._tell(f"it answers: {answer.status}")
        return Response(answer.status, list(answer.headers), answer.body, answer.reason)

    def sick(self, name: str) -> None:
        """Have a backend be sick. :raises ExplainError: there is none of that name"""
        backends = self.program.vcl.backends
        if name not in backends:
            raise ExplainError(f"--sick: no backend is named {name!r}; there are: {', '.join(backends) or 'none'}")
        backends[name].set_admin_health("sick")

    def ask(
        self,
        url: str,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        client_ip: str = CLIENT_IP,
        https: bool = False,
    ) -> Outcome:
        """One request, to its end. :raises ExplainError: there is no answer"""
        outcome = Outcome(f"{method} {url}")
        self._tell.take()
        with captured() as memory:
            client = _Client(self._stage)
            req = self._request(client, url, method, headers, client_ip, https)
            client.schedule(req)
            if not client.done.wait(PATIENCE):
                raise ExplainError(f"no answer to {outcome.request} within {PATIENCE:g} s")
            self._settle(memory)
        outcome.events = self._tell.take()
        outcome.log = memory.lines()
        if client.failed:
            outcome.events.append(f"given up: {client.failed}")
        outcome.status, outcome.reason, outcome.headers = getattr(client, "response", (0, "", []))
        outcome.body = client.body[:_BODY_SHOWN]
        _add_lookup(outcome)
        _name_backends(outcome)
        return outcome

    def _request(
        self, client: _Client, url: str, method: str, headers: Sequence[tuple[str, str]], client_ip: str, https: bool
    ) -> Request:
        stage = self._stage
        sess = Session(stage.env, stage.pools.any(), NoSocket(), ListenInfo("a0", ":80", "HTTP"), vsl.next_vxid())
        sess.client_ip = sess.remote_ip = SockAddr(client_ip, 4711)
        sess.server_ip = sess.local_ip = SockAddr(SERVER_IP, 80)
        if https:
            sess.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "http/1.1", "")
        vxid = vsl.next_vxid()
        log = TaskLog(vxid, CLIENT)
        workspace = make_workspace("req", params.workspace_client)
        req = Request(stage.env, sess, client, vxid, log, workspace)
        log.begin("req", sess.vxid, "rxreq")
        req.t_first = req.t_prev = req.t_req = time.time()
        log.start_clock(req.t_first)
        http = req.http
        http.method, http.url = method, url
        http.attach(log, REQ_METHOD, workspace)
        given = list(headers)
        if not any(name.lower() == "host" for name, _ in given):
            given.insert(0, ("Host", "example.com"))
        http.headers = [(name.lower(), name, value) for name, value in given]
        self.program.vcl.take()
        req.vcl = self.program.vcl
        req.director_hint = None
        return req

    @staticmethod
    def _settle(memory: MemoryLog) -> None:
        """The fetch may still be writing its log when the client has its answer."""
        begun = len([text for text in memory.texts(int(Tag.Begin)) if text.startswith("bereq")])
        deadline = time.monotonic() + 2.0
        while len(memory.texts(int(Tag.BereqAcct))) < begun and time.monotonic() < deadline:
            time.sleep(0.002)


_LOOKUPS: Final = {
    "Hit": "found in the cache",
    "HitMiss": "a marker says that it cannot be cached (hit-for-miss)",
    "HitPass": "a marker says that it must be passed (hit-for-pass)",
}


def _add_lookup(outcome: Outcome) -> None:
    """Say, behind vcl_hash, what the lookup found; the log knows."""
    found = [line.split(" ", 1)[0] for line in outcome.log]
    told = next((text for tag, text in _LOOKUPS.items() if tag in found), "not in the cache")
    for index, event in enumerate(outcome.events):
        if isinstance(event, Run) and event.method == "hash":
            after = next((e for e in outcome.events[index + 1 :] if isinstance(e, Run)), None)
            if after is not None and after.method in ("hit", "miss", "pass"):
                outcome.events.insert(index + 1, f"lookup: {told}")
            return


def _name_backends(outcome: Outcome) -> None:
    """Say which backend was asked: they all are one here, but the log has the name of each connection."""
    opened = [line.split() for line in outcome.log if line.startswith(("BackendOpen ", "BackendReuse "))]
    names = iter([words[2] for words in opened if len(words) > 2])
    for index, event in enumerate(outcome.events):
        if isinstance(event, str) and event.startswith("origin is asked"):
            name = next(names, "")
            if name:
                outcome.events[index] = event.replace("origin is asked", f"backend {name} is asked", 1)
