"""A place where a backend is found for a whole test session, whatever stands behind it in one test or another.

A program is compiled with the addresses of its gates, so a cache need not be started anew when the next test brings
other origins. Behind a gate there is a function or application (`origins`), a server elsewhere that it passes octets on
to, or nothing: then it closes each connection. What is left of one test's connections is closed before the next.
"""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from varnishpy.kit.origins import Handler, OriginError, Request, Response, handler_of, reason_of

_HALF: Final = 65536
_LOOK: Final = 0.05  # seconds between looks whether a server that says nothing has ended


@dataclass(frozen=True)
class Elsewhere:
    """A server that octets are passed on to; ``is_over``: it has ended, and answers no more."""

    address: tuple[str, int]
    is_over: Callable[[], bool]


Origin = Callable[..., object] | Elsewhere
_NO_BODY: Final = (204, 304)


class Gate:
    """See the module text. ``name``: of the backend."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: list[Request] = []  # that came here, in this test
        self.failures: list[str] = []  # of the origin, in this test
        self._origin: Handler | Elsewhere | None = None
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name=f"gate {name}", daemon=True).start()

    def open_to(self, origin: Origin | None) -> None:
        """From now on connections go there; those that there are end.

        :raises OriginError: it is nothing that can be an origin
        """
        behind = origin if origin is None or isinstance(origin, Elsewhere) else handler_of(origin)
        with self._lock:
            self._origin = behind
            self.requests = []
            self.failures = []
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The session is over."""
        self.open_to(None)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                origin = self._origin
                if origin is not None:
                    self._sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock, origin), daemon=True).start()

    def _serve(self, sock: socket.socket, origin: Handler | Elsewhere | None) -> None:
        try:
            with sock:
                if isinstance(origin, Elsewhere):
                    self._relay(sock, origin)
                elif origin is not None:
                    _Conversation(sock, self, origin)
        except OSError:
            pass  # the cache, or the end of the test, has closed the connection
        finally:
            with self._lock:
                self._sockets.discard(sock)

    def _relay(self, sock: socket.socket, origin: Elsewhere) -> None:
        try:
            behind = socket.create_connection(origin.address, 10)
        except OSError:
            self._used_up()
            return
        with behind:
            forth = threading.Thread(target=_copy, args=(sock, behind), daemon=True)
            forth.start()
            if self._answers(behind, origin):
                _copy(behind, sock)
            else:
                self._used_up()
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            forth.join()

    @staticmethod
    def _answers(behind: socket.socket, origin: Elsewhere) -> bool:
        """Wait until the server says something, or hangs up; False if it has ended before it did."""
        while not select.select([behind], [], [], _LOOK)[0]:
            if origin.is_over():
                return bool(select.select([behind], [], [], 0)[0])
        return True

    def _used_up(self) -> None:
        self.failures.append(
            f"origin {self.name} takes no connection: its script has run to its end "
            "(more requests than it answers? repeat=N runs it N times)"
        )

    def answer(self, handler: Handler, request: Request) -> Response:
        """What the origin says; a failure of it is a 500 to the cache, and remembered."""
        self.requests.append(request)
        try:
            return handler(request)
        except OriginError as error:
            self.failures.append(f"origin {self.name}: {error}")
        except Exception:
            self.failures.append(f"origin {self.name} failed:\n{traceback.format_exc()}")
        return Response(500, [("Cache-Control", "no-store")], b"the origin of this test failed\n")


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_HALF):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Conversation(http.server.BaseHTTPRequestHandler):
    """Requests of one connection, answered by a handler."""

    protocol_version = "HTTP/1.1"

    def __init__(self, sock: socket.socket, gate: Gate, handler: Handler) -> None:
        self._gate = gate
        self._handler = handler
        super().__init__(sock, ("127.0.0.1", 0), None)  # type: ignore[arg-type]

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _any(self) -> None:
        request = Request(self.command, self.path, list(self.headers.items()), self._body())
        response = self._gate.answer(self._handler, request)
        self.send_response_only(response.status, response.reason or reason_of(response.status))
        names = {name.lower() for name, _ in response.fields}
        for name, value in response.fields:
            self.send_header(name, value)
        bodiless = response.status in _NO_BODY or self.command == "HEAD"
        if not names & {"content-length", "transfer-encoding"} and response.status not in _NO_BODY:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(response.body)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):  # whatever the method
            return self._any
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
