"""The file of -A."""

from __future__ import annotations

from pathlib import Path

import pytest

from varnishpy.manager import tls_file
from varnishpy.manager.complain import StartupError
from varnishpy.session.tls_settings import FrontendPolicy, TlsSettings


def read(tmp_path: Path, text: str) -> TlsSettings:
    for name in ("a", "b", "c", "dh"):
        (tmp_path / name).write_text(name)
    path = tmp_path / "tls.cfg"
    path.write_text(text.replace("DIR", str(tmp_path)))
    return tls_file.read(str(path))


def test_all_there_is(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        frontend = { host = "*" port = "443" }   # the first
        frontend = {
            host = "::1"
            port = "8443"
            name = "six"
            match-global-certs = yes
            sni-nomatch-abort = "off"
            tls-protos = TLSv1.2 TLSv1.3
            ciphers = "ECDHE+AESGCM"
            prefer-server-ciphers = no
            pem-file = "DIR/a"
            pem-file = { cert = "DIR/b" private-key = "DIR/c" dhparam = "DIR/dh" name = "b" ciphers = "HIGH" }
        }
        frontend = "*:9443"
        frontend = { host = "DIR/socket" }
        sni-nomatch-abort = on
        ecdh-curve = "prime256v1"
        pem-file = "DIR/c"
        """,
    )
    assert settings.listen == [
        "tls0=:443,HTTPS",
        "six=[::1]:8443,HTTPS",
        "tls2=:9443,HTTPS",
        f"tls3={tmp_path}/socket,HTTPS",
    ]
    assert settings.policies["tls0"] == FrontendPolicy((), True, True)
    assert settings.policies["six"] == FrontendPolicy(("TLSv1.2", "TLSv1.3"), False, True)
    of_all, first, second = settings.certificates
    assert (of_all.cert_file, of_all.frontend, of_all.default) == (str(tmp_path / "c"), "", True)
    assert (of_all.curve, of_all.server_order) == ("prime256v1", True)
    assert (first.frontend, first.ciphers, first.default, first.server_order) == ("six", "ECDHE+AESGCM", False, False)
    assert (second.ident, second.key_file, second.dh_file) == ("b", str(tmp_path / "c"), str(tmp_path / "dh"))
    assert (second.ciphers, second.default) == ("HIGH", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Parsing error in line 1: syntax error, unexpected end of file"),
        ('pem-file = "DIR/a"', "No frontend listen endpoint definitions found"),
        ("frontend = { port = 443", "Parsing error in line 1: syntax error, unexpected end of file"),
        ("\nfrontend { }", "Parsing error in line 2: syntax error, expected '='"),
        ("backend = x", "syntax error, unexpected backend: 'backend = x'"),
        ("sni-nomatch-abort = maybe", "expected yes or no"),
        ("tls-protos = TLSv1.9", "expected one of SSLv3"),
        ('frontend = { host = "*" }', "a frontend needs a port"),
        ('pem-file = "/nonexistent" frontend = ":1"', "Unable to read certificate file '/nonexistent' (No such file"),
        ('ciphersuites = "x" frontend = ":1"', "Invalid ciphersuites: x (Python's TLS cannot choose"),
        (
            'frontend = ":1" pem-file = { cert = "DIR/a" name = "n" } pem-file = { cert = "DIR/b" name = "n" }',
            "Certificate ID 'n' already exists.",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StartupError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"-A: Cannot open '.*none': No such file or directory"):
        tls_file.read(str(tmp_path / "none"))
