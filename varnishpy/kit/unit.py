"""Unit tests of VCL: one subroutine at a time, without sockets.

    shop = unit("default.vcl")
    r = shop.recv(method="GET", url="/x", headers={"Cookie": "a=b"})
    assert r.action == "pass"
    assert r.req.http["X-Device"] == "mobile"
    assert r.called("normalise")

Each built-in subroutine is a method of `Unit`. What it gets is made anew for each call; what it leaves is a `Result`,
which reads like VCL: ``r.req.url``, ``r.bereq.http["Host"]``, ``r.beresp.ttl`` (seconds), ``r.req.backend_hint`` (a
name). The builtin VCL is behind the program, as in the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, TypedDict, Unpack

from varnishpy.backends.director import resolve
from varnishpy.base.near import nearest
from varnishpy.kit.exchange import Exchange
from varnishpy.kit.program import Program, ProgramError
from varnishpy.kit.views import Scope
from varnishpy.request.request import Request

__all__ = ["Mock", "ProgramError", "Result", "Unit", "unit"]

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Value = object  # what a mock stands for: whatever type the function has in VCL


class Asked(TypedDict, total=False):
    """What a client sends. Times are seconds; ``now`` is wall-clock time."""

    method: str  # GET
    url: str  # /
    headers: Headers
    client_ip: str  # 198.51.100.7
    server_ip: str  # 198.51.100.80
    now: float  # the present
    proto: str  # HTTP/1.1
    restarts: int  # 0
    esi_level: int  # 0
    tls: bool  # False: did the client speak TLS to us?


class Answered(Asked, total=False):
    """What is answered to it, besides: the response of an origin or of a stored object."""

    status: int  # 200; of vcl_synth and vcl_backend_error 503
    reason: str  # that of the status
    response: Headers
    retries: int  # 0: of a fetch
    uncacheable: bool  # False: a fetch for a pass or a hit-for-miss


class Stored(Answered, total=False):
    """An object in the cache, besides; durations are seconds."""

    ttl: float  # 120
    grace: float  # 10
    keep: float  # 0
    age: float  # 0
    hits: int  # 1 of a hit, 0 otherwise


class Result:
    """What a subroutine left.

    ``action`` is what it returned, ``fail`` if it failed; ``failure`` says why.
    """

    def __init__(self, program: Program, exchange: Exchange, action: str) -> None:
        self._exchange = exchange
        self._program = program
        self.action = action
        self.failure = exchange.ctx.failure
        self._hits = program.take_hits()
        self._bans = program.take_bans()
        context = exchange.ctx
        self.req = Scope("req", context)
        self.req_top = Scope("req_top", context)
        self.bereq = Scope("bereq", context)
        self.beresp = Scope("beresp", context)
        self.resp = Scope("resp", context)
        self.obj = Scope("obj", context)
        self.sess = Scope("sess", context)
        self.client = Scope("client", context)

    def __repr__(self) -> str:
        return f"<Result of vcl_{self._exchange.method}: {self.action}{f', {self.failure}' if self.failure else ''}>"

    def called(self, name: str) -> bool:
        """Was that subroutine entered? :raises KeyError: the program has none of that name"""
        points = [index for index, point in enumerate(self._program.points) if (point.kind, point.sub) == ("sub", name)]
        if not points:
            known = sorted({point.sub for point in self._program.points})
            raise KeyError(f"no subroutine is named {name!r}{near(name, known)}")
        return any(self._hits[index] for index in points)

    @property
    def subs(self) -> list[str]:
        """The subroutines that were entered, each once, in the order of the source."""
        found = [point.sub for point, hits in zip(self._program.points, self._hits, strict=True) if hits]
        return list(dict.fromkeys(found))

    @property
    def lines(self) -> list[int]:
        """Lines of the program's own file that ran."""
        pairs = zip(self._program.points, self._hits, strict=True)
        return sorted({point.line for point, hits in pairs if hits and point.source == 0 and point.kind == "line"})

    @property
    def backend(self) -> str | None:
        """The backend that the director of the request or fetch chooses now; None if there is none to be had."""
        task = self._exchange.task
        director = task.director_hint if isinstance(task, Request) else task.director_req
        found = resolve(director, self._exchange.ctx)
        return None if found is None else found.vcl_name

    @property
    def hash_parts(self) -> list[str]:
        """What ``hash_data`` was given, in order."""
        return [part for part in self._exchange.req.hash_parts or () if part != "\0"]

    @property
    def synth(self) -> tuple[int, str]:
        """Status and reason of ``return (synth(...))`` or ``return (error(...))``; (0, "") without one."""
        task = self._exchange.task
        return task.err_code, task.err_reason or ""

    @property
    def body(self) -> bytes:
        """The synthetic body."""
        return b"".join(self._exchange.task.synth_body)

    @property
    def bans(self) -> list[str]:
        """The bans that were added."""
        return self._bans

    @property
    def log(self) -> list[tuple[str, str]]:
        """The log records: tag and text."""
        return self._exchange.records()

    @property
    def std_log(self) -> list[str]:
        """What ``std.log`` wrote."""
        return [text for tag, text in self.log if tag == "VCL_Log"]


class Mock:
    """In place of a function, an object's method, or a subroutine; ``calls`` holds the arguments of each call."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self.calls: list[tuple[Value, ...]] = []
        self._undo = undo

    def undo(self) -> None:
        """Let the real one do its work again; further calls do nothing."""
        undo, self._undo = self._undo, _nothing
        undo()

    def __enter__(self) -> Mock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def _nothing() -> None:
    """A mock that was undone."""


_ASKED: Final = frozenset(Asked.__annotations__)
_ANSWERED: Final = _ASKED | frozenset(Answered.__annotations__)
_STORED: Final = _ANSWERED | frozenset(Stored.__annotations__)


def near(name: str, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` or nothing, to be put behind a message."""
    found = nearest(name, known, 0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


class Unit:
    """A program whose subroutines can be run one by one. See the module text; parameters as of `Program`."""

    def __init__(
        self,
        source: str | Path,
        vcl_path: Sequence[str | Path] = (),
        vmod_path: Sequence[str | Path] = (),
        labels: Mapping[str, Unit] | None = None,
    ) -> None:
        programs: dict[str, Program] = {name: each.program for name, each in (labels or {}).items()}
        self.program: Program = Program(source, vcl_path, vmod_path, programs)
        self._mocks: list[Mock] = []

    # -- the client's side -----------------------------------------------------------------------------------------

    def recv(self, **given: Unpack[Asked]) -> Result:
        """vcl_recv."""
        return self._client("recv", _ASKED, given)

    def hash(self, **given: Unpack[Asked]) -> Result:
        """vcl_hash; see `Result.hash_parts`."""
        return self._client("hash", _ASKED, given)

    def miss(self, **given: Unpack[Asked]) -> Result:
        """vcl_miss."""
        return self._client("miss", _ASKED, given)

    def pass_(self, **given: Unpack[Asked]) -> Result:
        """vcl_pass."""
        return self._client("pass", _ASKED, given)

    def purge(self, **given: Unpack[Asked]) -> Result:
        """vcl_purge."""
        return self._client("purge", _ASKED, given)

    def pipe(self, **given: Unpack[Asked]) -> Result:
        """vcl_pipe, which has both ``req`` and ``bereq``."""
        return self._client("pipe", _ASKED, given)

    def hit(self, **given: Unpack[Stored]) -> Result:
        """vcl_hit: a request that finds an object."""
        return self._client("hit", _STORED, {"hits": 1, **given})

    def deliver(self, **given: Unpack[Stored]) -> Result:
        """vcl_deliver: a response made of an object."""
        return self._client("deliver", _STORED, given)

    def synth(self, **given: Unpack[Answered]) -> Result:
        """vcl_synth."""
        return self._client("synth", _ANSWERED, {"status": 503, **given})

    # -- the origin's side -----------------------------------------------------------------------------------------

    def backend_fetch(self, **given: Unpack[Answered]) -> Result:
        """vcl_backend_fetch: ``method``, ``url`` and ``headers`` are bereq's."""
        return self._fetch("backend_fetch", given)

    def backend_response(self, **given: Unpack[Answered]) -> Result:
        """vcl_backend_response: ttl, grace and keep are what RFC 9111 and the parameters make of the response."""
        return self._fetch("backend_response", given)

    def backend_error(self, **given: Unpack[Answered]) -> Result:
        """vcl_backend_error."""
        return self._fetch("backend_error", {"status": 503, **given})

    # -- running ---------------------------------------------------------------------------------------------------

    def _client(self, method: str, known: frozenset[str], given: Mapping[str, object]) -> Result:
        self._check(method, known, given)
        return self._run(Exchange.of_client(self.program, method, given))

    def _fetch(self, method: str, given: Mapping[str, object]) -> Result:
        self._check(method, _ANSWERED, given)
        return self._run(Exchange.of_fetch(self.program, method, given))

    def _run(self, exchange: Exchange) -> Result:
        self.program.take_hits()
        return Result(self.program, exchange, exchange.run())

    @staticmethod
    def _check(method: str, known: frozenset[str], given: Mapping[str, object]) -> None:
        unknown = [name for name in given if name not in known]
        if unknown:
            raise TypeError(f"{method}() takes no argument {unknown[0]!r}{near(unknown[0], sorted(known))}")

    # -- stand-ins -------------------------------------------------------------------------------------------------

    def health(self, backend: str, healthy: bool) -> None:
        """Say whether a backend is healthy; all are, to begin with."""
        self.program.backend(backend).is_healthy = healthy

    def mock(self, name: str, value: Value | Callable[..., Value]) -> Mock:
        """Put something in place of what VCL calls.

        :param name: a VMOD's function (``std.healthy``), an object's method (``cluster.backend``) or a subroutine
        :param value: what it gives, or a callable that is asked with the arguments (of a subroutine: a `Messages`) and
            gives it; of a subroutine an action, or None to go on with the caller
        :raises KeyError: the program has nothing of that name
        """
        mock = Mock(_nothing)

        def answer(*arguments: Value) -> Value:
            mock.calls.append(arguments)
            return value(*arguments) if callable(value) else value

        mock._undo = self.program.replace(name, answer)
        self._mocks.append(mock)
        return mock

    def restore(self) -> None:
        """Undo all mocks, and make all backends healthy."""
        for mock in reversed(self._mocks):
            mock.undo()
        self._mocks.clear()
        for backend in self.program.backends():
            backend.is_healthy = True

    def discard(self) -> None:
        """Run vcl_fini and let go of the program."""
        self.program.discard()

    def __iter__(self) -> Iterator[str]:
        """Names of the subroutines that the program's own files define."""
        return iter(sorted({point.sub for point in self.program.own_points if point.kind == "sub"}))


def unit(
    source: str | Path,
    vcl_path: Sequence[str | Path] = (),
    vmod_path: Sequence[str | Path] = (),
    labels: Mapping[str, Unit] | None = None,
) -> Unit:
    """Load a program for unit tests: a `Path`, or a string that is VCL or names a file."""
    if isinstance(source, str) and "\n" not in source and not source.lstrip().startswith("vcl "):
        source = Path(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such VCL file")
    return Unit(source, vcl_path, vmod_path, labels)
