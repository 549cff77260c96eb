"""The statistics' pages on a loopback port."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.tools.conftest import Instance
from varnishpy.child.stats_port import StatsPort
from varnishpy.child.stats_socket import StatsSocketError
from varnishpy.params import ParamError
from varnishpy.params.table import ParamTable


@pytest.fixture
def port(instance: Instance) -> Iterator[StatsPort]:
    made = StatsPort("127.0.0.1:0", {"panic": lambda: "all is well\n"})
    made.start()
    yield made
    made.stop()


def ask(port: StatsPort, fields: str, method: str = "GET") -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port.port), 10) as sock:
        sock.sendall(f"{method} /panic HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode())
        data = b""
        while more := sock.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Host: 127.0.0.1:{port}\r\n", 200),
        ("Host: localhost:{port}\r\n", 200),
        ("Host: [::1]:{port}\r\n", 200),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nSec-Fetch-Site: same-origin\r\n", 200),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: none\r\n", 200),
        ("", 403),
        ("Host: rebound.example:{port}\r\n", 403),
        ("Host: 127.0.0.1.example:{port}\r\n", 403),
        ("Host: 192.0.2.1:{port}\r\n", 403),
        ("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: 127.0.0.1:{port}\r\nOrigin: null\r\n", 403),
        ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site\r\n", 403),
    ],
)
def test_only_its_own_site_may_ask(port: StatsPort, fields: str, status: int) -> None:
    found, body = ask(port, fields.format(port=port.port))
    assert found == status
    assert (b"all is well" in body) == (status == 200)


def test_it_is_read_only(port: StatsPort) -> None:
    assert ask(port, "Host: localhost\r\n", "POST")[0] == 405


def test_a_port_that_is_taken(port: StatsPort) -> None:
    with pytest.raises(StatsSocketError, match=r"stats_listen 127\.0\.0\.1:\d+: .*in use"):
        StatsPort(f"127.0.0.1:{port.port}", {})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("stats_listen", "0.0.0.0:7071", "for browsers of this machine"),
        ("stats_listen", "192.0.2.1:7071", "for browsers of this machine"),
        ("stats_listen", "cache.example:7071", "for browsers of this machine"),
        ("stats_listen", "7071", "ADDRESS:PORT"),
        ("stats_listen", "127.0.0.1:99999", "ADDRESS:PORT"),
        ("stats_socket", "127.0.0.1:7071", "there is stats_listen=127.0.0.1:7071"),
        ("stats_socket", "stats.sock", "absolute path"),
    ],
)
def test_what_the_parameters_refuse(name: str, text: str, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        ParamTable().set(name, text)


@pytest.mark.parametrize("text", ["127.0.0.1:7071", "[::1]:7071", "localhost:7071", "127.1.2.3:1", "none"])
def test_what_stats_listen_takes(text: str) -> None:
    table = ParamTable()
    table.set("stats_listen", text)
    assert table.text("stats_listen") == text
