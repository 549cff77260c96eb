"""What an origin answers, over real sockets: bodies and heads, whole, broken, late; and when the connection is kept."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

from tests.backends.conftest import EOF
from varnishpy.backends import FetchError
from varnishpy.log.tags import Tag

# -- response bodies ---------------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("limit", [1, 3, 65536])
@pytest.mark.parametrize("dribble", [False, True])
def test_chunked_then_reuse(rig: Any, origin: Any, limit: int, dribble: bool) -> None:
    wire = CHUNKED + b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n"

    def script(peer: Any) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while peer.head():
            for at in range(0, len(wire), 1 if dribble else len(wire)):
                peer.send(wire[at : at + 1] if dribble else wire)

    origin.scripts = [script]
    backend = rig.backend(origin)
    for _ in range(2):
        bo = rig.bo()
        assert rig.fetch(backend, bo, limit) == b"hello world"
    assert bo.body_reader.trailers == [("x-trailer", "X-Trailer", "t")]
    assert origin.connections == 1
    assert backend.vsc.get("beresp_bodybytes") == 22


def test_body_to_the_end_of_connection(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 100000)]
    bo = rig.bo()
    assert rig.fetch(rig.backend(origin), bo) == b"z" * 100000
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("close RESP_CLOSE")
    assert rig.wrk.stats.fetch_eof == 1


def test_large_body(rig: Any, origin: Any, scripts: Any) -> None:
    data = os.urandom(1 << 20) * 8
    origin.scripts = [scripts.answer(data)]
    assert rig.fetch(rig.backend(origin), rig.bo(), 1 << 20) == data


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "straight insufficient bytes"),
        (CHUNKED + b"5\r\nhe", "chunked insufficient bytes"),
        (CHUNKED + b"5\r\nhello\r\n", "chunked read err"),
        (CHUNKED + b"zz\r\nhello", "chunked header non-hex"),
        (CHUNKED + b"5\r\nhelloXX", "chunked tail no NL"),
    ],
)
def test_broken_bodies(rig: Any, origin: Any, scripts: Any, wire: bytes, text: str) -> None:
    origin.scripts = [scripts.reply(wire)]
    bo = rig.bo()
    assert rig.error(rig.backend(origin), bo) == text
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("close RX_BODY")


def test_body_that_stalls(rig: Any, origin: Any, scripts: Any) -> None:
    hold = threading.Event()
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", hold)]
    bo = rig.bo()
    bo.between_bytes_timeout = 0.02
    assert rig.error(rig.backend(origin), bo) == "straight insufficient bytes"
    hold.set()
    assert rig.texts(bo, Tag.FetchError) == ["between bytes timeout"]
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("close RX_TIMEOUT")


def test_body_reset_in_the_middle(rig: Any, origin: Any) -> None:
    def script(peer: Any) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        peer.reset()

    origin.scripts = [script]
    bo = rig.bo()
    backend = rig.backend(origin)
    try:
        rig.fetch(backend, bo)
    except FetchError as exc:
        assert str(exc) in ("eof socket fail", f"{EOF}: Connection reset by peer")
    else:
        pytest.fail("a reset is no end of a body")
    assert backend.n_conn == 0


def test_body_that_came_whole_with_the_head_need_not_be_read(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer(b"0123456789")]
    backend = rig.backend(origin)
    bo = rig.bo()
    backend.get_response(rig.wrk, bo)
    if len(bo.backend_conn.buf) < 10:
        pytest.skip("head and body came apart")
    backend.finish(rig.wrk, bo)
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("recycle")


def test_body_not_read_to_its_end_closes(rig: Any, origin: Any, scripts: Any) -> None:
    hold = threading.Event()
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", hold)]
    backend = rig.backend(origin)
    bo = rig.bo()
    backend.get_response(rig.wrk, bo)
    assert bo.body_reader.read(3) == b"012"
    backend.finish(rig.wrk, bo)
    assert rig.texts(bo, Tag.BackendClose)[0].endswith("close RX_BODY")
    assert backend.pool.idle == 0 and backend.pool.used == 0
    hold.set()


def test_octets_beyond_the_response_are_not_kept(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 Evil\r\n\r\n")]
    backend = rig.backend(origin)
    assert rig.fetch(backend, rig.bo()) == b"ok"
    assert backend.pool.idle == 0


# -- response heads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "wire", "counter"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "fetch_head"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", "fetch_204"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", "fetch_304"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "fetch_none"),
    ],
)
def test_responses_without_body_keep_the_connection(
    rig: Any, origin: Any, method: str, wire: bytes, counter: str
) -> None:
    def script(peer: Any) -> None:
        while peer.head():
            peer.send(wire)

    origin.scripts = [script]
    backend = rig.backend(origin)
    for _ in range(2):
        assert rig.fetch(backend, rig.bo(method)) == b""
    assert origin.connections == 1
    assert getattr(rig.wrk.stats, counter) == 2


@pytest.mark.parametrize(
    ("wire", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        # RFC 9112 section 6.1: faulty framing, the connection must be closed behind it
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ],
)
def test_what_the_origin_says_of_the_connection(rig: Any, origin: Any, scripts: Any, wire: bytes, keeps: bool) -> None:
    hold = threading.Event()
    origin.scripts = [scripts.reply(wire, hold)]
    backend = rig.backend(origin)
    rig.fetch(backend, rig.bo())
    assert backend.pool.idle == keeps
    hold.set()


def test_interim_responses_are_announced(rig: Any, origin: Any, scripts: Any) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    origin.scripts = [scripts.reply(interim + b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")]
    bo = rig.bo()
    heard: list[tuple[int, str | None]] = []
    bo.announce = lambda message: heard.append((message.status, message.get("link")))
    assert rig.fetch(rig.backend(origin), bo) == b"ok"
    assert heard == [(103, "</x>")]  # 100 is about our own request


def test_interim_responses_are_skipped(rig: Any, origin: Any, scripts: Any) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    origin.scripts = [scripts.reply(interim + b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")]
    bo = rig.bo()
    assert rig.fetch(rig.backend(origin), bo) == b"ok"
    assert (bo.beresp.status, bo.beresp.reason) == (200, "OK")
    assert not bo.beresp.has("link")


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"garbage\r\n\r\n", "http format error"),
        (b"garbage\r\nmore", "Received junk"),
        (b"HTTP/1.1 99 No\r\n\r\n", "http format error"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "http format error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "http format error"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "Body cannot be fetched"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "too many interim responses"),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", "Body cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000, "overflow"),
        (b"HTTP/1.1 200 OK\r\nX: y", EOF),
    ],
)
def test_bad_heads(rig: Any, origin: Any, scripts: Any, wire: bytes, text: str) -> None:
    origin.scripts = [scripts.reply(wire)]
    backend = rig.backend(origin)
    bo = rig.bo()
    assert rig.error(backend, bo) == text
    assert rig.texts(bo, Tag.Error if text == "Body cannot be fetched" else Tag.FetchError) == [text]
    assert bo.backend_conn is None
    assert (backend.n_conn, backend.pool.used, backend.pool.idle, backend.vsc.get("conn")) == (0, 0, 0, 0)


def test_first_byte_timeout_is_the_requests_then_the_backends(rig: Any, origin: Any, scripts: Any) -> None:
    hold = threading.Event()
    origin.scripts = [scripts.reply(b"", hold)]
    for backend, own in ((rig.backend(origin, first_byte_timeout=0.02), None), (rig.backend(origin), 0.02)):
        bo = rig.bo()
        bo.first_byte_timeout = own
        assert rig.error(backend, bo) == "first byte timeout"
        assert rig.texts(bo, Tag.BackendClose)[0].endswith("close RX_TIMEOUT")
    hold.set()


def test_head_that_stalls(rig: Any, origin: Any, scripts: Any) -> None:
    hold = threading.Event()
    origin.scripts = [scripts.reply(b"HTTP/1.1 200 OK\r\n", hold)]
    assert rig.error(rig.backend(origin, between_bytes_timeout=0.02), rig.bo()) == "timeout"
    hold.set()


def test_head_larger_than_the_workspace(rig: Any, origin: Any, scripts: Any) -> None:
    origin.scripts = [scripts.answer(b"x", b"X: " + b"y" * 2000 + b"\r\n")]
    bo = rig.bo()
    bo.ws.account(bo.ws.free - 512)
    assert rig.error(rig.backend(origin), bo) == "overflow"
