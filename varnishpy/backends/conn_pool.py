"""Connections to one endpoint: made, kept while idle, reused.

Backends with the same addresses, preamble and TLS settings share one pool. An idle connection is watched by the waiter:
whatever arrives on it, or backend_idle_timeout, ends it. A connection taken for reuse is looked at once more; that its
peer closed it just then remains possible, which is why a fetch may try again once (``backend.py``).

After certain failures to connect, further attempts fail at once for a while ("held down"): with a local cause they
would make it worse, with a refusal they are useless.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from varnishpy import stats
from varnishpy.backends.connection import Connection, ConnState
from varnishpy.base import clock
from varnishpy.base.locks import make_lock, retire_lock
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.threads.waiter import Waiter, WaitEvent

_LOCAL: Final = frozenset({errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL})
_REMOTE: Final = frozenset({errno.ECONNREFUSED, errno.ENETUNREACH})

HELD_DOWN: Final = 0  # in place of an errno: not tried


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How to speak TLS to an endpoint; ``name`` is for SNI and verification."""

    name: str
    sni: bool = True
    verify_peer: bool = True
    verify_host: bool = False

    def context(self) -> ssl.SSLContext:
        """A context with these settings."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.verify_peer and self.verify_host
        context.verify_mode = ssl.CERT_REQUIRED if self.verify_peer else ssl.CERT_NONE
        if self.verify_peer:
            context.load_default_certs()
        return context


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect: a Unix path (``@name`` is abstract), or an IPv4 and an IPv6 address or one of them.

    ``preamble`` is sent first on each new connection.
    """

    ipv4: tuple[str, int] | None = None
    ipv6: tuple[str, int] | None = None
    path: str | None = None
    preamble: bytes = b""
    tls: TlsSettings | None = None

    def addresses(self) -> list[tuple[socket.AddressFamily, str | tuple[str, int]]]:
        """Socket addresses in the order to try."""
        if self.path is not None:
            return [(socket.AF_UNIX, "\0" + self.path[1:] if self.path.startswith("@") else self.path)]
        found: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = []
        if self.ipv4 is not None:
            found.append((socket.AF_INET, self.ipv4))
        if self.ipv6 is not None:
            found.append((socket.AF_INET6, self.ipv6))
        if params.prefer_ipv6:
            found.reverse()
        return found

    def first_ip(self) -> tuple[str, int]:
        """The address that stands for it where one is needed; 0.0.0.0 for a Unix socket."""
        if self.path is not None:
            return "0.0.0.0", 0
        address = (self.ipv6 or self.ipv4) if params.prefer_ipv6 else (self.ipv4 or self.ipv6)
        return address or ("0.0.0.0", 0)


class ConnectError(Exception):
    """No connection; ``errno`` says why, and is `HELD_DOWN` when none was tried: ``why`` is then the last reason.

    ``distrust`` is what OpenSSL holds against the backend's certificate.
    """

    def __init__(self, number: int, why: int = 0, text: str = "", distrust: str = "") -> None:
        super().__init__(text or os.strerror(why or number))
        self.errno = number
        self.distrust = distrust
        self.text = text or os.strerror(why or number)


class ConnPool:
    """All connections to one endpoint. Thread safe; its lock is never held across I/O with the backend."""

    def __init__(self, endpoint: Endpoint, waiter: Waiter) -> None:
        self.endpoint = endpoint
        self.refs = 0  # kept by ConnPools
        self.used = 0
        self._waiter = waiter
        self._lock = make_lock("conn_pool")
        self._idle: dict[int, Connection] = {}
        self._held_until = 0.0
        self._held_errno = 0
        self._closed = False
        self._tls = endpoint.tls.context() if endpoint.tls is not None else None

    @property
    def idle(self) -> int:
        """Idle connections."""
        return len(self._idle)

    def reuse(self) -> Connection | None:
        """An idle connection, if there is one that looks well."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                _, conn = self._idle.popitem()
                conn.state = ConnState.USED
                self.used += 1
                watched = self._waiter.remove(conn.fd)
            # not watched any more: an event is just being delivered, and its callback finds the connection taken
            if watched and conn.is_quiet():
                conn.reused += 1
                return conn
            self.close(conn)

    def connect(self, timeout: float) -> Connection:
        """A new connection. Blocks for ``timeout`` seconds at most.

        :raises ConnectError:
        """
        with self._lock:
            self.used += 1
        try:
            return self._open(timeout)
        except ConnectError:
            with self._lock:
                self.used -= 1
            raise

    def _open(self, timeout: float) -> Connection:
        if self._held_until:
            with self._lock:
                if self._held_until > clock.mono():
                    raise ConnectError(HELD_DOWN, self._held_errno)
                self._held_until = 0.0
        deadline = clock.mono() + timeout
        number, text, distrust = errno.EADDRNOTAVAIL, "", ""
        for family, address in self.endpoint.addresses():
            try:
                sock = self._connect(family, address, deadline)
            except OSError as exc:
                if isinstance(exc, ssl.SSLCertVerificationError):
                    distrust = exc.verify_message
                if isinstance(exc, ssl.SSLError):  # its number is one of OpenSSL's
                    number, text = errno.EPROTO, f"TLS: {exc.reason or exc}"
                    continue
                # a wait for a connection that runs out has no number of its own in Python
                timed_out = isinstance(exc, TimeoutError) and exc.errno is None
                number, text = errno.ETIMEDOUT if timed_out else exc.errno or errno.EIO, ""
                continue
            return Connection(sock, self)
        self._hold_down(number)
        raise ConnectError(number, text=text, distrust=distrust)

    def _connect(self, family: socket.AddressFamily, address: str | tuple[str, int], deadline: float) -> socket.socket:
        left = deadline - clock.mono()
        if left <= 0:
            raise TimeoutError
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(None if left == clock.NEVER else left)
            sock.connect(address)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.endpoint.preamble:
                sock.sendall(self.endpoint.preamble)
            if self._tls is not None and self.endpoint.tls is not None:
                settings = self.endpoint.tls
                name = settings.name if settings.sni or self._tls.check_hostname else None
                return self._tls.wrap_socket(sock, server_hostname=name)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock

    def _hold_down(self, number: int) -> None:
        if number in _LOCAL:
            seconds = params.backend_local_error_holddown
        elif number in _REMOTE:
            seconds = params.backend_remote_error_holddown
        else:
            return
        if seconds > 0:
            with self._lock:
                until = clock.mono() + seconds
                if self._held_until == 0.0 or until < self._held_until:
                    self._held_until = until
                    self._held_errno = number

    def recycle(self, conn: Connection) -> bool:
        """Take back a connection whose last response was read to its end; False if it had to be closed."""
        if conn.has_leftover():  # more than was announced: whatever that is, it is no answer to what comes next
            self.close(conn)
            return False
        with self._lock:
            self.used -= 1
            if not self._closed:
                conn.state = ConnState.IDLE
                deadline = clock.mono() + params.backend_idle_timeout
                try:
                    self._waiter.add(conn.fd, deadline, lambda event: self._idle_event(conn, event))
                except OSError:
                    pass
                else:
                    self._idle[conn.fd] = conn
                    return True
        conn.close()
        return False

    def _idle_event(self, conn: Connection, event: WaitEvent) -> None:
        """Runs on the waiter's thread: an idle connection was closed, sent something, or was idle for too long."""
        with self._lock:
            if conn.state is not ConnState.IDLE:
                return
            self._idle.pop(conn.fd, None)
            conn.state = ConnState.CLOSED
        conn.close()

    def close(self, conn: Connection) -> None:
        """Close a connection in use."""
        with self._lock:
            self.used -= 1
        conn.close()

    def shut(self) -> None:
        """Close what is idle, now and later: nobody refers to this pool any more."""
        with self._lock:
            self._closed = True
            gone = []
            while self._idle:
                _, conn = self._idle.popitem()
                conn.state = ConnState.CLOSED  # should the waiter be at it, its callback does nothing
                self._waiter.remove(conn.fd)
                gone.append(conn)
        for conn in gone:
            conn.close()
        retire_lock("conn_pool", self._lock)

    def describe(self) -> dict[str, object]:
        """The pool as the stats socket shows it."""
        return {"used": self.used, "idle": self.idle, "refs": self.refs, "held_down": self._held_until > clock.mono()}


class ConnPools:
    """All pools of the process, by endpoint."""

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self._lock = threading.Lock()
        self._pools: dict[Endpoint, ConnPool] = {}
        self._stats = stats.new_segment(stats.VCP)

    def ref(self, endpoint: Endpoint) -> ConnPool:
        """The pool of an endpoint, with one more reference."""
        with self._lock:
            pool = self._pools.get(endpoint)
            self._stats.inc("ref_miss" if pool is None else "ref_hit")
            if pool is None:
                pool = self._pools[endpoint] = ConnPool(endpoint, self._waiter)
            pool.refs += 1
            return pool

    def release(self, pool: ConnPool) -> None:
        """Give a reference back; with the last one the pool's idle connections are closed."""
        with self._lock:
            pool.refs -= 1
            if pool.refs:
                return
            self._pools.pop(pool.endpoint, None)
        pool.shut()

    def pools(self) -> list[ConnPool]:
        """All pools."""
        with self._lock:
            return list(self._pools.values())
