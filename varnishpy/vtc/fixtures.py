"""Caches and origins for tests written in Python: what the pytest fixtures ``varnishpy`` and ``origin`` hand out.

::

    def test_cookies_are_dropped(varnishpy, origin):
        site = origin('''
            rxreq
            expect req.http.cookie == <undef>
            txresp -body "hello"
        ''')
        cache = varnishpy("sub vcl_recv { unset req.http.cookie; }")
        answer = cache.get("/", headers={"Cookie": "a=b"})
        assert (answer.status, answer.body) == (200, b"hello")
        site.wait()
        cache.wait_counter("MAIN.cache_miss", 1)

Every origin started before the cache is a backend in its VCL, named ``s1``, ``s2`` and so on.
"""

from __future__ import annotations

import http.client
import shlex
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from varnishpy.cli import protocol
from varnishpy.kit.caches import Cache as ProductionCache
from varnishpy.kit.caches import Caches
from varnishpy.kit.gate import Elsewhere
from varnishpy.kit.gate import Origin as Behind
from varnishpy.log.cursor import LogError
from varnishpy.log.grouping import Grouper, Transaction
from varnishpy.log.query import parse_query

from .anywhere import EVERYWHERE
from .client import Client
from .context import Settings, Test
from .daemon import Daemon
from .errors import ScriptError, TestAborted, TestFailed
from .languages import LANGUAGES, RESET_ORDER
from .log import LogBuffer
from .runner import external_macros
from .server import Server, all_backends
from .shared_memory import LogTail
from .text import Source, Text

LOG_SIZE = 8 << 20
PATIENCE = 5.0


class ScriptFailed(AssertionError):
    """A script of an origin or client failed; the message has the place and the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as the cache gave it.  Header names are in lower case; of several with one name the last counts."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Stage:
    """What one Python test plays on: origins, caches, clients, and the log of all of them."""

    def __init__(self, directory: Path, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._bad_backend: socket.socket = external_macros(self._settings)
        self._buffer = LogBuffer(LOG_SIZE)
        self.test = Test(self._settings, self._buffer, LANGUAGES, EVERYWHERE)
        self.test.tmpdir = str(directory)
        self.test.macros.define("tmpdir", str(directory))
        self._origins = 0
        self._caches = 0
        self._clients = 0

    @property
    def used(self) -> bool:
        """Has anything played on it?"""
        return bool(self._origins or self._caches or self._clients)

    @property
    def log(self) -> str:
        """Everything that happened, as ``varnishpy test -v`` shows it."""
        return self._buffer.read().decode("latin-1")

    def origin(self, script: str, repeat: int = 1, keepalive: bool = False, listen: str = "") -> Origin:
        """Start a server that runs ``script`` on each of ``repeat`` connections (or, kept alive, on one)."""
        self._origins += 1
        return Origin(self, f"s{self._origins}", script, repeat, keepalive, listen)

    def cache(
        self, vcl: str = "", parameters: Mapping[str, object] | None = None, arguments: str = "", program: str = ""
    ) -> Cache:
        """Start a cache with ``vcl`` behind declarations of all origins, and the parameters given."""
        self._caches += 1
        return Cache(self, f"v{self._caches}", vcl, parameters or {}, arguments, program)

    def client(self, script: str, connect: str = "") -> None:
        """Run a client's script to its end.

        :raises ScriptFailed: if it fails
        """
        self._clients += 1
        client = Client(self.test, f"c{self._clients}")
        client.spec = Text.whole(Source(f"client c{self._clients}", script))
        if connect:
            client.connect_to = connect
        self.guard(client.start)
        self.guard(client.wait)

    def guard(self, action: Callable[[], None]) -> None:
        """Do something; what fails in any thread of the stage becomes ScriptFailed."""
        try:
            action()
        except (TestFailed, ScriptError) as error:
            self.test.record(error, self.test.top)
        except TestAborted:
            pass  # another thread failed, and said why
        self.check()

    def check(self) -> None:
        """Raise ScriptFailed if anything has failed so far."""
        test = self.test
        if test.failed:
            with test.changed:  # the thread that failed may still be on its way to say why
                test.changed.wait_for(lambda: test.settled, 1.0)
            position, reason = test.failure
            raise ScriptFailed(f"{position}: {reason}" if position else reason)

    def close(self) -> None:
        """End everything; a failure found only now is raised, after all is down."""
        self.test.set_ended()
        self.test.reset(RESET_ORDER)
        self._bad_backend.close()
        self.check()


class Varnishpy:
    """The fixture ``varnishpy``; see `__call__`."""

    def __init__(self, stage: Stage, caches: Caches) -> None:
        self._stage = stage
        self._caches = caches

    @overload
    def __call__(
        self,
        vcl: str | Path = "",
        parameters: Mapping[str, object] | None = None,
        arguments: str = "",
        program: str = "",
        *,
        backends: Mapping[str, object],
        fresh: bool = False,
    ) -> ProductionCache: ...

    @overload
    def __call__(
        self,
        vcl: Path,
        parameters: Mapping[str, object] | None = None,
        arguments: str = "",
        program: str = "",
        *,
        backends: Mapping[str, object] | None = None,
        fresh: bool = False,
    ) -> ProductionCache: ...

    @overload
    def __call__(
        self, vcl: str = "", parameters: Mapping[str, object] | None = None, arguments: str = "", program: str = ""
    ) -> Cache: ...

    def __call__(
        self,
        vcl: str | Path = "",
        parameters: Mapping[str, object] | None = None,
        arguments: str = "",
        program: str = "",
        *,
        backends: Mapping[str, object] | None = None,
        fresh: bool = False,
    ) -> Cache | ProductionCache:
        """A cache.

        With ``backends``, or a `Path`, the program is taken as it is and each backend named is found at the origin
        given: one of the fixture ``origin``, a script for one, a function of a request, a WSGI or ASGI application, or
        ``(host, port)``. Such a cache is started once in a session and emptied between tests. Otherwise ``vcl`` is put
        behind declarations of all origins started so far, and the cache is this test's own.

        :param program: another daemon than ours; only for a cache of the test's own
        :param fresh: a cache that no other test has used
        :raises InstanceError, ScriptFailed: with the compiler's report, or what else was wrong
        """
        if backends is None and isinstance(vcl, str):
            return self._stage.cache(vcl, parameters, arguments, program)
        if program:
            raise TypeError("program= cannot be used with backends= or a path")
        behind = {name: self._behind(thing) for name, thing in (backends or {}).items()}
        return self._caches.cache(vcl, behind, parameters, shlex.split(arguments), fresh)

    def _behind(self, thing: object) -> Behind:
        if isinstance(thing, str):
            thing = self._stage.origin(thing)
        if isinstance(thing, Origin):
            host, _, port = thing.address.rpartition(":")
            return Elsewhere((host, int(port)), lambda: thing.is_over)
        if isinstance(thing, tuple) and len(thing) == 2:
            return Elsewhere((str(thing[0]), int(thing[1])), lambda: False)
        if callable(thing):
            return thing
        raise TypeError(f"{thing!r} cannot be an origin")


class Origin:
    """A scripted server.  ``address`` is ``IP:port``."""

    def __init__(self, stage: Stage, name: str, script: str, repeat: int, keepalive: bool, listen: str) -> None:
        self._stage = stage
        self.name = name
        self._server = stage.test.add(Server(stage.test, name))
        self._server.session.repeat = repeat
        self._server.session.keepalive = keepalive
        if listen:
            self._server.listen_on = listen
        _check_script(name, script, stage.test.settings)
        self._server.spec = Text.whole(Source(f"origin {name}", script))
        stage.guard(self._server.start)

    @property
    def address(self) -> str:
        return self._server.listen_on

    @property
    def is_over(self) -> bool:
        """Has the script run to its end, as often as it was to?"""
        thread = self._server.thread
        return thread is None or thread.done

    def wait(self) -> None:
        """Wait until the script has run to its end.

        :raises ScriptFailed: if it fails
        """
        self._stage.guard(self._server.wait)

    def stop(self) -> None:
        """Stop serving at once."""
        self._stage.guard(self._server.stop)


def _check_script(name: str, script: str, settings: Settings) -> None:
    """Find mistakes in an origin's script now, and not when somebody connects. :raises ScriptFailed:"""
    from .check import Checker

    source = Source(f"origin {name}", f"server {name} {{{script}}} -start\n")
    wrong = [finding for finding in Checker(source, settings).run() if not finding.warning]
    if wrong:
        raise ScriptFailed(str(wrong[0]))


class Cache:
    """A running cache: requests, VCL, CLI, counters, log."""

    def __init__(
        self, stage: Stage, name: str, vcl: str, parameters: Mapping[str, object], arguments: str, program: str
    ) -> None:
        self._stage = stage
        self.name = name
        if program:
            stage.test.macros.define("varnishd", program)
        self._daemon = stage.test.add(Daemon(stage.test, name, "varnish"))
        self._daemon.args.extend(f"-p '{key}={value}'" for key, value in parameters.items())
        if arguments:
            self._daemon.args.append(arguments)
        self.load_vcl(vcl)
        stage.guard(self._daemon.start)

    @property
    def workdir(self) -> Path:
        """What the tools take as ``-n``."""
        return self._daemon.workdir

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: IP and port."""
        macros = self._stage.test.macros
        return macros.get(f"{self.name}_addr") or "", int(macros.get(f"{self.name}_port") or 0)

    @property
    def url(self) -> str:
        address, port = self.address
        return f"http://{address}:{port}"

    def load_vcl(self, vcl: str) -> None:
        """Compile VCL, with the origins as backends, and use it.

        :raises ScriptFailed: with the compiler's message
        """
        backends = all_backends(self._stage.test) or "backend default none;\n"
        self._answer(lambda: self._daemon.load_vcl(f"vcl 4.1;\n{backends}\n{vcl}"))

    def cli(self, command: str) -> str:
        """The answer to a CLI command.

        :raises ScriptFailed: if its status is not 200
        """
        return self._answer(lambda: self._daemon.cli.ask(command))

    def _answer(self, ask: Callable[[], tuple[int, str]]) -> str:
        """What the daemon answers; a refusal is the test's to judge and does not end the stage."""
        answers: list[tuple[int, str]] = []
        self._stage.guard(lambda: answers.append(ask()))
        status, text = answers[0]
        if status != protocol.OK:
            raise ScriptFailed(f"{status} {text}")
        return text

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request over a connection of its own."""
        address, port = self.address
        connection = http.client.HTTPConnection(address, port, timeout=self._stage.test.settings.max_duration / 2)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.reason, fields, answer.read())
        finally:
            connection.close()

    def get(self, path: str = "/", headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers)

    def counter(self, name: str) -> int:
        """A counter's value; patterns and a missing ``MAIN.`` as in scripts.  KeyError if there is none."""
        self._daemon.counters.refresh()
        value = self._daemon.counters.find(name)
        if value is None:
            raise KeyError(name)
        return value

    def wait_counter(self, name: str, wanted: int, patience: float = PATIENCE) -> None:
        """Wait for a counter to have a value (AssertionError if it does not get there): some trail by a moment."""
        until = time.monotonic() + patience
        while (value := self.counter(name)) != wanted:
            assert time.monotonic() < until, f"{name} is {value}, not {wanted}"
            time.sleep(0.01)

    def transactions(self, query: str = "", grouping: str = "request") -> list[list[Transaction]]:
        """All groups of log transactions so far, those a VSL query selects."""
        self._stage.guard(self._daemon.catch_up)
        tail = LogTail(self.workdir)
        if not tail.open(tail=False):
            return []
        select = parse_query(query) if query else None
        grouper = Grouper(grouping)
        found: list[list[Transaction]] = []
        try:
            while (chunk := tail.next()) is not None:
                found.extend(group for group in grouper.feed(chunk) if select is None or select(group))
        except LogError:
            pass  # the log went round while we read: what we have is what there is
        return found

    def stop(self) -> None:
        """Stop it and check that it ended as it should."""
        self._stage.guard(self._daemon.wait)
