"""Addresses, listening, connecting, and reading and writing that stop when the test does."""

from __future__ import annotations

import os
import select
import socket
from dataclasses import dataclass
from typing import Protocol

from .context import Test, Waker

READABLE = select.POLLIN | select.POLLERR | select.POLLHUP


class NetError(OSError):
    """An address that cannot be used; the text says why."""


def is_path(address: str) -> bool:
    """Whether the address is that of a Unix socket (a path, or ``@name`` for an abstract one)."""
    return address.startswith(("/", "@"))


def unix_name(address: str) -> str:
    return "\0" + address[1:] if address.startswith("@") else address


def split_address(text: str) -> tuple[str, str]:
    """Host and port of ``host:port``, ``[v6]:port``, ``host port`` or ``host``; the port is "" if absent.

    Raises NetError.
    """
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise NetError("IPv6 address lacks ']'")
        return host, rest.lstrip(": ")
    if " " in text:
        host, _, port = text.partition(" ")
        return host, port.strip()
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, ""


def resolve(host: str, port: str, passive: bool = False) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """The addresses of a host and port, most preferred first.  Raises NetError."""
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(host or None, port or "0", 0, socket.SOCK_STREAM, 0, flags)
    except OSError as error:
        raise NetError(str(error)) from None
    return [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


def listen(address: str, backlog: int, datagram: bool = False) -> socket.socket:
    """A listening (or bound datagram) socket.  Raises NetError."""
    if is_path(address):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if address.startswith("/") and os.path.lexists(address):
                os.unlink(address)
            mask = os.umask(0)
            try:
                sock.bind(unix_name(address))
            finally:
                os.umask(mask)
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            raise NetError(error.strerror or str(error)) from None
        return sock
    host, port = split_address(address)
    problem = "no address"
    for family, where in resolve(host, port, passive=True):
        sock = socket.socket(family, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            if not datagram:
                sock.listen(backlog)
        except OSError as error:
            sock.close()
            problem = error.strerror or str(error)
            continue
        return sock
    raise NetError(problem)


@dataclass(slots=True)
class Bound:
    """Where a socket listens: address, port, and both together as used in scripts."""

    address: str
    port: str

    @property
    def together(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def bound(sock: socket.socket) -> Bound:
    name = sock.getsockname()
    return Bound(str(name[0]), str(name[1]))


def connect(test: Test, address: str, timeout: float, waker: Waker | None = None) -> socket.socket:
    """A connected, non-blocking socket.  Raises NetError; TestAborted if the test ends first."""
    if is_path(address):
        targets: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = [(socket.AF_UNIX, unix_name(address))]
    else:
        host, port = split_address(address)
        targets = list(resolve(host, port))
    problem = "no address"
    for family, where in targets:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        error = sock.connect_ex(where)
        try:
            if error and error != 115 and os.strerror(error) != "Operation now in progress":
                raise NetError(os.strerror(error))
            if error and not test.poll(sock.fileno(), select.POLLOUT, timeout, waker):
                raise NetError("Connection timed out")
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise NetError(os.strerror(error))
        except NetError as failure:
            problem = str(failure)
            sock.close()
            continue
        except BaseException:
            sock.close()
            raise
        return sock
    raise NetError(problem)


def accept(test: Test, listener: socket.socket, waker: Waker) -> socket.socket:
    """The next connection, non-blocking.  Raises TestAborted when the test or the party ends first."""
    name = listener.getsockname()
    where = (name if isinstance(name, str) else bound(listener).together) if name else "?"
    while True:
        with test.waiting(f"a connection to {where}"):
            test.poll(listener.fileno(), select.POLLIN, None, waker)
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            continue
        sock.setblocking(False)
        return sock


class Readable(Protocol):
    """What can be read from: a socket, or TLS over one, which may have octets at hand that poll(2) does not see."""

    def fileno(self) -> int: ...

    def recv(self, count: int, flags: int = ..., /) -> bytes: ...


class Writable(Protocol):
    def fileno(self) -> int: ...

    def send(self, data: bytes | memoryview, /) -> int: ...


def wait_readable(test: Test, sock: Readable, timeout: float | None, waker: Waker | None = None) -> int:
    """As ``test.poll`` for reading."""
    pending = getattr(sock, "pending", None)
    if pending is not None and pending():
        return select.POLLIN
    return test.poll(sock.fileno(), select.POLLIN, timeout, waker)


def send_all(test: Test, sock: Writable, data: bytes | memoryview, waker: Waker | None = None) -> None:
    """Write everything.  Raises OSError; TestAborted when the test or the party ends first."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            test.poll(sock.fileno(), select.POLLOUT, None, waker)
