"""One connection to a backend."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from enum import Enum
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock, x509
from varnishpy.base.endpoint import split_name
from varnishpy.base.tls_info import TlsInfo

if TYPE_CHECKING:
    from varnishpy.backends.conn_pool import ConnPool

_LONGEST_WAIT: Final = 20.0 * 24 * 3600  # seconds; poll(2) takes no more than three weeks


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

    A plain socket is non-blocking: waiting is one poll(2), and nothing about the socket changes for it. One that speaks
    TLS has a timeout instead.

    ``created`` is a monotonic time; ``reused`` counts the uses after the first. ``charged`` is what the fetch had
    counted of request head, request body and response head when it got the connection.
    """

    __slots__ = (
        "_poll", "_tls", "buf", "charged", "created", "fd", "local", "patience", "pool", "remote", "reused", "sock",
        "state",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, pool: ConnPool) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.pool = pool
        self.buf = bytearray()
        self.created = clock.mono()
        self.reused = 0
        self.charged = (0, 0, 0)
        self.state = ConnState.USED
        self.patience = clock.NEVER  # seconds that `receive` waits for each piece of a body
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self.local = split_name(_name(sock, False))
        self.remote = split_name(_name(sock, True))

    @property
    def tls(self) -> TlsInfo | None:
        """Of a connection that speaks TLS; made when it is asked for."""
        return _agreed(self._tls) if self._tls is not None else None

    @property
    def speaks_tls(self) -> bool:
        """What is readable may then be less than a record."""
        return self._tls is not None

    def _set_timeout(self, seconds: float) -> None:
        self.sock.settimeout(None if seconds == clock.NEVER else max(seconds, 0.001))

    def send_now(self, data: bytes) -> int:
        """Send as much as the kernel takes without waiting; the octets sent, none where TLS might have to read first.

        :raises OSError: the connection is broken
        """
        if self._tls is not None:
            return 0
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def send_all(self, data: bytes, seconds: float) -> None:
        """Send it all, waiting for so long at most, where nothing is taken.

        :raises OSError: the connection is broken, or the time is over
        """
        self._set_timeout(seconds)
        try:
            self.sock.sendall(data)
        finally:
            if self._tls is None:
                self.sock.setblocking(False)

    def receive(self, size: int, seconds: float) -> bytes:
        """What arrives, up to ``size`` octets, within so many seconds; nothing at the end.

        :raises TimeoutError: nothing did
        :raises OSError: the connection is broken
        """
        if self._tls is not None:
            self._set_timeout(seconds)
        elif not self._poll.poll(None if seconds == clock.NEVER else clock.milliseconds(min(seconds, _LONGEST_WAIT))):
            raise TimeoutError
        return self.sock.recv(size)

    def has_leftover(self) -> bool:
        """Were octets received that nobody asked for?"""
        return bool(self.buf) or (self._tls is not None and self._tls.pending() > 0)

    def is_quiet(self) -> bool:
        """Nothing has arrived, not even the end: an idle connection that is readable has been given up by its peer."""
        return not self.buf and not self._poll.poll(0)

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
