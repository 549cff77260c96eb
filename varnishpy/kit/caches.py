"""Caches for tests that outlive a test: the same program is started once in a session and is as new for each test.

A program is taken as it is in production; its backends are found at gates (`gate`), behind which each test puts its own
origins. Between two tests the cache is emptied, its clock set back, the health of backends left to the cache again.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Concatenate, Final, ParamSpec

from varnishpy.base.near import nearest
from varnishpy.kit.answer import Answer
from varnishpy.kit.client import Fields, ask_http1, ask_http2, connect
from varnishpy.kit.gate import Gate
from varnishpy.kit.gate import Origin as Behind
from varnishpy.kit.instance import PATIENCE, START, Instance, InstanceError, Transactions
from varnishpy.log.grouping import Transaction

HOST: Final = "example.com"
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Key = tuple[object, ...]
P = ParamSpec("P")


class OriginFailed(AssertionError):
    """An origin of the test failed, or was asked more often than it answers; the text says which and how."""


def _asynchronous(
    method: Callable[Concatenate[Cache, P], Answer],
) -> Callable[Concatenate[Cache, P], Coroutine[None, None, Answer]]:
    """A method for async tests, with the same parameters: it runs on a thread of its own."""

    @functools.wraps(method)
    async def ask(cache: Cache, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await asyncio.to_thread(method, cache, *args, **kwargs)

    ask.__doc__ = f"As `{method.__name__}`, for async tests: it runs on a thread of its own."
    return ask


class Cache:
    """A cache with a program, and origins behind its backends.

    >>> cache = varnishpy(Path("default.vcl"), backends={"app": lambda request: "hello"})
    >>> cache.get("/").assert_miss()
    >>> cache.travel(3600)
    """

    def __init__(self, instance: Instance, gates: Mapping[str, Gate], transactions: Transactions) -> None:
        self.instance = instance
        self._gates = gates
        self._transactions = transactions
        self._touched: set[str] = set()

    # -- requests --------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        url: str = "/",
        headers: Headers | None = None,
        body: bytes | str | None = None,
        *,
        json_body: object = None,
        http2: bool = False,
        tls: bool = False,
    ) -> Answer:
        """Send a request over a connection of its own.

        :param headers: besides a ``Host`` of example.com, unless they have one
        :param json_body: sent as JSON, with its Content-Type
        :raises OriginFailed: an origin of this test did not do its part
        :raises NoAnswer: the cache did not answer
        """
        __tracebackhide__ = True
        fields = _fields(headers)
        if json_body is not None:
            body = json.dumps(json_body)
            fields.append(("Content-Type", "application/json"))
        octets = body.encode() if isinstance(body, str) else body
        address = ("127.0.0.1", self.instance.ports["https" if tls else "http"])
        with connect(address, tls, http2, START, HOST) as sock:
            if http2:
                received = ask_http2(sock, method, url, fields, octets, "https" if tls else "http")
            else:
                received = ask_http1(sock, method, url, fields, octets)
        self.check()
        return Answer(received, lambda: self._transactions.of_port(received.port))

    def get(self, url: str = "/", headers: Headers | None = None, *, http2: bool = False, tls: bool = False) -> Answer:
        """GET."""
        __tracebackhide__ = True
        return self.request("GET", url, headers, http2=http2, tls=tls)

    def head(self, url: str = "/", headers: Headers | None = None, *, http2: bool = False, tls: bool = False) -> Answer:
        """HEAD."""
        __tracebackhide__ = True
        return self.request("HEAD", url, headers, http2=http2, tls=tls)

    def post(
        self,
        url: str = "/",
        body: bytes | str | None = b"",
        headers: Headers | None = None,
        *,
        json_body: object = None,
        http2: bool = False,
        tls: bool = False,
    ) -> Answer:
        """POST."""
        __tracebackhide__ = True
        return self.request("POST", url, headers, body, json_body=json_body, http2=http2, tls=tls)

    arequest = _asynchronous(request)
    aget = _asynchronous(get)
    apost = _asynchronous(post)

    def check(self) -> None:
        """Raise `OriginFailed` if an origin has failed so far."""
        __tracebackhide__ = True
        failures = [text for gate in self._gates.values() for text in gate.failures]
        if failures:
            raise OriginFailed("\n".join(failures))

    # -- the world around it ---------------------------------------------------------------------------------------

    def travel(self, seconds: float) -> None:
        """Go into the future: objects, grace, bans and ``now`` in VCL are that much older; nobody sleeps.

        Fetches that go on in the background end first, unless they take longer than a second.
        """
        self.cli("debug.travel", f"{seconds:f}")

    def empty(self) -> None:
        """Take every object out of the cache."""
        self.cli("debug.empty")

    def sick(self, backend: str) -> None:
        """Have a backend be sick until `healthy`, or the end of the test."""
        self._set_health(backend, "sick")

    def healthy(self, backend: str) -> None:
        """Have a backend be healthy whatever its probe says, until the end of the test."""
        self._set_health(backend, "healthy")

    def _set_health(self, backend: str, health: str) -> None:
        self._touched.add(backend)
        self.cli("backend.set_health", backend, health)

    def origin_requests(self, backend: str) -> list[object]:
        """What came to a backend's function or application in this test (`kit.origins.Request`), in order."""
        return list(self._gates[backend].requests)

    # -- looking in ------------------------------------------------------------------------------------------------

    @property
    def workdir(self) -> Path:
        """What the tools take as ``-n``."""
        return self.instance.workdir

    @property
    def url(self) -> str:
        """Where it listens for HTTP."""
        return f"http://127.0.0.1:{self.instance.ports['http']}"

    def cli(self, *words: str) -> str:
        """The answer to a CLI command. :raises InstanceError: it was refused"""
        return self.instance.cli(*words)

    def counter(self, name: str) -> int:
        """A counter's value since the instance was started, by other tests too; published ten times a second."""
        return self.instance.counter(name)

    def wait_counter(self, name: str, wanted: int, patience: float = PATIENCE) -> None:
        """Wait for a counter to have a value. :raises InstanceError: it does not get there"""
        self.instance.wait(lambda: self.counter(name) == wanted, f"{name} = {wanted}", patience)

    def transactions(self) -> list[list[Transaction]]:
        """All groups of log transactions of this test that have ended."""
        self._transactions.refresh()
        return list(self._transactions.groups)

    def reset(self) -> None:
        """Make it as new; called between tests."""
        self.cli("debug.empty")
        self.cli("debug.travel", "0")
        for backend in self._touched:
            self.cli("backend.set_health", backend, "auto")
        self._touched.clear()
        self._transactions.forget()


def _fields(headers: Headers | None) -> Fields:
    rows = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
    if not any(name.lower() == "host" for name, _ in rows):
        rows.insert(0, ("Host", HOST))
    return rows


class Caches:
    """All caches of a session, by what they were started with."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self._made: dict[Key, tuple[Cache, dict[str, Gate]]] = {}
        self._used: list[tuple[Cache, dict[str, Gate]]] = []

    def cache(
        self,
        program: str | Path,
        backends: Mapping[str, Behind],
        parameters: Mapping[str, object] | None = None,
        arguments: Iterable[str] = (),
        fresh: bool = False,
    ) -> Cache:
        """A cache with a program and origins, started if there is none yet.

        :param program: a `Path`, or the text of a complete program, or of one without version and backends
        :param fresh: do not use one that another test has used
        :raises InstanceError: it does not start, or has no backend of a name that is given
        """
        words = tuple(arguments)
        settings = dict(parameters or {})
        text = program if isinstance(program, str) else ""
        changed = program.stat().st_mtime_ns if isinstance(program, Path) else 0
        key: Key = (str(program), changed, tuple(sorted(backends)), tuple(sorted(map(str, settings.items()))), words)
        made = self._made.get(key) if not fresh else None
        if made is None:
            made = self._start(program, text, backends, settings, words)
            self._made[(*key, len(self._made)) if fresh else key] = made
        cache, gates = made
        for name, gate in gates.items():
            gate.open_to(backends.get(name))
        self._used.append(made)
        return cache

    def _start(
        self,
        program: str | Path,
        text: str,
        backends: Mapping[str, Behind],
        parameters: Mapping[str, object],
        arguments: tuple[str, ...],
    ) -> tuple[Cache, dict[str, Gate]]:
        directory = self._directory()
        if isinstance(program, Path):
            file = program.resolve()
            arguments = ("-p", f"vcl_path={file.parent}:/etc/varnish:/usr/share/varnish/vcl", *arguments)
        else:
            file = directory / "test.vcl"
            file.write_text(complete(text, backends))
        gates = {name: Gate(name) for name in backends}
        others = Gate("*")
        stand_ins = {name: gate.address for name, gate in (*gates.items(), ("*", others))}
        try:
            instance = Instance(directory / "v", file, stand_ins, parameters, arguments)
        except BaseException:
            for gate in (*gates.values(), others):
                gate.close()
            raise
        cache = Cache(instance, gates, Transactions(instance))
        self._check_names(cache, backends)
        return cache, gates

    @staticmethod
    def _check_names(cache: Cache, backends: Mapping[str, Behind]) -> None:
        rows = json.loads(cache.cli("backend.list", "-j"))[3]
        known = [name.partition(".")[2] for name in rows]
        for name in backends:
            if name not in known:
                near = nearest(name, known, 0.6)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"
                cache.instance.stop()
                raise InstanceError(f"the program has no backend {name!r}{hint}")

    def end_test(self) -> None:
        """A test is over: its origins go, the caches that it used are made as new.

        :raises OriginFailed: see `Cache.check`
        """
        used, self._used = self._used, []
        failures: list[str] = []
        for cache, gates in used:
            try:
                cache.check()
            except OriginFailed as error:
                failures.append(str(error))
            for gate in gates.values():
                gate.open_to(None)
            cache.reset()
        if failures:
            raise OriginFailed("\n".join(failures))

    def close(self) -> None:
        """The session is over."""
        for cache, gates in self._made.values():
            cache.instance.stop()
            for gate in gates.values():
                gate.close()
        self._made.clear()


def complete(text: str, backends: Mapping[str, Behind]) -> str:
    """A program as it is; or, without a version, made complete on its first line, so that lines keep their numbers."""
    if any(line.lstrip().startswith("vcl ") for line in text.splitlines()):
        return text
    declared = "".join(f'backend {name} {{ .host = "127.0.0.1"; }} ' for name in backends) or "backend default none; "
    return f"vcl 4.1; {declared}{text}\n"
