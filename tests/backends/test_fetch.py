"""Fetches over real sockets: framing, reuse, failures and what is logged of them."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.backends.conftest import EOF
from tests.builders import make_env, make_session
from varnishpy import stats
from varnishpy.backends.errors import RequestBodyError
from varnishpy.http import proxy_wire
from varnishpy.log.tags import Tag
from varnishpy.params import table


class Body:
    """A request body; ``rewind`` only where asked for."""

    def __init__(self, data: bytes, known: bool = True, fault: str | None = None) -> None:
        self.data = data
        self.at = 0
        self.length = len(data) if known else -1
        self.fault = fault

    def read(self, limit: int) -> bytes:
        piece = self.data[self.at : self.at + min(limit, 7)]
        self.at += len(piece)
        if not piece and self.fault:
            raise RequestBodyError(self.fault)
        return piece


class Rewindable(Body):
    def rewind(self) -> None:
        self.at = 0


def test_simple_fetch_logs_and_counts(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer(b"hello", b"X-Test: yes\r\n")]
    backend = rig.backend(origin)
    bo = rig.bo(url="/x?y=1")
    assert rig.fetch(backend, bo) == b"hello"
    assert bo.bereq.get("host") == "origin.test"
    assert (bo.beresp.status, bo.beresp.reason, bo.beresp.get("x-test")) == (200, "OK", "yes")
    assert (bo.body_reader.kind, bo.body_reader.length) == ("length", 5)
    ((opened,), (closed,)) = rig.texts(bo, Tag.BackendOpen), rig.texts(bo, Tag.BackendClose)
    assert re.fullmatch(rf"\d+ b 127\.0\.0\.1 {origin.address[1]} 127\.0\.0\.1 \d+ connect", opened)
    assert re.fullmatch(r"\d+ b recycle", closed)
    assert [text.split(":")[0] for text in rig.texts(bo, Tag.Timestamp)] == ["Connected", "Bereq"]
    assert rig.texts(bo, Tag.BerespStatus) == ["200"]
    assert rig.wrk.stats.backend_conn == rig.wrk.stats.backend_req == rig.wrk.stats.fetch_length == 1
    assert rig.wrk.stats.backend_recycle == 1
    assert bo.acct.bereq_hdrbytes == len(b"GET /x?y=1 HTTP/1.1\r\nHost: origin.test\r\n\r\n")
    vsc = backend.vsc
    assert (vsc.get("req"), vsc.get("conn"), vsc.get("beresp_bodybytes")) == (1, 0, 5)
    assert vsc.get("bereq_hdrbytes") == bo.acct.bereq_hdrbytes
    assert vsc.get("beresp_hdrbytes") == bo.acct.beresp_hdrbytes > 0


def test_connection_is_reused(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer()]
    backend = rig.backend(origin)
    for _ in range(3):
        bo = rig.bo()
        assert rig.fetch(backend, bo) == b"hello"
    assert origin.connections == 1
    assert re.fullmatch(r"\d+ b \S+ \d+ \S+ \d+ reuse \d+\.\d{6} 2", rig.texts(bo, Tag.BackendOpen)[0])
    assert rig.wrk.stats.backend_reuse == 2


def test_backends_of_one_endpoint_share_connections(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer()]
    first, second = rig.backend(origin, vcl_name="one"), rig.backend(origin, vcl_name="two")
    rig.fetch(first, rig.bo())
    rig.fetch(second, rig.bo())
    assert origin.connections == 1
    assert first.pool is second.pool and first.pool.idle == 1
    first.release()
    assert second.pool.idle == 1
    second.release()
    assert second.pool.idle == 0


def test_idle_connection_closed_by_origin_is_noticed(rig: Any, origin: Any, scripts: Any, until: Any) -> None:
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]
    backend = rig.backend(origin)
    assert rig.fetch(backend, rig.bo()) == b"ok"
    until(lambda: backend.pool.idle == 0)
    assert rig.fetch(backend, rig.bo()) == b"ok"
    assert origin.connections == 2
    assert not rig.wrk.stats.backend_retry


def test_idle_timeout_closes(rig: Any, origin: Any, scripts: Any, until: Any) -> None:
    table.load([("backend_idle_timeout", "0.02")])
    origin.scripts = [scripts.answer()]
    backend = rig.backend(origin)
    rig.fetch(backend, rig.bo())
    until(lambda: backend.pool.idle == 0)


def closing_on_second(then: bytes = b"") -> Any:
    """Answers one request, and closes on the second without a word."""

    def script(peer: Any) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.head()
        peer.send(then)

    return script


def test_reused_connection_that_died_is_tried_once_more(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [closing_on_second(), scripts.answer(b"fresh")]
    backend = rig.backend(origin)
    assert rig.fetch(backend, rig.bo()) == b"ok"
    bo = rig.bo()
    assert rig.fetch(backend, bo) == b"fresh"
    assert rig.wrk.stats.backend_retry == 1
    assert rig.texts(bo, Tag.FetchError) == [EOF]
    assert len(rig.texts(bo, Tag.BackendOpen)) == 2
    assert backend.n_conn == 0


def test_no_second_try_after_part_of_a_response(rig: Any, origin: Any) -> None:
    origin.scripts = [closing_on_second(b"HTTP/1.1 2")]
    backend = rig.backend(origin)
    rig.fetch(backend, rig.bo())
    assert rig.error(backend, rig.bo()) == EOF
    assert rig.wrk.stats.backend_retry == 0
    assert origin.connections == 1


def test_no_second_try_on_a_fresh_connection(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.reply(b"")]
    assert rig.error(rig.backend(origin), rig.bo()) == EOF
    assert origin.connections == 1


@pytest.mark.parametrize("kind", [Body, Rewindable])
def test_second_try_needs_a_body_that_can_be_had_again(rig: Any, origin: Any, kind: type[Body]) -> None:
    received: list[bytes] = []

    def second(peer: Any) -> None:
        peer.head()
        received.append(peer.take(20))
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    origin.scripts = [closing_on_second(), second]
    backend = rig.backend(origin)
    rig.fetch(backend, rig.bo())
    bo = rig.bo("POST", body=kind(b"x" * 20))
    if kind is Rewindable:
        assert rig.fetch(backend, bo) == b""
        assert received == [b"x" * 20]
        assert bo.no_retry is None
    else:
        assert rig.error(backend, bo)
        assert bo.no_retry == "req.body not cached"


# -- request bodies ----------------------------------------------------------------------------------------------------


def test_body_of_known_length(rig: Any, origin: Any) -> None:
    seen: list[bytes] = []

    def script(peer: Any) -> None:
        seen.extend([peer.head(), peer.take(10)])
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin.scripts = [script]
    bo = rig.bo("POST", body=Body(b"0123456789"), Content_Length="99", Transfer_Encoding="chunked")
    assert rig.fetch(rig.backend(origin), bo) == b""
    assert b"Content-Length: 10\r\n" in seen[0] and b"Transfer-Encoding" not in seen[0]
    assert seen[1] == b"0123456789"
    assert bo.acct.bereq_bodybytes == 10


def test_body_of_unknown_length_is_chunked(rig: Any, origin: Any) -> None:
    seen: list[bytes] = []

    def script(peer: Any) -> None:
        seen.extend([peer.head(), peer.take(len(b"7\r\n0123456\r\n3\r\n789\r\n0\r\n\r\n"))])
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin.scripts = [script]
    bo = rig.bo("POST", body=Body(b"0123456789", known=False), Content_Length="10")
    rig.fetch(rig.backend(origin), bo)
    assert b"Transfer-Encoding: chunked\r\n" in seen[0] and b"Content-Length" not in seen[0]
    assert seen[1] == b"7\r\n0123456\r\n3\r\n789\r\n0\r\n\r\n"


def test_length_without_body_is_not_sent(rig: Any, origin: Any) -> None:
    heads: list[bytes] = []

    def script(peer: Any) -> None:
        while head := peer.head():
            heads.append(head)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin.scripts = [script]
    backend = rig.backend(origin)
    rig.fetch(backend, rig.bo(Content_Length="5", Transfer_Encoding="chunked"))
    rig.fetch(backend, rig.bo("POST", Content_Length="0"))
    assert b"ength" not in heads[0] and b"Transfer" not in heads[0]
    assert b"Content-Length: 0\r\n" in heads[1]


def test_failing_request_body(rig: Any, origin: Any) -> None:
    received = threading.Event()

    def script(peer: Any) -> None:
        peer.until_end()
        received.set()

    origin.scripts = [script]
    backend = rig.backend(origin)
    bo = rig.bo("POST", body=Body(b"12345", known=False, fault="client left"))
    assert rig.error(backend, bo) == "req.body read error: 0 (client left)"
    assert bo.err_code == 400
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("close TX_ERROR")
    assert received.wait(10)


def test_body_shorter_than_announced(rig: Any, origin: Any) -> None:
    origin.scripts = [lambda peer: peer.until_end() and None]
    body = Body(b"12345")
    body.length = 6
    assert "shorter" in rig.error(rig.backend(origin), rig.bo("POST", body=body))


def test_injected_line_break_is_refused(rig: Any, origin: Any) -> None:
    origin.scripts = [lambda peer: peer.until_end() and None]
    assert "CR, LF or NUL" in rig.error(rig.backend(origin), rig.bo(X="a\r\nEvil: 1"))


# -- connecting --------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def test_refused_then_held_down(rig: Any) -> None:
    table.load([("backend_remote_error_holddown", "30")])
    backend = rig.backend(ipv4=("127.0.0.1", free_port()))
    assert rig.error(backend, rig.bo()) == "backend b: fail errno 111 (Connection refused)"
    assert rig.error(backend, rig.bo()) == "backend b: fail errno 0 (Connection refused)"
    vsc = backend.vsc
    assert (vsc.get("fail_econnrefused"), vsc.get("helddown"), vsc.get("fail")) == (1, 1, 2)
    assert rig.wrk.stats.backend_fail == 2
    assert backend.n_conn == 0


def test_connect_timeout(rig: Any) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued = []
        for _ in range(4):  # fill the queue of connections nobody accepts
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
            queued.append(sock)
        backend = rig.backend(ipv4=full.getsockname(), connect_timeout=0.05)
        assert rig.error(backend, rig.bo()) == "backend b: fail errno 110 (Connection timed out)"
        assert backend.vsc.get("fail_etimedout") == 1
        for sock in queued:
            sock.close()


def test_unix_socket_and_abstract(rig: Any, scripts: Any, tmp_path: Path) -> None:
    path = f"/tmp/varnishpy-{os.getpid()}.sock"
    try:
        for address, name in ((path, path), (f"\0varnishpy-{os.getpid()}", f"@varnishpy-{os.getpid()}")):
            server = scripts.Origin(socket.AF_UNIX, address)
            server.scripts = [scripts.answer(b"uds")]
            bo = rig.bo()
            assert rig.fetch(rig.backend(path=name), bo) == b"uds"
            assert "b 0.0.0.0 0 0.0.0.0 0 connect" in rig.texts(bo, Tag.BackendOpen)[0]
            server.stop()
    finally:
        os.unlink(path)


def test_second_address_when_the_first_fails(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer(b"v4")]
    table.set("prefer_ipv6", "on")
    backend = rig.backend(ipv4=origin.address, ipv6=("::1", free_port()))
    bo = rig.bo()
    backend.get_response(rig.wrk, bo)
    assert backend.get_ip(bo) == origin.address
    assert bo.body_reader.read(10) == b"v4"
    backend.finish(rig.wrk, bo)
    assert backend.get_ip(bo) is None


def test_sick_backend_is_not_tried(rig: Any, origin: Any) -> None:
    backend = rig.backend(origin)
    backend.set_admin_health("sick")
    assert rig.error(backend, rig.bo()) == "backend b: unhealthy"
    assert backend.vsc.get("unhealthy") == rig.wrk.stats.backend_unhealthy == 1
    assert origin.connections == 0


def test_max_connections(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer()]
    backend = rig.backend(origin, max_connections=1)
    first = rig.bo()
    backend.get_response(rig.wrk, first)
    assert rig.error(backend, rig.bo()) == "backend b: busy"
    assert backend.vsc.get("busy") == rig.wrk.stats.backend_busy == 1
    first.body_reader.read(10)
    backend.finish(rig.wrk, first)
    assert rig.fetch(backend, rig.bo()) == b"hello"


def test_waiting_for_a_connection(rig: Any, origin: Any, scripts: Any, until: Any) -> None:
    origin.scripts = [scripts.answer()]
    backend = rig.backend(origin, max_connections=1, wait_limit=1, wait_timeout=10.0)
    first, second = rig.bo(), rig.bo()
    backend.get_response(rig.wrk, first)
    from varnishpy.threads import Worker

    other = Worker(rig.pool, "worker-other")
    bodies: list[bytes] = []

    def fetch() -> None:
        backend.get_response(other, second)
        bodies.append(second.body_reader.read(100))
        backend.finish(other, second)

    thread = threading.Thread(target=fetch)
    thread.start()
    until(lambda: backend._waiting)
    assert rig.error(backend, rig.bo()) == "backend b: busy", "the queue holds one"
    first.body_reader.read(100)
    backend.finish(rig.wrk, first)
    thread.join(10)
    assert bodies == [b"hello"]
    assert other.stats.backend_wait == 1 and other.stats.backend_wait_fail == 0
    assert backend.n_conn == 0


def test_waiting_in_vain(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer()]
    backend = rig.backend(origin, max_connections=1, wait_limit=1, wait_timeout=0.02)
    first = rig.bo()
    backend.get_response(rig.wrk, first)
    assert rig.error(backend, rig.bo()) == "backend b: busy"
    assert rig.wrk.stats.backend_wait_fail == 1
    backend.finish(rig.wrk, first)


# -- PROXY, via, pipe --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_header_is_sent_and_the_connection_not_kept(rig: Any, origin: Any, version: int) -> None:
    seen: list[bytes] = []

    def script(peer: Any) -> None:
        seen.append(peer.head() if version == 1 else peer.take(28))
        if version == 2:
            peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.until_end()

    origin.scripts = [script]
    backend = rig.backend(origin, proxy_header=version)
    bo = rig.bo()
    bo.sess = make_session(make_env(), client="192.0.2.1", port=1234, server="192.0.2.2")
    assert rig.fetch(backend, bo) == b"ok"
    if version == 1:
        assert seen[0].startswith(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET / ")
    else:
        assert proxy_wire.parse(seen[0]).client == ("192.0.2.1", 1234)
    assert backend.pool.idle == 0


def test_via_tells_the_destination(rig: Any, origin: Any) -> None:
    seen: list[bytes] = []

    def script(peer: Any) -> None:
        start = peer.take(16)
        seen.append(start + peer.take(struct.unpack("!H", start[14:16])[0]))
        while peer.head():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin.scripts = [script]
    via = rig.backend(origin, vcl_name="via", first_byte_timeout=7.0)
    from varnishpy.vcl.specs import BackendSpec

    spec = BackendSpec("far", ipv4=("203.0.113.5", 443), host_header="far.test", authority="far.test")
    backend = rig.backends.new(spec, "vcl1", via)
    for _ in range(2):
        assert rig.fetch(backend, rig.bo()) == b"ok"
    assert origin.connections == 1
    header = proxy_wire.parse(seen[0])
    assert header.server == ("203.0.113.5", 443)
    assert dict(proxy_wire.walk_tlvs(header.tlvs))[proxy_wire.TLV_AUTHORITY] == b"far.test"
    assert backend.first_byte_timeout == 7.0


def test_pipe_hands_out_the_connection(rig: Any, origin: Any) -> None:
    def script(peer: Any) -> None:
        peer.head()
        peer.send(b"raw")
        assert peer.until_end() == b"more"

    origin.scripts = [script]
    backend = rig.backend(origin)
    bo = rig.bo(Upgrade="x")
    conn = backend.open_pipe(rig.wrk, bo)
    assert conn.receive(3, 10.0) == b"raw"
    conn.send_all(b"more", 10.0)
    bo.doclose = "REM_CLOSE"
    backend.charge_pipe(10, 4, 3)
    backend.finish(rig.wrk, bo)
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("close REM_CLOSE")
    assert (backend.vsc.get("pipe_out"), backend.vsc.get("pipe_in"), backend.vsc.get("pipe_hdrbytes")) == (4, 3, 10)


def test_release_takes_the_counters_away(rig: Any, origin: Any) -> None:
    before = stats.main.get("n_backend")
    backend = rig.backend(origin)
    assert stats.main.get("n_backend") == before + 1
    assert backend.vsc not in stats.registry.all()  # cold ones show none
    backend.warm()
    assert backend.vsc in stats.registry.all()
    backend.release()
    backend.release()
    assert stats.main.get("n_backend") == before
    assert backend.vsc not in stats.registry.all()


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_tls_to_the_origin(rig: Any, origin: Any) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("origin.test").configure_cert(context)
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)

    def script(peer: Any) -> None:
        with contextlib.suppress(ssl.SSLError, OSError):  # a client that trusts nobody hangs up
            peer.sock = context.wrap_socket(peer.sock, server_side=True)
            origin.sockets.append(peer.sock)  # the plain one is empty now, and could not be shut down
            while peer.head():
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    origin.scripts = [script]
    backend = rig.backend(origin, host="origin.test", ssl=True, ssl_verify_peer=False)
    for _ in range(2):
        assert rig.fetch(backend, rig.bo()) == b"secret"
    assert names == ["origin.test"] and origin.connections == 1
    strict = rig.backend(origin, host="origin.test", ssl=True)
    assert "backend b: fail errno 71 (TLS: " in rig.error(strict, rig.bo())
    assert strict.vsc.get("fail_other") == 1


def test_a_backend_without_a_probe_has_no_good_probes(rig: Any, origin: Any) -> None:
    assert rig.backend(origin).vsc.get("happy") == 0
