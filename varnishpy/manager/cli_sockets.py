"""The manager's CLI connections: ``-T`` listeners, ``-M`` masters, and standard input with ``-d``."""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import string
import sys
from collections.abc import Callable
from pathlib import Path

from varnishpy.cli.dispatch import CliCall, CliSession, Dispatcher
from varnishpy.cli.protocol import AUTH, CANT, CHALLENGE_LENGTH, CLOSE, CliError, auth_response, frame
from varnishpy.manager.complain import complain
from varnishpy.manager.loop import Loop

# A peer that does not read its answers must not fill our memory.
_MOST_UNSENT = 64 * 1024 * 1024


class CliConnection:
    """One connection: reads commands, writes answers, authenticates if there is a secret."""

    def __init__(self, owner: CliSockets, fd_in: int, fd_out: int, ident: str, authenticated: bool,
                 on_close: Callable[[], None]) -> None:  # fmt: skip
        self._owner = owner
        self._fd_in = fd_in
        self._fd_out = fd_out
        self._on_close = on_close
        self._unsent = bytearray()
        self._writing = False
        self.closed = False
        self.session = CliSession(owner.dispatcher, authenticated, ident, audit=owner.audit)
        owner.loop.watch(fd_in, self._readable)
        if authenticated:
            self._send(self._banner())
        else:
            letters = string.ascii_lowercase
            self.session.challenge = "".join(secrets.choice(letters) for _ in range(CHALLENGE_LENGTH))
            self._send(frame(AUTH, f"{self.session.challenge}\n\nAuthentication required.\n"))

    def _banner(self) -> bytes:
        return frame(200, self._owner.banner())

    def _readable(self) -> None:
        try:
            data = os.read(self._fd_in, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        answer = self.session.feed(data)
        self._send(answer)
        if self.session.closing:
            self.close()

    def _send(self, data: bytes) -> None:
        if self.closed or not data:
            return
        self._unsent += data
        if len(self._unsent) > _MOST_UNSENT:
            complain("Error", f"CLI {self.session.ident}: the peer does not read its answers, closing")
            self.close()
            return
        self._writable()

    def _writable(self) -> None:
        while self._unsent:
            try:
                sent = os.write(self._fd_out, self._unsent)
            except BlockingIOError:
                self._pause_reading()
                return
            except OSError:
                self.close()
                return
            del self._unsent[:sent]
        if self._writing:
            self._writing = False
            self._owner.loop.unwatch(self._fd_out)
            self._owner.loop.watch(self._fd_in, self._readable)

    def _pause_reading(self) -> None:
        """A peer that does not take its answers gives no commands either."""
        if not self._writing:
            self._writing = True
            self._owner.loop.unwatch(self._fd_in)
            self._owner.loop.watch(self._fd_out, self._writable, selectors.EVENT_WRITE)

    def close(self) -> None:
        """Close the connection; harmless if it is closed already."""
        if self.closed:
            return
        self.closed = True
        self._owner.loop.unwatch(self._fd_out if self._writing else self._fd_in)
        self._owner.connections.discard(self)
        self._on_close()


class CliSockets:
    """All CLI connections of the manager."""

    def __init__(self, loop: Loop, dispatcher: Dispatcher, banner: Callable[[], str], traffic_log: Callable[[], bool],
                 ) -> None:  # fmt: skip
        self.loop = loop
        self.dispatcher = dispatcher
        self.banner = banner
        self._traffic_log = traffic_log
        self.connections: set[CliConnection] = set()
        self.secret_file: Path | None = None
        self.listeners: list[socket.socket] = []
        dispatcher.bind(auth=self._auth)

    def audit(self, session: CliSession, line: str, status: int | None, answer: str) -> None:
        """Log CLI traffic as the parameter ``cli_traffic`` wishes; ping would only be noise."""
        if not self._traffic_log() or line.startswith(("ping", "auth")):
            return
        if status is None:
            complain("CLI", f"CLI {session.ident} Rd {line}")
        else:
            complain("CLI", f"CLI {session.ident} Wr {status:03d} {answer}")

    def _auth(self, call: CliCall) -> str | tuple[int, str]:
        if self.secret_file is None:
            raise CliError(CANT, "Secret file not configured\n")
        try:
            secret = self.secret_file.read_bytes()
        except OSError as error:
            raise CliError(CANT, f"Cannot open secret file ({error.strerror})\n") from None
        expected = auth_response(call.session.challenge, secret)
        if not call.session.challenge or not secrets.compare_digest(expected, call.args[0].lower()):
            complain("Security", f"CLI Authentication failure from {call.session.ident}")
            return CLOSE, ""
        call.session.authenticated = True
        call.session.challenge = ""
        return self.banner()

    def listen(self, listener: socket.socket) -> None:
        """Accept CLI connections on a listening socket."""
        listener.setblocking(False)
        self.listeners.append(listener)
        self.loop.watch(listener.fileno(), lambda: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                complain("Error", f"CLI accept failed: {error.strerror}")
            return
        self._adopt(sock, "telnet")

    def _adopt(self, sock: socket.socket, kind: str, on_close: Callable[[], None] | None = None) -> None:
        """Serve the CLI on a connected socket."""

        def closed() -> None:
            sock.close()
            if on_close is not None:
                on_close()

        sock.setblocking(False)
        try:
            ident = f"{kind} {_name(sock.getpeername())} {_name(sock.getsockname())}"
        except OSError:  # a peer that reset the connection has no name any more
            closed()
            return
        connection = CliConnection(self, sock.fileno(), sock.fileno(), ident, self.secret_file is None, closed)
        if not connection.closed:
            self.connections.add(connection)

    def serve_stdin(self, on_eof: Callable[[], None]) -> None:
        """Serve the CLI on standard input and output (``-d``)."""
        sys.stdout.flush()
        connection = CliConnection(self, 0, 1, "debug 0 0", True, on_eof)
        if not connection.closed:  # nobody is there to read the banner
            self.connections.add(connection)

    def call_master(self, addresses: list[tuple[int, tuple[object, ...] | str]], pause: float = 1.0) -> None:
        """Keep a CLI connection to a ``-M`` address open: connect, and again after it closed or failed.

        :param addresses: address families with addresses, tried in order
        """
        for family, address in addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(1.0)  # all else waits meanwhile
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                complain("Info", f"Could not connect to CLI-master: {error.strerror or error}")
                continue
            self._adopt(sock, "master", lambda: self._later(addresses, pause))
            return
        self._later(addresses, pause)

    def _later(self, addresses: list[tuple[int, tuple[object, ...] | str]], pause: float) -> None:
        self.loop.after(pause, lambda: self.call_master(addresses, pause))

    def close(self) -> None:
        """Close listeners and connections."""
        for listener in self.listeners:
            self.loop.unwatch(listener.fileno())
            listener.close()
        self.listeners.clear()
        for connection in list(self.connections):
            connection.close()


def _name(address: object) -> str:
    if isinstance(address, tuple):
        return f"{address[0]} {address[1]}"
    return str(address) or "-"
