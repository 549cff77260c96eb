# ruff: noqa: E501 (scripts are clearer on one line)
"""TLS in clients and servers of the language."""

import subprocess
from pathlib import Path

import pytest

from varnishpy.vtc.check import check
from varnishpy.vtc.context import Settings
from varnishpy.vtc.job import Verdict
from varnishpy.vtc.runner import Finished, Options, Runner
from varnishpy.vtc.text import Source

TALK = """vtest "tls"
server s1 {{
	{server}
}} -start
client c1 -connect ${{s1_sock}} {{
	{client}
}} -run
server s1 -wait
"""


def run(tmp_path: Path, script: str) -> Finished:
    source = Source("t.vtc", script)
    assert check(source, Settings()) == []
    (finished,) = Runner(Options(tmpdir=str(tmp_path))).run([source])
    return finished


def passes(tmp_path: Path, script: str) -> None:
    finished = run(tmp_path, script)
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")


SHAKE = "tls_handshake\n expect tls.failed == false\n "
FAIL = "tls_handshake\n expect tls.failed == true"


@pytest.mark.parametrize(
    ("server", "client"),
    [
        (SHAKE + "rxreq\n txresp -bodylen 300000", SHAKE + "txreq -bodylen 100\n rxresp\n expect resp.bodylen == 300000\n expect_close"),
        (SHAKE + "recv 3\n send xyz\n close", SHAKE + "send abc\n recv 3\n expect_close"),
        (SHAKE + "stream 1 { rxreq\n txresp -bodylen 70000 } -run", SHAKE + "stream 1 { txreq\n rxresp\n expect resp.bodylen == 70000 } -run"),
        ("tls_config { version = TLSv1.2 }\n " + SHAKE + "expect tls.version == TLSv1.2", SHAKE + "expect tls.version == TLSv1.2\n expect tls.cipher ~ ."),
        ("tls_config { version = TLSv1.2 }\n " + FAIL, "tls_config { version = TLSv1.3 }\n " + FAIL),
        ("tls_config { alpn = http/1.1 h2 }\n " + SHAKE, "tls_config { alpn = h2 }\n " + SHAKE + "expect tls.alpn == h2"),
        ("tls_config { alpn = http/1.1 }\n " + SHAKE, "tls_config { alpn = other }\n " + SHAKE + "expect tls.alpn == <undef>"),
        (SHAKE + "expect tls.servername == a.example", "tls_config { servername = a.example }\n " + SHAKE + "expect tls.servername == a.example"),
        (SHAKE + "expect tls.cert.subject == <undef>", SHAKE + "expect tls.cert.subject == example.com\n expect tls.cert0.issuer == tls.cert.subject\n expect tls.cert.subject_alt_names == DNS:example.com\n expect tls.cert1.subject == <undef>"),
        (FAIL + "\n expect tls.alert ~ unknown_ca", "tls_config { verify_peer = true }\n " + FAIL),
        ("rxreq\n txresp\n " + SHAKE + "rxreq\n txresp", "txreq\n rxresp\n " + SHAKE + "txreq\n rxresp"),
        (FAIL, "send {this is no TLS at all}\n expect_close"),
    ],
)  # fmt: skip
def test_connections(tmp_path: Path, server: str, client: str) -> None:
    passes(tmp_path, TALK.format(server=server, client=client))


def test_sessions_are_taken_up_again(tmp_path: Path) -> None:
    one = SHAKE + "expect tls.sess_reused == {}\n rxreq\n txresp\n"
    passes(
        tmp_path,
        f"""vtest "sessions"
server s1 {{
	{one.format("false")}
	accept
	{one.format("true")}
}} -start
client c1 -connect ${{s1_sock}} {{
	tls_config {{ sess_out = ${{tmpdir}}/kept }}
	tls_handshake
	txreq
	rxresp
}} -run
client c2 -connect ${{s1_sock}} {{
	tls_config {{ sess_in = ${{tmpdir}}/kept }}
	tls_handshake
	expect tls.sess_reused == true
	txreq
	rxresp
}} -run
server s1 -wait
""",
    )


@pytest.mark.parametrize(
    ("mode", "shows", "good"), [("required", True, True), ("required", False, False), ("optional", False, True)]
)
def test_clients_show_certificates(tmp_path: Path, mode: str, shows: bool, good: bool) -> None:
    pem = Path(__file__).parents[2] / "varnishpy" / "vtc" / "example.com.pem"
    server = f"tls_config {{ client_vfy = {mode}\n client_vfy_ca = {pem}\n version = TLSv1.2 }}\n " + (
        SHAKE if good else FAIL
    )
    if shows:
        server += "expect tls.cert.subject == example.com"
    client = (f"tls_config {{ cert = {pem} }}\n " if shows else "") + (SHAKE if good else FAIL)
    passes(tmp_path, TALK.format(server=server, client=client))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("tls_config { cert: x }", "Unknown command"),
        ("tls_config { cert x y }", "expected '='"),
        ("tls_config { version = TLSv9 }", "TLSv1.3"),
        ("tls_config { verify_peer = maybe }", "one of: true false"),
        ("tls_config { client_vfy = yes }", "one of: none optional required"),
        ("expect tls.colour == red", "unknown operand 'tls.colour'"),
        ("tls_handshake now", "Unknown tls_handshake argument"),
    ],
)
def test_mistakes(line: str, word: str) -> None:
    (found,) = check(Source("t.vtc", f'vtest "t"\nclient c1 {{\n\t{line}\n}}\n'), Settings())
    assert word in found.text
    assert found.position.line == 3


@pytest.mark.parametrize(
    ("client", "word"),
    [
        ("expect tls.failed == false", "no TLS handshake has been tried"),
        ("tls_handshake\n tls_config { }", "ongoing session"),
        ("tls_handshake\n tls_handshake", "spoken already"),
        ("tls_config { cert = /nowhere }", "cert: /nowhere"),
        ("tls_config { version = TLSv1.3 TLSv1.2 }", "min greater than max"),
        ("tls_config { client_vfy = none }", "only possible in server"),
        ("tls_config { sess_in = x }\n tls_handshake", "no session was kept"),
    ],
)
def test_failures(tmp_path: Path, client: str, word: str) -> None:
    finished = run(tmp_path, TALK.format(server="non_fatal\n tls_handshake", client=client))
    assert finished.outcome.verdict is Verdict.FAILED
    assert word in finished.outcome.reason, finished.log.decode("latin-1")


def test_openssl_agrees(tmp_path: Path, program: object) -> None:
    """Another implementation at the other end: s_client of OpenSSL."""
    openssl = program("openssl")  # type: ignore[operator]
    assert subprocess.run([openssl, "version"], check=True, capture_output=True).stdout
    passes(
        tmp_path,
        f"""vtest "openssl"
server s1 {{
	tls_config {{ alpn = http/1.1 }}
	{SHAKE}
	expect tls.servername == a.example
	expect tls.alpn == http/1.1
	rxreq
	expect req.url == /from-openssl
	txresp -hdr "Connection: close" -body "hello from us"
}} -start
shell -expect "hello from us" {{
	printf 'GET /from-openssl HTTP/1.0\\r\\n\\r\\n' |
	{openssl} s_client -quiet -ign_eof -servername a.example -alpn http/1.1 -connect ${{s1_sock}}
}}
server s1 -wait
""",
    )
