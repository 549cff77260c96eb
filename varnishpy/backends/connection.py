"""One connection to a backend."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from enum import Enum
from typing import TYPE_CHECKING

from varnishpy.base import clock, x509
from varnishpy.base.endpoint import split_name
from varnishpy.base.tls_info import TlsInfo

if TYPE_CHECKING:
    from varnishpy.backends.conn_pool import ConnPool


class ConnState(Enum):
    """Who has it; changed under the pool's lock."""

    USED = "used"  # a task
    IDLE = "idle"  # the pool, watched by the waiter
    CLOSED = "closed"


def _agreed(sock: ssl.SSLSocket) -> TlsInfo:
    cipher = sock.cipher()
    shown = sock.getpeercert(binary_form=True)
    try:
        certificate = x509.read(shown) if shown else None
    except x509.X509Error:  # OpenSSL has taken it, for all that
        certificate = None
    alpn = sock.selected_alpn_protocol() or ""
    return TlsInfo(sock.version() or "", cipher[0] if cipher else "", alpn, sock.server_hostname or "", certificate)


class Connection:
    """A connected socket. ``buf`` holds octets received beyond what was asked for.

    ``created`` is a monotonic time; ``reused`` counts the uses after the first. ``charged`` is what the fetch had
    counted of request head, request body and response head when it got the connection.
    """

    __slots__ = ("buf", "charged", "created", "fd", "local", "pool", "remote", "reused", "sock", "state")

    def __init__(self, sock: socket.socket, pool: ConnPool) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.pool = pool
        self.buf = bytearray()
        self.created = clock.mono()
        self.reused = 0
        self.charged = (0, 0, 0)
        self.state = ConnState.USED
        self.local = split_name(_name(sock, False))
        self.remote = split_name(_name(sock, True))

    @property
    def tls(self) -> TlsInfo | None:
        """Of a connection that speaks TLS; made when it is asked for."""
        return _agreed(self.sock) if isinstance(self.sock, ssl.SSLSocket) else None

    def set_timeout(self, seconds: float) -> None:
        """How long one send or receive may take from now on; infinite for ever."""
        self.sock.settimeout(None if seconds == clock.NEVER else max(seconds, 0.001))

    def send_now(self, data: bytes) -> int:
        """Send as much as the kernel takes without waiting; the octets sent, none where TLS might have to read first.

        :raises OSError: the connection is broken
        """
        if isinstance(self.sock, ssl.SSLSocket):
            return 0
        try:
            return os.write(self.fd, data)  # a socket with a timeout would wait for room
        except BlockingIOError:
            return 0

    def has_leftover(self) -> bool:
        """Were octets received that nobody asked for?"""
        return bool(self.buf) or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0)

    def is_quiet(self) -> bool:
        """Nothing has arrived, not even the end: an idle connection that is readable has been given up by its peer."""
        if self.buf:
            return False
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the socket; the pool keeps the books."""
        self.state = ConnState.CLOSED
        with contextlib.suppress(OSError):
            self.sock.close()


def _name(sock: socket.socket, peer: bool) -> object:
    try:
        return sock.getpeername() if peer else sock.getsockname()
    except OSError:  # gone already: whoever uses it next will notice
        return None
