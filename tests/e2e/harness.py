"""Running the real daemon against a scripted origin, over real sockets.

`Cache` starts ``varnishpy -F`` in a working directory of its own and offers its CLI, counters and sessions. `Origin` is
a threaded server whose pages are plain functions over the connection, so that it can misbehave in any way.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.waiting import wait_for
from varnishpy.cli import protocol

DEADLINE = 20.0

Page = Callable[["Exchange"], None]


class Exchange:
    """One request at the origin, with the connection to answer it on."""

    def __init__(self, sock: socket.socket, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.sock = sock
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.close = headers.get("connection", "").lower() == "close"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"", status: str = "200 OK", **headers: str) -> None:
        """A plain answer with Content-Length; ``cache_control="..."`` becomes ``Cache-Control``."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if self.method == "HEAD" else body))


class Held:
    """An origin's page that answers when it is told to."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def page(self, exchange: Exchange) -> None:
        assert self.release.wait(60)
        exchange.answer(b"at last", cache_control="max-age=0")


class Origin:
    """A server on loopback; ``pages`` maps a path (without query) to a function, ``hits`` counts requests by path."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.hits: Counter[str] = Counter()
        self.requests: list[Exchange] = []
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def page(self, path: str) -> Callable[[Page], Page]:
        """Decorator: the function serves that path."""

        def add(function: Page) -> Page:
            self.pages[path] = function
            return function

        return add

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self._sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as stream:
                while self._one(sock, stream):
                    pass
        except OSError:
            pass  # the cache hung up, which it may
        except Exception as error:
            self.errors.append(error)
        finally:
            with self._lock:
                self._sockets.discard(sock)

    def _one(self, sock: socket.socket, stream: Any) -> bool:
        first = stream.readline().decode("latin-1").split()
        if len(first) != 3:
            return False
        headers: dict[str, str] = {}
        while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = b""
        if "content-length" in headers:
            body = stream.read(int(headers["content-length"]))
            if len(body) < int(headers["content-length"]):
                return False  # broken off: a client's broken body is passed on as far as it came
        elif headers.get("transfer-encoding") == "chunked":
            while True:
                line = stream.readline()
                if not line:
                    return False
                size = int(line.split(b";")[0], 16)
                if not size:
                    break
                body += stream.read(size)
                stream.readline()
            stream.readline()
        exchange = Exchange(sock, first[0], first[1], headers, body)
        path = first[1].partition("?")[0]
        with self._lock:
            self.hits[path] += 1
            self.requests.append(exchange)
        page = self.pages.get(path)
        if page is None:
            exchange.answer(b"no page\n", "404 Not Found")
        else:
            page(exchange)
        return not exchange.close

    def close(self) -> None:
        with self._lock:
            self._closing = True
            sockets = list(self._sockets)
        self._listener.close()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Cache:
    """A running daemon.

    :param arguments: command line words besides ``-F -n``; without ``-a`` a free port is used
    :param environment: variables besides those of this process
    :param python: the interpreter
    """

    def __init__(
        self,
        workdir: Path,
        arguments: list[str],
        expect_start: bool = True,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.workdir = workdir
        if "-a" not in arguments:
            arguments = ["-a", "127.0.0.1:0", *arguments]
        self.command = [python, "-m", "varnishpy", "-F", "-n", str(workdir), *arguments]
        self.output: list[str] = []
        self._environment = {**os.environ, **(environment or {})}
        self._begin(expect_start)

    def _begin(self, expect_start: bool = True) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if expect_start:
            wait_for(lambda: self.said("Child launched OK") or self.process.poll() is not None, "the child's launch")
            if self.process.poll() is not None:
                raise AssertionError("the daemon ended:\n" + "".join(self.output))
            addresses = [line.split() for line in self.cli("debug.listen_address").splitlines()]
            self.port = next(int(words[2]) for words in addresses if words[2] != "-")

    def begin_again(self) -> None:
        """In the same directory, after its manager was killed; what was said before is forgotten."""
        assert self.process.wait(DEADLINE) == -signal.SIGKILL
        self._reader.join(DEADLINE)  # until the child, who writes to the same pipe, has ended as well
        assert not self._reader.is_alive(), "the child outlives its manager"
        self.output.clear()
        self._begin()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)

    def said(self, text: str) -> bool:
        return any(text in line for line in list(self.output))

    # -- looking in ------------------------------------------------------------------------------------------------

    def cli_result(self, *words: str) -> tuple[int, str]:
        """One CLI command over the default ``-T`` socket: status and text."""
        from varnishpy.tools.adm import connect

        with connect(str(self.workdir), None, None, DEADLINE) as sock:
            sock.settimeout(DEADLINE)
            sock.sendall(protocol.join(words).encode() + b"\n")
            return protocol.read_response(sock, DEADLINE)

    def cli(self, *words: str) -> str:
        """A CLI command that must succeed. One word is split at spaces."""
        if len(words) == 1:
            words = tuple(words[0].split())
        status, text = self.cli_result(*words)
        assert status == 200, (words, status, text)
        return text

    def stats_page(self, path: str) -> bytes:
        """A page of the stats socket."""
        connection = _UnixConnection(str(self.workdir / "stats.sock"))
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, (path, response.status, body)
            return body
        finally:
            connection.close()

    def counters(self) -> dict[str, int]:
        """All counters by their full names, ``MAIN.cache_hit``."""
        page = json.loads(self.stats_page("/stats.json"))
        return {name: row["value"] for name, row in page["counters"].items()}

    def counter(self, name: str) -> int:
        return self.counters()[name]

    def wait_counter(self, name: str, test: Callable[[int], bool]) -> int:
        wait_for(lambda: test(self.counter(name)), f"{name}, now {self.counter(name)}")
        return self.counter(name)

    @property
    def child_pid(self) -> int:
        """0 while there is none."""
        found = re.search(r"Worker:\s+(\d+)", self.cli("pid"))
        return int(found[1]) if found else 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- plain clients ---------------------------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE)

    def raw(self, data: bytes) -> bytes:
        """Send octets, read until the cache closes (or says nothing for long, which fails)."""
        with self.connect() as sock:
            sock.sendall(data)
            out = b""
            while piece := sock.recv(65536):
                out += piece
            return out

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Response:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def stop(self) -> int:
        """End the daemon; returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("the daemon did not end within 15 s:\n" + "".join(self.output)) from None
        self._reader.join(5)
        return self.process.returncode


class Response:
    """What a client got."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def is_hit(self) -> bool:
        return len(self.headers.get("x-varnish", "").split()) == 2


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("v", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self._path)


@contextlib.contextmanager
def running(
    workdir: Path,
    *arguments: str,
    status: int = 0,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Cache]:
    """A daemon for the length of the block; it must end with that status, and without a traceback."""
    cache = Cache(workdir, list(arguments), environment=environment, python=python)
    try:
        yield cache
    except BaseException:
        sys.stderr.write("".join(cache.output))
        raise
    finally:
        ended = cache.stop()
    assert ended == status, "".join(cache.output)
    assert not any("Traceback" in line for line in cache.output), "".join(cache.output)


def readable(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


def process_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def descriptors(pid: int) -> int:
    """Sockets, pipes, eventfds and the like that a process has open; shared memory comes and goes by its own rules."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/{pid}/fd/{name}").startswith(("socket:", "pipe:", "anon_inode:"))
    return count
