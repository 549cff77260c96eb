"""Debian's C programs attached to a running varnishpy: a daemon that has served a known set of requests, and readers.

The daemon of `busy` is shared by all tests that only look. Every reader runs with a deadline.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.conftest import require_program
from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Origin, running
from tests.e2e.screen import Screen
from tests.waiting import wait_for

PATIENCE = 20.0

VCL = """
vcl 4.1;
import std;
backend default { .host = "127.0.0.1"; .port = "%d"; }
backend dead { .host = "127.0.0.1"; .port = "1"; }
sub vcl_recv {
    unset req.http.X-Forwarded-For;
    std.log("side:client " + req.url);
    if (req.url == "/synth") {
        return (synth(404, "Not here"));
    }
    if (req.url ~ "^/pass") {
        return (pass);
    }
    if (req.url == "/pipe") {
        return (pipe);
    }
    if (req.url == "/dead") {
        set req.backend_hint = dead;
    }
}
sub vcl_backend_response {
    if (bereq.url == "/esi") {
        set beresp.do_esi = true;
    }
}
"""


@dataclass
class Sent:
    """One request of a client and what came of it. ``handling`` is varnishncsa's word."""

    method: str
    url: str
    proto: str
    status: int
    length: int
    handling: str


@dataclass
class Busy:
    """A daemon and what it was asked."""

    cache: Cache
    origin: Origin
    sent: list[Sent] = field(default_factory=list)
    sessions: list[list[str]] = field(default_factory=list)  # the URLs of each session, in order

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Output of a C program on this instance."""
        return run(program, "-n", str(self.cache.workdir), *arguments, status=status)


def run(program: str, *arguments: str, status: int = 0) -> str:
    """Output of a program that must end by itself, with that status and nothing on stderr unless it fails."""
    done = subprocess.run([require_program(program), *arguments], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == status, (program, arguments, done.returncode, done.stdout, done.stderr)
    assert status or not done.stderr, (program, arguments, done.stderr)
    return done.stdout.decode("latin-1")


def exchange(cache: Cache, requests: list[bytes]) -> bytes:
    """Requests over one connection, the last of which must close it; everything that came back."""
    return cache.raw(b"".join(requests))


def _ask(method: str, url: str, close: bool = False, body: bytes = b"") -> bytes:
    head = f"{method} {url} HTTP/1.1\r\nHost: test\r\nUser-Agent: test/1\r\n"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    return (head + ("Connection: close\r\n" if close else "") + "\r\n").encode() + body


def _pages(origin: Origin) -> None:
    fresh = "max-age=600"
    origin.pages["/hit"] = lambda x: x.answer(b"h" * 1234, cache_control=fresh, content_type="text/plain")
    origin.pages["/esi"] = lambda x: x.answer(b'<a><esi:include src="/inc"/></a>', cache_control=fresh)
    origin.pages["/inc"] = lambda x: x.answer(b"included", cache_control=fresh)
    origin.pages["/pass"] = lambda x: x.answer(b"got " + x.body)
    origin.pages["/pipe"] = lambda x: x.answer(b"piped")
    origin.pages["/h2"] = lambda x: x.answer(b"2" * 500, cache_control=fresh)


def _traffic(busy: Busy) -> None:
    cache = busy.cache
    one = [("GET", "/hit", 200, 1234, "miss"), ("GET", "/hit", 200, 1234, "hit"), ("HEAD", "/hit", 200, 0, "hit")]
    two = [("POST", "/pass?q=1", 200, 9, "pass"), ("GET", "/synth", 404, 0, "synth"), ("GET", "/esi", 200, 15, "miss")]
    three = [("GET", "/dead", 503, 0, "miss")]
    four = [("GET", "/pipe", 200, 5, "pipe")]
    for plan in (one, two, three, four):
        out = exchange(
            cache,
            [
                _ask(method, url, number == len(plan) - 1, b"12345" if method == "POST" else b"")
                for number, (method, url, *_) in enumerate(plan)
            ],
        )
        statuses = [int(word) for word in re.findall(rb"HTTP/1\.1 (\d\d\d) ", out)]
        assert statuses == [status for _, _, status, _, _ in plan], out
        busy.sent += [Sent(method, url, "HTTP/1.1", status, n, how) for method, url, status, n, how in plan]
        busy.sessions.append([url for _, url, *_ in plan])
    client = H2Client(cache.port)
    for url, length, handling in (("/h2", 500, "miss"), ("/hit", 1234, "hit")):
        stream = client.get(url)
        assert (stream.status, len(stream.body)) == (200, length)
        busy.sent.append(Sent("GET", url, "HTTP/2.0", 200, length, handling))
    busy.sessions.append(["/h2", "/hit"])
    client.sock.close()
    # a synthetic body's length is for the log to say: nobody counted it here
    for request in busy.sent:
        if request.handling == "synth" or request.status == 503:
            request.length = -1


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    """A daemon that has served all kinds of requests, every session of which has ended."""
    require_program("varnishlog")
    origin = Origin()
    _pages(origin)
    directory = tmp_path_factory.mktemp("busy")
    (directory / "v.vcl").write_text(VCL % origin.port)
    arguments = ["-f", str(directory / "v.vcl"), "-p", "feature=+http2", "-p", "vsl_layout=1", "-i", "busy"]
    with running(directory / "v", *arguments, "-p", "thread_pools=2") as cache:
        made = Busy(cache, origin)
        _traffic(made)
        wait_for(
            lambda: made.run("varnishlog", "-d", "-g", "raw", "-i", "SessClose").count("SessClose") == 5,
            "the end of all sessions",
        )
        cache.wait_counter("MAIN.sess_closed", lambda value: value == 5)
        yield made
    origin.close()
    assert not origin.errors


@contextlib.contextmanager
def screen(program: str, *arguments: str) -> Iterator[Screen]:
    """A full-screen program for the length of the block."""
    made = Screen(require_program(program), *arguments)
    try:
        yield made
    finally:
        made.close()


class Following:
    """A program that prints as things happen."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(pipe: object, into: list[str]) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            into.append(line.rstrip("\n"))

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)


@contextlib.contextmanager
def following(program: str, *arguments: str) -> Iterator[Following]:
    """A program that runs for the length of the block."""
    made = Following(require_program(program), *arguments)
    try:
        yield made
    finally:
        made.close()
