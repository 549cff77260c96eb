"""HTTPS from ``-a`` to the log: certificates of the command line and of the CLI, ALPN, curl as the client."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.conftest import require_program
from tests.e2e.harness import Cache, Origin, running
from tests.waiting import wait_for
from varnishpy.tools import log as log_tool


@dataclass
class Secure:
    """A daemon with an HTTPS listener, and the authority that its clients trust."""

    cache: Cache
    origin: Origin
    authority: trustme.CA
    directory: Path
    port: int

    def pem(self, *names: str) -> str:
        """A new certificate with its key in one file."""
        path = self.directory / f"{names[0]}.pem"
        self.authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
        return str(path)

    def curl(self, name: str, path: str, *arguments: str) -> str:
        """curl's output for a URL at a name that stands for the listener."""
        trusted = self.directory / "ca.pem"
        self.authority.cert_pem.write_to_path(trusted)
        command = [
            require_program("curl"), "--silent", "--show-error", "--max-time", "20", "--cacert", str(trusted),
            "--resolve", f"{name}:{self.port}:127.0.0.1", *arguments, f"https://{name}:{self.port}{path}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def subject_for(self, name: str) -> list[str]:
        """The names in the certificate that a client asking for a name is given."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        context.check_hostname = False
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        with plain, context.wrap_socket(plain, server_hostname=name) as sock:
            certificate = sock.getpeercert()
            assert certificate
            return [str(entry[1]) for entry in certificate["subjectAltName"]]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    directory = tmp_path_factory.mktemp("https")
    authority = trustme.CA()
    issued = authority.issue_cert("a.example")
    cert, key = directory / "cert.pem", directory / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    origin = Origin()
    origin.pages["/"] = lambda exchange: exchange.answer(b"hello over TLS", cache_control="max-age=600")
    origin.pages["/large"] = lambda exchange: exchange.answer(bytes(range(256)) * 40000, cache_control="max-age=600")
    origin.pages["/echo"] = lambda exchange: exchange.answer(exchange.body)
    arguments = ["-a", "plain=127.0.0.1:0", "-a", f"web=127.0.0.1:0,HTTPS,cert={cert},key={key}"]
    backend = ["-b", f"127.0.0.1:{origin.port}"]
    with running(directory / "v", *arguments, *backend, "-p", "feature=+http2") as cache:
        addresses = [line.split() for line in cache.cli("debug.listen_address").splitlines()]
        port = next(int(words[2]) for words in addresses if words[0] == "web")
        yield Secure(cache, origin, authority, directory, port)
    origin.close()
    assert not origin.errors


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl(secure: Secure, option: str, version: str) -> None:
    told = ["-w", "\n%{http_version} %{response_code}"]
    assert secure.curl("a.example", "/", option, *told) == f"hello over TLS\n{version} 200"
    # a body of many TLS records, from the origin and from the cache
    for _ in range(2):
        out = secure.curl("a.example", "/large", option, "-o", "/dev/null", "-w", "%{size_download} %{http_version}")
        assert out == f"{256 * 40000} {version}"
    assert secure.origin.hits["/large"] == 1


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_uploads(secure: Secure, option: str) -> None:
    body = secure.directory / "body"
    body.write_bytes(bytes(range(256)) * 4000)
    out = secure.directory / "out"
    secure.curl("a.example", "/echo", option, "--data-binary", f"@{body}", "-o", str(out))
    assert out.read_bytes() == body.read_bytes()


def test_without_http2_alpn_offers_http1_only(secure: Secure) -> None:
    secure.cache.cli("param.set feature -http2")
    assert secure.curl("a.example", "/", "--http2", "-w", "\n%{http_version}") == "hello over TLS\n1.1"
    secure.cache.cli("param.set feature +http2")


def test_the_log_tells_of_the_handshake(secure: Secure, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    secure.curl("a.example", "/?logged", "--http2")
    argv = ["-n", str(secure.cache.workdir), "-d", "-g", "session"]

    def logged() -> str:
        assert log_tool.main([*argv, "-q", 'ReqURL eq "/?logged"']) == 0
        return capsysbinary.readouterr().out.decode()

    def whole() -> str:
        return found if "SessClose" in (found := logged()) else ""

    text = wait_for(whole, "the session in the log")
    assert re.search(r"^-   TLS +TLSv1\.[23] \S+ alpn=h2 sni=a\.example$", text, re.M), text
    assert re.search(r"^--  ReqStart +127\.0\.0\.1 \d+ web https$", text, re.M), text


def test_a_client_without_tls_is_turned_away(secure: Secure) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        answer = b""
        try:
            while piece := sock.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        assert b"HTTP/1.1" not in answer
    assert secure.curl("a.example", "/") == "hello over TLS"


def test_certificates_by_the_cli(secure: Secure) -> None:
    cache = secure.cache
    assert "web" in cache.cli("tls.cert.list") and "a.example" in cache.cli("tls.cert.list")
    other = secure.pem("b.example", "*.c.example")

    cache.cli("tls.cert.load", "second", other)
    assert "staged" in cache.cli("tls.cert.list")
    assert secure.subject_for("b.example") == ["a.example"], "not in force yet"
    cache.cli("tls.cert.rollback")
    assert "second" not in cache.cli("tls.cert.list")

    cache.cli("tls.cert.load", "second", other)
    assert cache.cli_result("tls.cert.load", "second", other)[0] == 300
    cache.cli("tls.cert.commit")
    assert secure.subject_for("b.example") == ["b.example", "*.c.example"]
    assert secure.subject_for("x.c.example") == ["b.example", "*.c.example"]
    assert secure.subject_for("a.example") == ["a.example"]
    assert secure.curl("b.example", "/", "--http2") == "hello over TLS"

    secure.pem("b.example", "d.example")  # the same file with another certificate in it
    cache.cli("tls.cert.reload")
    assert secure.subject_for("d.example") == ["b.example", "d.example"]

    cache.cli("tls.cert.discard", "second")
    cache.cli("tls.cert.commit")
    assert secure.subject_for("b.example") == ["a.example"]
    status, text = cache.cli_result("tls.cert.discard", "second")
    assert (status, "not found" in text) == (300, True)
    status, text = cache.cli_result("tls.cert.load", "third", "/nonexistent.pem")
    assert (status, "/nonexistent.pem" in text) == (300, True)


def test_committed_certificates_outlive_the_child(secure: Secure) -> None:
    cache = secure.cache
    cache.cli("tls.cert.load", "kept", secure.pem("kept.example"))
    cache.cli("tls.cert.load", "left", secure.pem("left.example"))
    cache.cli("tls.cert.commit")
    cache.cli("tls.cert.discard", "left")
    cache.cli("tls.cert.commit")
    cache.cli("tls.cert.load", "staged", secure.pem("staged.example"))
    cache.cli("stop")
    cache.cli("start")
    assert secure.subject_for("kept.example") == ["kept.example"]
    assert secure.subject_for("left.example") == ["a.example"]
    assert secure.subject_for("staged.example") == ["a.example"]
    cache.cli("tls.cert.discard", "kept")
    cache.cli("tls.cert.commit")


def test_a_bad_certificate_stops_the_start(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate at all\n")
    made = Cache(
        tmp_path / "v", ["-a", f"127.0.0.1:0,HTTPS,cert={junk}", "-b", "127.0.0.1:1"], expect_start=False
    )  # fmt: skip
    assert made.process.wait(30) == 2
    made.stop()
    assert made.said(f"Error: Child failed on launch: Error loading certificate {junk}: "), made.output
    assert not any("Traceback" in line for line in made.output), made.output
    assert not (tmp_path / "v").exists()
