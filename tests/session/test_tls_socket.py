"""TLS on a socket that takes little at a time."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import tls_contexts
from varnishpy.session.tls_socket import TlsSocket

BODY = bytes(range(256)) * 8192  # 2 MB


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[TlsSocket, ssl.SSLSocket]]:
    """A server's and a client's end, shaken hands."""
    server_context, client_context = tls_contexts(tmp_path / "c", "a.example")
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    theirs.settimeout(10)
    made: list[ssl.SSLSocket] = []
    thread = threading.Thread(
        target=lambda: made.append(client_context.wrap_socket(theirs, server_hostname="a.example"))
    )
    thread.start()
    server = TlsSocket(ours, server_context)
    while events := server.handshake():
        wait(server, events)
    thread.join(10)
    yield server, made[0]
    server.close()
    made[0].close()


def wait(sock: TlsSocket, events: int) -> None:
    poll = select.poll()
    poll.register(sock.fileno(), events)
    assert poll.poll(10_000)


@pytest.mark.parametrize("piece", [1, 7, 1000, 20_000])
def test_everything_arrives_once_and_in_order(pair: tuple[TlsSocket, ssl.SSLSocket], piece: int) -> None:
    server, client = pair
    body = BODY[: piece * 2000]
    got = bytearray()

    def read() -> None:
        while len(got) < len(body):
            got.extend(client.recv(3000))

    reader = threading.Thread(target=read)
    reader.start()
    at = blocked = 0
    while at < len(body):
        try:
            at += server.sendmsg([body[at : at + piece], body[at + piece : at + 2 * piece]])
        except BlockingIOError:
            blocked += 1
            wait(server, select.POLLOUT)
    assert not server.unsent  # nothing is left behind that nobody would come back for
    reader.join(10)
    assert bytes(got) == body
    assert blocked or len(body) < 100_000


def test_reading(pair: tuple[TlsSocket, ssl.SSLSocket]) -> None:
    server, client = pair
    with pytest.raises(BlockingIOError):
        server.recv(10)
    client.sendall(b"hello world")
    wait(server, select.POLLIN)
    got = b""
    while not got:  # session tickets and the like may come first
        try:
            got = server.recv(5)
        except BlockingIOError:
            wait(server, select.POLLIN)
    assert got == b"hello"
    assert server.pending() == 6
    assert server.recv(100) == b" world"
    client.shutdown(socket.SHUT_WR)
    wait(server, select.POLLIN)
    assert server.recv(10) == b""
