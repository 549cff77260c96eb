"""The stats socket: HTTP/1.1 on a Unix socket, to look at the cache process with any client. Read-only.

    curl --unix-socket DIR/stats.sock http://v/metrics

One thread accepts; each client has a thread of its own, of which there are few. A client that does not take its answer
within :data:`SEND_TIMEOUT` is dropped. Nothing here takes a lock of the traffic's for longer than a provider needs to
copy its figures, and a reader of ``/log`` follows the ring in shared memory like any other program: if it is too slow,
it loses records, not the cache time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from varnishpy import stats
from varnishpy.child import metrics
from varnishpy.child.stats_documents import counters_json, group_json, latencies_json, to_json
from varnishpy.log.cursor import LogError, LogOverrun, RingCursor
from varnishpy.log.grouping import MODES, Grouper
from varnishpy.log.query import QueryError, Test, parse_user_query
from varnishpy.stats.latency import Latencies

MOST_CLIENTS = 16
MOST_LOG_READERS = 4
MOST_HEAD = 8192
RECEIVE_TIMEOUT = 30.0
SEND_TIMEOUT = 5.0
_PATH_LIMIT = 100  # sun_path holds 108 octets on Linux

Provider = Callable[[], object]
_PAGE = Path(__file__).with_name("stats_page.html")
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    431: "Header Too Large", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


# the page loads nothing from anywhere, and is nobody's frame
_SAFE = (
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request is not answered; ``fields`` are further lines of the head."""

    status: int
    text: bytes
    fields: str = ""


class StatsSocketError(Exception):
    """The socket could not be made; the message names its path."""


@dataclass(slots=True)
class _Answer:
    status: int
    kind: str
    body: bytes


@dataclass(slots=True)
class _Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    keep: bool
    accept: str


class StatsSocket:
    """The socket and its threads.

    :param path: where the socket is made, mode 0600; one left by a dead process is replaced
    :param providers: what ``/sessions``, ``/scoreboard``, ``/workspaces``, ``/pools``, ``/params``, ``/panic`` show
    :param log_memory: the log's segment, for ``/log``
    :param latencies: those of all workers
    """

    def __init__(
        self,
        path: str | Path,
        providers: Mapping[str, Provider],
        log_memory: memoryview | None = None,
        latencies: Callable[[], Latencies] = Latencies,
    ) -> None:
        self.path = Path(path)
        self._providers = dict(providers)
        self._latencies = latencies
        self.log_memory = log_memory
        self._listener = self._listen()
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._log_readers = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="stats-socket", daemon=True)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = -1
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            name = str(self.path)
            if len(os.fsencode(name)) > _PATH_LIMIT:
                directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                name = f"/proc/self/fd/{directory}/{self.path.name}"
            listener.bind(name)
            # nobody can connect before listen(), so there is no moment at which others could
            os.chmod(self.path, 0o600)
            listener.listen(MOST_CLIENTS)
        except OSError as error:
            listener.close()
            raise StatsSocketError(f"stats_socket {self.path}: {error.strerror or error}") from error
        finally:
            if directory >= 0:
                os.close(directory)
        return listener

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and every connection, and remove the file."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            clients = dict(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *clients.values()):
            if thread.is_alive():
                thread.join(2)
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(PermissionError):  # in a jail the directory is not ours; the manager removes it then
            self.path.unlink(missing_ok=True)

    # -- connections

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._stopping.wait(0.1):  # closed by stop(); else short of descriptors: try again
                    return
                continue
            stats.main.inc("stats_clients")
            with self._lock:
                full = len(self._clients) >= MOST_CLIENTS
                if not full:
                    thread = threading.Thread(target=self._serve, args=(client,), name="stats-client", daemon=True)
                    self._clients[client] = thread
            if full:
                stats.main.inc("stats_dropped")
                client.settimeout(0.1)
                with contextlib.suppress(OSError):
                    client.recv(MOST_HEAD)  # what is left unread would reset the connection before the answer is seen
                    client.sendall(_head(503, "text/plain", 21, False) + b"too many connections\n")
                client.close()
                continue
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            pending = b""
            while not self._stopping.is_set():
                client.settimeout(RECEIVE_TIMEOUT)
                asked, pending = self._receive(client, pending)
                if asked is None:
                    return
                client.settimeout(SEND_TIMEOUT)
                if not self._respond(client, asked):
                    return
        except TimeoutError:
            stats.main.inc("stats_dropped")
        except OSError:
            pass  # the client went away
        finally:
            client.close()
            with self._lock:
                self._clients.pop(client, None)

    def _receive(self, client: socket.socket, pending: bytes) -> tuple[_Asked | None, bytes]:
        """A request head; None at the end of the connection or after an answer to a bad request."""
        data = pending
        while b"\r\n\r\n" not in data:
            if len(data) > MOST_HEAD:
                self._send(client, _Answer(431, "text/plain", b"request head too large\n"), False, False)
                return None, b""
            try:
                more = client.recv(4096)
            except TimeoutError:
                return None, b""
            if not more:
                return None, b""
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            self._send(client, _Answer(400, "text/plain", b"not an HTTP/1 request\n"), False, False)
            return None, b""
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        if fields.get("content-length", "0") != "0" or "transfer-encoding" in fields:
            self._send(client, _Answer(400, "text/plain", b"no request body is expected\n"), False, False)
            return None, b""
        refusal = self._refusal(fields)
        if refusal is not None:
            stats.main.inc("stats_refused")
            self._send(client, _Answer(refusal.status, "text/plain", refusal.text), False, False, refusal.fields)
            return None, b""
        keep = words[2] == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
        accept = fields.get("accept", "").lower()
        try:
            target = urlsplit(words[1])
            query = parse_qs(target.query, keep_blank_values=True)
        except ValueError:
            self._send(client, _Answer(400, "text/plain", b"not a request target\n"), False, False)
            return None, b""
        return _Asked(words[0], unquote(target.path), query, keep, accept), rest

    def _refusal(self, fields: Mapping[str, str]) -> Refusal | None:
        """Why a request with these fields is not answered. Who can open the socket's file may ask for anything."""
        return None

    def _respond(self, client: socket.socket, asked: _Asked) -> bool:
        """Answer; False: close."""
        only_head = asked.method == "HEAD"
        if asked.method not in ("GET", "HEAD"):
            self._send(client, _Answer(405, "text/plain", b"only GET and HEAD\n"), False, False)
            return False
        if asked.path == "/log" and not only_head:
            return self._log(client, asked)
        self._send(client, self._answer(asked), only_head, asked.keep)
        return asked.keep

    def _send(self, client: socket.socket, answer: _Answer, only_head: bool, keep: bool, fields: str = "") -> None:
        head = _head(answer.status, answer.kind, len(answer.body), keep, fields)
        deadline = time.monotonic() + SEND_TIMEOUT
        data = memoryview(head if only_head else head + answer.body)
        while data:
            # the timeout of a socket counts from every bit of progress; ours does not
            client.settimeout(max(deadline - time.monotonic(), 0.001))
            data = data[client.send(data) :]

    # -- answers

    def _answer(self, asked: _Asked) -> _Answer:
        path = asked.path
        try:
            if path == "/":
                return _Answer(200, "text/html; charset=utf-8", _PAGE.read_bytes())
            if path == "/stats.json":
                return _Answer(200, "application/json", counters_json(stats.registry))
            if path == "/metrics":
                kind = metrics.wanted(asked.accept)
                found = metrics.families(stats.registry, self._latencies())
                return _Answer(200, kind, metrics.render(found, kind))
            if path == "/latencies":
                return _Answer(200, "application/json", to_json(latencies_json(self._latencies())))
            if path == "/log":
                return _Answer(200, "application/x-ndjson", b"")
            provider = self._providers.get(path[1:])
            if provider is None:
                return _Answer(404, "text/plain", f"no such page; there are: {' '.join(self._pages())}\n".encode())
            value = provider()
            if isinstance(value, str):
                return _Answer(200, "text/plain; charset=utf-8", value.encode())
            return _Answer(200, "application/json", to_json(value))
        except Exception:  # a provider of another room failed: say so, here is where it can be seen
            return _Answer(500, "text/plain; charset=utf-8", traceback.format_exc().encode())

    def _pages(self) -> list[str]:
        return ["/", "/stats.json", "/metrics", "/latencies", "/log", *(f"/{name}" for name in sorted(self._providers))]

    # -- the log

    def _log(self, client: socket.socket, asked: _Asked) -> bool:
        mode = asked.query.get("g", ["request"])[0]
        count = asked.query.get("k", ["0"])[0]
        test: Test | None = None
        try:
            if "q" in asked.query:
                test = parse_user_query("\n".join(asked.query["q"]))
            if mode not in MODES or not count.isdigit():
                raise ValueError(f"g is one of {', '.join(MODES)}; k is a number of transactions")
        except (QueryError, ValueError) as error:
            self._send(client, _Answer(400, "text/plain; charset=utf-8", f"{error}\n".encode()), False, asked.keep)
            return asked.keep
        with self._lock:
            free = self.log_memory is not None and self._log_readers < MOST_LOG_READERS
            self._log_readers += free
        if not free:
            self._send(client, _Answer(503, "text/plain", b"no log, or too many readers of it\n"), False, asked.keep)
            return asked.keep
        try:
            self._stream(client, asked, mode, int(count), test)
        finally:
            with self._lock:
                self._log_readers -= 1
        return False

    def _stream(self, client: socket.socket, asked: _Asked, mode: str, count: int, test: Test | None) -> None:
        assert self.log_memory is not None
        from_head = "d" in asked.query
        cursor = RingCursor(self.log_memory, tail=not from_head)  # before the head: who has that misses nothing
        client.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        lines = self._lines(client, mode, test, cursor, from_head)
        for sent, line in enumerate(lines, 1):
            client.settimeout(SEND_TIMEOUT)
            client.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            if sent == count:
                break
        client.sendall(b"0\r\n\r\n")

    def _lines(
        self, client: socket.socket, mode: str, test: Test | None, cursor: RingCursor, from_head: bool
    ) -> Iterator[bytes]:
        """Log groups as lines until the client goes. ``from_head``: old records, then end."""
        assert self.log_memory is not None
        grouper = Grouper(mode)
        taken = 0
        while not self._stopping.is_set():
            try:
                chunk = cursor.next()
            except LogOverrun:
                grouper.clear()
                yield to_json({"notice": "overrun"})
                cursor = RingCursor(self.log_memory)
                continue
            except LogError as error:
                yield to_json({"notice": str(error)})
                return
            if chunk is None:
                if from_head or _gone(client):
                    return
                self._stopping.wait(0.05)
                continue
            for group in grouper.feed(chunk):
                if test is None or test(group):
                    yield group_json(group)
            taken += 1
            if taken % 100 == 0:
                self._stopping.wait(0.01)  # parsing must not take the interpreter from the traffic


def _gone(client: socket.socket) -> bool:
    try:
        client.settimeout(0)
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _head(status: int, kind: str, length: int, keep: bool, fields: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{_SAFE if kind.startswith('text/html') else ''}"
        f"{fields}"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    ).encode()
