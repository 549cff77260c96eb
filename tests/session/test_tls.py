"""HTTPS listeners and their certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.session.conftest import House
from varnishpy.log.tags import Tag
from varnishpy.session.certificates import CertError, CertStore
from varnishpy.session.tls_settings import CertificateSpec

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Makes certificate files."""

    def make(*names: str) -> str:
        path = tmp_path_factory.mktemp("tls") / "cert.pem"
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
        return str(path)

    return make


def connect(
    address: Any, authority: trustme.CA, name: str = "a.example", alpn: tuple[str, ...] = ("http/1.1",)
) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(socket.create_connection(address, 5), server_hostname=name)


def test_requests_over_tls(house: House, authority: trustme.CA, pem: Callable[..., str]) -> None:
    house.certificates.load(CertificateSpec(pem("a.example")))
    house.certificates.commit()
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    with connect(address, authority) as sock:
        for _ in range(3):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert sock.selected_alpn_protocol() == "http/1.1"
    house.closed("REM_CLOSE")
    assert " alpn=http/1.1 sni=a.example" in house.log.texts(Tag.TLS)[0]


def test_pipelined_and_large(house: House, authority: trustme.CA, pem: Callable[..., str]) -> None:
    house.certificates.load(CertificateSpec(pem("a.example")))
    house.certificates.commit()
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    with connect(address, authority) as sock:
        sock.settimeout(10)
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 20)  # one record, twenty requests
        got = 0
        while got < 20 * 300_000:
            data = sock.recv(65536)
            assert data
            got += len(data)


def test_server_names(house: House, authority: trustme.CA, pem: Callable[..., str]) -> None:
    store = house.certificates
    store.load(CertificateSpec(pem("a.example"), ident="a"))
    store.load(CertificateSpec(pem("b.example", "*.c.example"), ident="b"))
    store.commit()
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    for name in ("a.example", "b.example", "x.c.example"):
        connect(address, authority, name).close()  # the client checks the name
    with pytest.raises(ssl.SSLError):
        connect(address, authority, "other.example")
    store.discard("a")
    with pytest.raises(CertError, match="not found"):
        store.discard("a")
    store.load(CertificateSpec(pem("other.example"), ident="o"))
    connect(address, authority, "a.example").close()  # nothing is committed yet
    store.commit()
    connect(address, authority, "other.example").close()
    with pytest.raises(ssl.SSLError):
        connect(address, authority, "a.example")


def test_a_certificate_for_one_listener(house: House, authority: trustme.CA, pem: Callable[..., str]) -> None:
    house.certificates.load(CertificateSpec(pem("a.example"), ident="all"))
    house.certificates.load(CertificateSpec(pem("b.example"), ident="one", frontend="a1"))
    house.certificates.commit()
    first, second = house.listen("127.0.0.1:0,HTTPS", "127.0.0.1:0,HTTPS")
    connect(second, authority, "b.example").close()
    connect(second, authority, "a.example").close()
    with pytest.raises(ssl.SSLError):
        connect(first, authority, "b.example")


def test_alpn(
    house: House, authority: trustme.CA, pem: Callable[..., str], setting: Callable[[str, str], None]
) -> None:
    house.certificates.load(CertificateSpec(pem("a.example")))
    house.certificates.commit()
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    with connect(address, authority, alpn=("h2", "http/1.1")) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
    setting("feature", "+http2")
    with connect(address, authority, alpn=("h2", "http/1.1")) as sock:
        assert sock.selected_alpn_protocol() == "h2"
        sock.sendall(GET)  # that is no HTTP/2
        assert sock.recv(100) == b""
    house.closed("RX_JUNK")


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", bytes(range(250, 150, -1))]
)
def test_no_tls(house: House, pem: Callable[..., str], octets: bytes) -> None:
    house.certificates.load(CertificateSpec(pem("a.example")))
    house.certificates.commit()
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    with socket.create_connection(address, 5) as sock:
        sock.sendall(octets)
        with contextlib.suppress(OSError):  # a reset, perhaps before we are through
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1000):
                pass
    house.log.wait_for(Tag.SessClose)
    assert "TLS handshake failed" in house.log.texts(Tag.TLS)[0]


def test_slow_handshake(house: House, pem: Callable[..., str], setting: Callable[[str, str], None]) -> None:
    setting("tls_handshake_timeout", "0.1")
    house.certificates.load(CertificateSpec(pem("a.example")))
    house.certificates.commit()
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    with socket.create_connection(address, 5) as sock:
        assert sock.recv(100) == b""
    house.closed("RX_TIMEOUT")


def test_no_certificate(house: House) -> None:
    (address,) = house.listen("127.0.0.1:0,HTTPS")
    with socket.create_connection(address, 5) as sock:
        assert sock.recv(100) == b""
    house.log.wait_for(Tag.TLS, "No certificates loaded")


def test_store(pem: Callable[..., str], tmp_path: Path) -> None:
    store = CertStore()
    assert store.load(CertificateSpec(pem("a.example"), ident="a")) == "a"
    with pytest.raises(CertError, match="already exists"):
        store.load(CertificateSpec(pem("a.example"), ident="a"))
    assert store.list() == [{"frontend": "default", "id": "a", "status": "staged", "subject": "a.example"}]
    with pytest.raises(CertError, match="uncommitted"):
        store.reload()
    store.commit()
    assert [row["status"] for row in store.list()] == ["active"]
    assert store.list(only_staged=True) == []
    with pytest.raises(CertError, match="already exists"):
        store.load(CertificateSpec(pem("a.example"), ident="a"))
    store.discard("a")
    assert [row["status"] for row in store.list(only_staged=True)] == ["discard"]
    store.rollback()
    store.reload()
    assert [row["status"] for row in store.list()] == ["active"]
    assert store.load(CertificateSpec(pem("b.example"))) == "cert0"
    store.discard("cert0")  # was only staged
    assert len(store.list()) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file"),
        (b"", "Error loading certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "Error loading certificate"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertError, match=text):
        CertStore().load(CertificateSpec(str(path)))


def test_reload_is_all_or_nothing(house: House, authority: trustme.CA, pem: Callable[..., str]) -> None:
    files = [pem("a.example"), pem("b.example")]
    for path in files:
        house.certificates.load(CertificateSpec(path))
    house.certificates.commit()
    authority.issue_cert("new.example").private_key_and_cert_chain_pem.write_to_path(files[0])
    Path(files[1]).write_text("ruined")
    with pytest.raises(CertError):
        house.certificates.reload()
    assert [row["subject"] for row in house.certificates.list()] == ["a.example", "b.example"]
    authority.issue_cert("b.example").private_key_and_cert_chain_pem.write_to_path(files[1])
    house.certificates.reload()
    assert [row["subject"] for row in house.certificates.list()] == ["new.example", "b.example"]
