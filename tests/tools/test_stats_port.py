"""The statistics' pages on a loopback port."""

from __future__ import annotations

import base64
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.conftest import Instance
from varnishpy import stats
from varnishpy.child.stats_port import StatsPort, read_token
from varnishpy.child.stats_socket import StatsSocketError
from varnishpy.params import ParamError
from varnishpy.params.table import ParamTable

TOKEN = "Abc-0123456789-secret"


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
        ("stats_token_file", "token", "absolute path"),
        ("stats_listen", "7071", "ADDRESS:PORT"),
        ("stats_listen", "127.0.0.1:99999", "ADDRESS:PORT"),
        ("stats_socket", "127.0.0.1:7071", "there is stats_listen=127.0.0.1:7071"),
        ("stats_socket", "stats.sock", "absolute path"),
    ],
)
def test_what_the_parameters_refuse(name: str, text: str, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        ParamTable().set(name, text)


@pytest.mark.parametrize("where", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7071"])
def test_other_addresses_need_a_token(where: str) -> None:
    with pytest.raises(StatsSocketError, match="no loopback address, so stats_token_file"):
        StatsPort(where, {})


@pytest.fixture
def guarded() -> Iterator[StatsPort]:
    """Reachable from everywhere, with a token."""
    made = StatsPort("0.0.0.0:0", {"panic": lambda: "all is well\n"}, token=TOKEN)
    made.start()
    yield made
    made.stop()


def basic(text: str) -> str:
    return "Authorization: Basic " + base64.b64encode(text.encode()).decode() + "\r\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("", 401),
        ("Host: 127.0.0.1:{port}\r\n", 401),
        (f"Authorization: Bearer {TOKEN}\r\n", 200),
        (f"authorization: bearer {TOKEN}\r\n", 200),
        (f"Authorization: Bearer {TOKEN}x\r\n", 401),
        (f"Authorization: Bearer {TOKEN.lower()}\r\n", 401),
        ("Authorization: Bearer\r\n", 401),
        (f"Authorization: Digest {TOKEN}\r\n", 401),
        ("Host: cache.example:{port}\r\n" + basic(f"anybody:{TOKEN}"), 200),
        (basic(f":{TOKEN}"), 200),
        (basic(TOKEN), 401),
        (basic(f"{TOKEN}:"), 401),
        ("Authorization: Basic !!!\r\n", 401),
        ("Host: h\r\nOrigin: http://evil.example\r\n" + basic(f":{TOKEN}"), 403),
        ("Host: h\r\nSec-Fetch-Site: cross-site\r\n" + basic(f":{TOKEN}"), 403),
        ("Host: h\r\nOrigin: http://H\r\nSec-Fetch-Site: same-origin\r\n" + basic(f":{TOKEN}"), 200),
    ],
)
def test_the_token(guarded: StatsPort, fields: str, status: int) -> None:
    refused = stats.main.get("stats_refused")
    found, body = ask(guarded, fields.format(port=guarded.port))
    assert found == status
    assert (b"all is well" in body) == (status == 200)
    assert stats.main.get("stats_refused") - refused == (status != 200)


def test_a_browser_is_told_to_ask_its_user(guarded: StatsPort) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=10)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Basic realm="varnishpy", charset="UTF-8"')
    connection.close()


def test_the_page_loads_nothing_and_is_nobodys_frame(port: StatsPort) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port.port, timeout=10)
    connection.request("GET", "/")
    policy = connection.getresponse().headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    connection.close()


def test_a_file_with_the_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f" {TOKEN} \nmore\n")
    assert read_token(str(path)) == TOKEN and read_token("") == ""
    for text, message in (("short\n", "less than 16 characters"), ("", "less than 16 characters")):
        path.write_text(text)
        with pytest.raises(StatsSocketError, match=message):
            read_token(str(path))
    with pytest.raises(StatsSocketError, match="No such file"):
        read_token(str(tmp_path / "none"))


@pytest.mark.parametrize("text", ["127.0.0.1:7071", "[::1]:7071", "0.0.0.0:7071", "cache.example:1", "none"])
def test_what_stats_listen_takes(text: str) -> None:
    table = ParamTable()
    table.set("stats_listen", text)
    assert table.text("stats_listen") == text
