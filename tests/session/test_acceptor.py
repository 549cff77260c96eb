"""Accepting, on real sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Setting
from tests.session.conftest import House, tell
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.log.tags import Tag
from varnishpy.params import table
from varnishpy.request.request import Request, Step
from varnishpy.session.acceptor import Mode
from varnishpy.session.handshake import HandshakeTransport
from varnishpy.stats.names import MainName
from varnishpy.threads import Worker

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def ask(address: Any, octets: bytes = GET) -> bytes:
    """The answer's body. :raises ConnectionResetError: the connection was reset, at whichever call it was noticed"""
    try:
        return _ask(address, octets)
    except OSError as error:
        if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            raise ConnectionResetError from error
        raise


def _ask(address: Any, octets: bytes) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect(address)
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while data := sock.recv(65536):
            got += data
        return got.partition(b"\r\n\r\n")[2]


def test_tcp(house: House) -> None:
    (address,) = house.listen("main=127.0.0.1:0")
    with socket.create_connection(address, 5) as sock:
        sock.sendall(GET)
        mine = sock.getsockname()
        got = sock.recv(65536)
    ends = f"127.0.0.1|{mine[1]} 127.0.0.1|{address[1]}"
    assert got.endswith(f"{ends} {ends}".encode())
    house.closed("REM_CLOSE")
    (opened,) = house.log.texts(Tag.SessOpen)
    words = opened.split()
    assert words[:5] == ["127.0.0.1", str(mine[1]), "main", "127.0.0.1", str(address[1])]
    assert len(words) == 7 and float(words[5]) > 1e9 and int(words[6]) > 2
    assert [text for text in house.log.texts(Tag.Begin) if text.startswith("sess")] == ["sess 0 HTTP/1"]
    assert house.acceptors is not None
    assert house.acceptors.listen_addresses() == f"main 127.0.0.1 {address[1]}\n"
    assert house.acceptors.describe() == []


def test_ipv6_and_unix(house: House, tmp_path: Path) -> None:
    six, uds = house.listen("[::1]:0", str(tmp_path / "s"))
    assert ask(six).startswith(b"::1|")
    assert ask(uds) == b"0.0.0.0|0 0.0.0.0|0 0.0.0.0|0 0.0.0.0|0"
    house.log.wait_for(Tag.SessOpen, "0.0.0.0 0 a1 0.0.0.0 0 ")
    assert house.acceptors is not None
    assert house.acceptors.listen_addresses().endswith(f"a1 {tmp_path / 's'} -\n")


def test_options_are_inherited(house: House, setting: Callable[[str, str], None]) -> None:
    setting("tcp_keepalive_time", "77")
    (address,) = house.listen("127.0.0.1:0")
    assert house.acceptors is not None
    with socket.create_connection(address, 5) as sock:
        sock.sendall(GET[:10])
        while not house.acceptors.sessions:
            house.log.wait_for(Tag.SessOpen)
        (session,) = house.acceptors.sessions.values()
        server: Any = session.sock
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        shown = house.acceptors.describe()[0]
        assert shown["listen"] == "a0" and shown["closed"] is None


def test_hold_refuse_resume(house: House) -> None:
    (address,) = house.listen("127.0.0.1:0")
    acceptors = house.acceptors
    assert acceptors is not None
    assert ask(address)
    acceptors.refuse()
    with pytest.raises(ConnectionResetError):
        while True:  # the mode takes effect within one connection
            ask(address)
    acceptors.hold()
    assert acceptors.mode is Mode.HOLD
    waiting = socket.create_connection(address, 5)
    waiting.sendall(GET)
    acceptors.resume()
    assert waiting.recv(65536).startswith(b"HTTP/1.1 200")
    waiting.close()


def test_stop_closes_the_listener(house: House) -> None:
    (address,) = house.listen("127.0.0.1:0")
    assert house.acceptors is not None
    assert house.acceptors.stop()
    house.acceptors = None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)


def test_out_of_descriptors(house: House, setting: Setting) -> None:
    """Connections wait in the kernel's queue as long as this process may open nothing more."""
    setting("acceptor_sleep_incr", "0.001")
    (address,) = house.listen("127.0.0.1:0")
    acceptors = house.acceptors
    assert acceptors is not None
    assert ask(address)
    waiting = socket.socket()
    waiting.settimeout(10)
    names: tuple[MainName, ...] = ("sess_fail", "sess_fail_emfile")
    before = {name: stats.main.get(name) for name in names}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    spent: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                spent.append(os.open("/dev/null", os.O_RDONLY))
        waiting.connect(address)
        waiting.sendall(GET)
        wait_for(lambda: stats.main.get("sess_fail_emfile") >= before["sess_fail_emfile"] + 3)
        assert acceptors.pace.seconds > 0.0, "what is short now is short in the next microsecond, too"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in spent:
            os.close(fd)
    assert waiting.recv(65536).startswith(b"HTTP/1.1 200")
    waiting.close()
    failures = stats.main.get("sess_fail_emfile") - before["sess_fail_emfile"]
    assert stats.main.get("sess_fail") - before["sess_fail"] == failures
    texts = house.log.texts(Tag.SessError)
    assert len(texts) == failures
    assert texts[0].startswith(f"a0 127.0.0.1 {address[1]} ")
    assert texts[0].endswith(f'{errno.EMFILE} "{os.strerror(errno.EMFILE)}"')
    while acceptors.pace.seconds:  # each success makes up for some failures
        assert ask(address)


def test_a_defect_before_the_first_request_ends_its_session_only(house: House) -> None:
    class Broken(HandshakeTransport):
        def new_session(self, wrk: object, sess: object) -> None:
            raise ZeroDivisionError("of all things")

    house.env.transports["PROXY"] = Broken(house.env)
    (address, good) = house.listen("127.0.0.1:0,PROXY", "127.0.0.1:0")
    with socket.create_connection(address, 5) as sock:
        assert sock.recv(100) == b""
    house.log.wait_for(Tag.SessClose)
    assert house.log.texts(Tag.SessClose)[0].startswith("TX_ERROR ")
    assert house.acceptors is not None and not house.acceptors.sessions
    assert ask(good)


def test_connections_wait_until_there_is_room(house: House, setting: Setting) -> None:
    """More clients than threads and queue can take, and a slow origin: all are served, in the end."""
    release, entered = threading.Event(), threading.Semaphore(0)

    def slow(wrk: Worker, req: Request) -> Step:
        entered.release()
        with wrk.blocking():
            assert release.wait(20)
        return tell(wrk, req)

    house.run = slow
    for name, value in (("thread_queue_limit", "3"), ("thread_pool_max", "100")):
        setting(name, value)
    table.load([("thread_pool_max", "8")])  # less than a user may set
    names: tuple[MainName, ...] = ("sess_held", "sess_dropped")
    before = {name: stats.main.get(name) for name in names}
    (address,) = house.listen("127.0.0.1:0", start=False)
    clients = [socket.create_connection(address, 20) for _ in range(40)]
    for client in clients:
        client.sendall(GET)
    assert house.acceptors is not None
    house.acceptors.start()
    wait_for(lambda: stats.main.get("sess_held") > before["sess_held"])
    assert len(house.acceptors.sessions) < 20
    release.set()
    for client in clients:
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.close()
    assert stats.main.get("sess_dropped") == before["sess_dropped"]


def test_a_pool_that_ends_takes_nothing(house: House) -> None:
    (address,) = house.listen("127.0.0.1:0")
    before = stats.main.get("sess_dropped")
    assert ask(address)
    pool = house.env.pools.any()
    with pool.mutex:
        pool.dying = True
    with pytest.raises(ConnectionResetError):
        ask(address)
    assert stats.main.get("sess_dropped") == before + 1


def test_connections_that_wait_are_counted(house: House) -> None:
    (address,) = house.listen("127.0.0.1:0")
    assert house.acceptors is not None
    house.acceptors.hold()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(address, 5))

        def waiting() -> int:
            stats.main.set("sess_waiting", 0)
            stats.registry.collect()
            return stats.main.get("sess_waiting")

        wait_for(lambda: waiting() == 3, "three that wait")
        house.acceptors.resume()
        wait_for(lambda: waiting() == 0, "nobody that waits")
