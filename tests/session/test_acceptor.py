"""Accepting, on real sockets."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.session.conftest import House
from varnishpy import stats
from varnishpy.log.tags import Tag
from varnishpy.session.acceptor import Acceptors, Mode
from varnishpy.stats.names import MainName

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def ask(address: Any, octets: bytes = GET) -> bytes:
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
    with pytest.raises(OSError) as caught:
        while True:  # the mode takes effect within one connection
            ask(address)
    assert caught.value.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
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


def test_out_of_descriptors(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (address,) = house.listen("127.0.0.1:0", start=False)
    acceptors = house.acceptors
    assert isinstance(acceptors, Acceptors)
    acceptor = acceptors.acceptors[0]
    failures = [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), OSError(errno.ECONNABORTED, "aborted")]

    class Flaky:
        """A listen socket that fails a few times."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return self._sock.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    monkeypatch.setattr(acceptor, "sock", Flaky(acceptor.sock))
    pauses: list[float] = []
    monkeypatch.setattr(acceptor, "_pause", pauses.append)
    names: tuple[MainName, ...] = ("sess_fail", "sess_fail_emfile", "sess_fail_econnaborted")
    before = {name: stats.main.get(name) for name in names}
    acceptors.start()
    assert ask(address)
    assert {name: stats.main.get(name) - n for name, n in before.items()} == dict.fromkeys(before, 1) | {"sess_fail": 2}
    texts = house.log.texts(Tag.SessError)
    assert len(texts) == 2
    assert texts[1].startswith(f"a0 127.0.0.1 {address[1]} ")
    assert texts[1].endswith(f'{errno.EMFILE} "{os.strerror(errno.EMFILE)}"')
    assert len(pauses) == 1 and pauses[0] > 0.0, "what is short now is short in the next microsecond, too"
    assert acceptors.pace.seconds == 0.0  # one success makes up for one failure


def test_a_defect_before_the_first_request_ends_its_session_only(house: House) -> None:
    class Broken:
        def new_session(self, wrk: object, sess: object) -> None:
            raise ZeroDivisionError("of all things")

    house.env.transports["PROXY"] = Broken()
    (address, good) = house.listen("127.0.0.1:0,PROXY", "127.0.0.1:0")
    with socket.create_connection(address, 5) as sock:
        assert sock.recv(100) == b""
    house.log.wait_for(Tag.SessClose)
    assert house.log.texts(Tag.SessClose)[0].startswith("TX_ERROR ")
    assert house.acceptors is not None and not house.acceptors.sessions
    assert ask(good)


def test_pools_that_refuse(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (address,) = house.listen("127.0.0.1:0")
    monkeypatch.setattr(house.env.pools.any(), "_room", 0)
    with pytest.raises(ConnectionError):
        ask(address)
