"""PROXY listeners."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.session.conftest import House
from varnishpy.http.proxy_wire import format_v1, format_v2
from varnishpy.log.tags import Tag

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def ask(address: Any, *pieces: bytes) -> bytes:
    with socket.create_connection(address, 5) as sock:
        got = b""
        try:
            for piece in pieces:
                sock.sendall(piece)
            while data := sock.recv(65536):
                got += data
                if b"\r\n\r\n" in got:
                    break
        except ConnectionError:
            pass
        return got.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("write", [format_v1, format_v2])
def test_addresses(house: House, write: Callable[..., bytes]) -> None:
    (address,) = house.listen("127.0.0.1:0,PROXY")
    body = ask(address, write(("1.2.3.4", 5), ("6.7.8.9", 10)) + GET)
    assert body.startswith(b"1.2.3.4|5 6.7.8.9|10 127.0.0.1|")
    house.log.wait_for(Tag.Proxy, " 1.2.3.4 5 6.7.8.9 10")
    assert "sess 0 PROXY" in house.log.texts(Tag.Begin)
    house.log.wait_for(Tag.ReqStart, "1.2.3.4 5 a0") if house.log.texts(Tag.ReqStart) else None
    body = ask(address, *(bytes([octet]) for octet in write(("1::2", 5), ("6::9", 10))), GET)
    assert body.startswith(b"1::2|5 6::9|10 127.0.0.1|")


def test_local_keeps_the_connections_own(house: House) -> None:
    (address,) = house.listen("127.0.0.1:0,PROXY")
    header = format_v2(("1.2.3.4", 5), ("6.7.8.9", 10))
    assert ask(address, header[:12] + b"\x20" + header[13:] + GET).startswith(b"127.0.0.1|")
    house.log.wait_for(Tag.Proxy, "2 local local local local")


@pytest.mark.parametrize(
    ("octets", "reason", "garbage"),
    [
        (b"XYZ\r\n", "RX_JUNK", ""),
        (b"GET / HTTP/1.1\r\n\r\n", "RX_JUNK", ""),
        (b"PROXY A B C D\r\n", "RX_JUNK", "PROXY1: Too few fields"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 5678\n", "RX_JUNK", ""),
        (b"PROXY " + b" " * 200, "RX_OVERFLOW", ""),
    ],
)
def test_junk(house: House, octets: bytes, reason: str, garbage: str) -> None:
    (address,) = house.listen("127.0.0.1:0,PROXY")
    assert ask(address, octets) == b""
    house.closed(reason)
    assert house.log.texts(Tag.ProxyGarbage) == ([garbage] if garbage else [])


def test_a_header_that_does_not_come(house: House, setting: Callable[[str, str], None]) -> None:
    setting("timeout_idle", "0.5")
    (address,) = house.listen("127.0.0.1:0,PROXY")
    assert ask(address, b"PROXY ") == b""
    house.closed("RX_TIMEOUT")
    socket.create_connection(address, 5).close()
    house.closed("REM_CLOSE")
