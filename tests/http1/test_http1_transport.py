"""HTTP/1 sessions from outside, through a socket."""

from __future__ import annotations

import select
import threading
from typing import Any

import pytest

from tests.conftest import Setting
from tests.http1.h1_harness import Harness, echo, respond
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.log.tags import Tag
from varnishpy.request.env import Env
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import BodyError
from varnishpy.session.handshake import HandshakeTransport
from varnishpy.storage.source import END, LATER, Source, SourceError
from varnishpy.threads import Worker


class Fed(Source):
    """A growing body that the test feeds."""

    def __init__(self, length: int = -1) -> None:
        super().__init__(length, False)
        self._cond = threading.Condition()
        self._pieces: list[Any] = []
        self.closed = threading.Event()

    def feed(self, *pieces: Any) -> None:
        with self._cond:
            self._pieces += pieces
            ready, self.on_ready = self.on_ready, None
        if ready is not None:
            ready()

    def pull(self, limit: int) -> Any:
        with self._cond:
            if not self._pieces:
                return LATER
            piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed.set()


def test_get_and_keep_alive(harness: Harness) -> None:
    peer = harness.connect()
    for number in range(3):
        peer.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        head, body = peer.response()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Connection: keep-alive\r\n" in head
        assert body == b"GET /%d " % number
    peer.send(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
    head, body = peer.response()
    assert b"Connection: close\r\n" in head
    assert peer.rest() == b""
    harness.closed("REQ_CLOSE")
    assert not harness.table


def test_pipelining_and_readahead(harness: Harness) -> None:
    before = stats.main.get("sess_readahead")
    peer = harness.connect()
    peer.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\r\nGET /3 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert [peer.response()[1] for _ in range(3)] == [b"GET /1 ", b"GET /2 ", b"GET /3 "]
    harness.closed("REQ_CLOSE")
    harness.env.pools.stop(5)
    assert stats.main.get("sess_readahead") == before + 2


def test_head_in_small_pieces(harness: Harness) -> None:
    peer = harness.connect()
    for octet in b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n":
        peer.send(bytes([octet]))
    assert peer.response()[1] == b"GET /slow "


def test_http10_closes(harness: Harness) -> None:
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.0\r\n\r\n")
    assert b"Connection: close" in peer.until(b"\r\n\r\n")
    assert peer.rest() == b"GET / "
    harness.closed("REQ_HTTP10")


@pytest.mark.parametrize(
    "request_octets",
    [
        b"POST /p HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world",
        b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\nA: b\r\n\r\n",
    ],
)
def test_bodies_and_what_follows(harness: Harness, request_octets: bytes) -> None:
    peer = harness.connect()
    peer.send(request_octets + b"GET /next HTTP/1.1\r\n\r\n")
    assert peer.response()[1] == b"POST /p hello world"
    assert peer.response()[1] == b"GET /next "


def test_body_not_read_is_discarded(harness: Harness) -> None:
    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, b"ok")
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n")
    assert peer.response()[1] == b"ok"
    peer.send(b"x" * 300000 + b"GET / HTTP/1.1\r\n\r\n")
    assert peer.response()[1] == b"ok"


def test_short_body(harness: Harness) -> None:
    seen: list[str] = []

    def run(wrk: Worker, req: Request) -> Step:
        assert req.body is not None
        try:
            while req.body.read(100):
                pass
        except BodyError as error:
            seen.append(str(error))
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    peer.sock.shutdown(1)
    assert peer.rest() == b""
    harness.closed("RX_BODY")
    assert seen == ["straight insufficient bytes"]


def test_slow_body_times_out(harness: Harness, setting: Setting) -> None:
    setting("timeout_idle", "0.05")
    peer = harness.connect()
    peer.send(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    assert peer.rest() == b""


def test_expect_continue(harness: Harness) -> None:
    def run(wrk: Worker, req: Request) -> Step:
        assert req.body is not None
        req.transport.send_100(wrk, req)
        respond(wrk, req, 200, req.body.read(100))
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert peer.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"abc")
    assert peer.response()[1] == b"abc"
    peer.send(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
    assert peer.response()[0].startswith(b"HTTP/1.1 200 ")  # it did not wait, so neither do we


@pytest.mark.parametrize(
    ("octets", "bogus", "reason"),
    [
        (b"GET /\r\n\r\n", "", "RX_JUNK"),
        (b"GET / HTTP/1.1\nHost: x\n\n", "Header has ctrl char 0x0a", "RX_JUNK"),
        (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", "1st header has white space:  Host: x", "RX_JUNK"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "Illegal char 0x20 in header name", "RX_JUNK"),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "Header line is folded:  c", "RX_JUNK"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "Multiple Host: headers", "RX_BAD"),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "Multiple Content-Length: headers",
            "RX_BAD",
        ),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nab",
            "Both Transfer-Encoding: and Content-Length: headers",
            "RX_JUNK",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "", "RX_JUNK"),
    ],
)
def test_junk_gets_400(harness: Harness, octets: bytes, bogus: str, reason: str) -> None:
    peer = harness.connect()
    peer.send(octets)
    head = peer.rest()
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nDate: ")  # RFC 9110 section 6.6.1
    assert head.endswith(b" GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    harness.closed(reason)
    assert harness.log.texts(Tag.BogoHeader) == ([bogus] if bogus else [])
    assert len(harness.log.texts(Tag.ReqStart)) == 1
    assert len(harness.log.texts(Tag.ReqAcct)) == 1


NO_PREFACE = b"INVALID CONNECTION PREFACE\r\n\r\n"


def test_a_broken_preface_gets_no_answer_in_http1(harness: Harness, setting: Setting) -> None:
    setting("feature", "+http2")
    peer = harness.connect()
    peer.send(NO_PREFACE)
    assert peer.rest() == b""
    harness.closed("RX_JUNK")
    assert harness.log.texts(Tag.HttpGarbage)


@pytest.mark.parametrize(
    ("features", "octets"),
    [
        ([], NO_PREFACE),
        (["+http2", "+h2_compat"], NO_PREFACE),
        (["+http2"], b"GET / HTTP/3.0\r\n\r\n"),
        (["+http2"], b"GET /\r\n\r\n"),
    ],
)
def test_what_is_no_preface_is_answered(harness: Harness, setting: Setting, features: list[str], octets: bytes) -> None:
    for feature in features:
        setting("feature", feature)
    peer = harness.connect()
    peer.send(octets)
    assert peer.rest().startswith(b"HTTP/1.1 400 ")


def test_a_preface_is_looked_for_at_the_beginning_only(harness: Harness, setting: Setting) -> None:
    setting("feature", "+http2")

    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, b"")
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    peer.response()
    peer.send(NO_PREFACE)
    assert peer.rest().startswith(b"HTTP/1.1 400 ")


def test_head_too_large(harness: Harness, setting: Setting) -> None:
    """RFC 9110 section 5.4: a server that gets more than it wishes to process MUST answer with a 4xx."""
    setting("http_req_size", "1k")
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\nA: " + b"x" * 2000 + b"\r\n\r\n")
    head = peer.rest()
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\nDate: ")
    assert head.endswith(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    harness.closed("RX_OVERFLOW")


def test_what_follows_no_request_does_not_cost_the_client_the_answer(harness: Harness) -> None:
    """Closing with octets unread would be a reset (RFC 9112 section 9.6): here the answer comes, and then the end."""
    peer = harness.connect()
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + b"x" * 60_000)
    assert peer.rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_head_too_large_without_an_answer(harness: Harness, setting: Setting) -> None:
    setting("http_req_size", "1k")
    setting("http_req_overflow_status", "0")
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\nA: " + b"x" * (1024 - 19))  # so that nothing is left unread
    assert peer.rest() == b""
    harness.closed("RX_OVERFLOW")


def test_unfinished_head_times_out(harness: Harness, setting: Setting) -> None:
    setting("timeout_idle", "0.5")
    peer = harness.connect()
    peer.send(b"GET / HTT")
    assert peer.rest() == b""
    harness.closed("RX_TIMEOUT")


def test_a_session_with_nothing_to_read_rests(harness: Harness) -> None:
    before = stats.main.get("sess_herd")
    peer = harness.connect()
    harness.resting(1)
    wait_for(lambda: not harness.pool.tasks(), "no worker to have it")
    for number in range(3):
        peer.send(b"GET /%d HTTP/1.1\r\n\r\n" % number)
        assert peer.response()[1] == b"GET /%d " % number
        harness.resting(1)
    peer.sock.close()
    harness.closed("REM_CLOSE")
    harness.resting(0)
    harness.env.pools.stop(5)
    assert stats.main.get("sess_herd") == before + 4


def test_half_a_head_holds_no_worker(harness: Harness, setting: Setting) -> None:
    peers = [harness.connect() for _ in range(50)]
    for octet in b"GET / HTTP/1.1\r\nHost: h\r\n\r":
        for peer in peers:
            peer.send(bytes([octet]))
    harness.resting(50)
    assert harness.pool.counts()["threads"] <= 8
    for peer in peers:
        peer.send(b"\n")
    for peer in peers:
        assert peer.response()[1] == b"GET / "


def test_dripping_octets_do_not_put_the_timeout_off(harness: Harness, setting: Setting) -> None:
    setting("timeout_idle", "0.3")
    peer = harness.connect()
    peer.send(b"GET /")
    try:
        while not select.select([peer.sock], [], [], 0.01)[0]:
            peer.send(b"x")
    except BrokenPipeError:
        pass  # it is closed already
    harness.closed("RX_TIMEOUT")


def test_one_that_never_pauses_lets_others_have_their_turn(harness: Harness) -> None:
    """Requests without an end on one connection, all of them at hand: another connection is served in between."""
    greedy, modest = harness.connect(), harness.connect()
    harness.resting(2)
    order: list[str] = []
    count = 300

    def note(wrk: Worker, req: Request) -> Step:
        order.append(req.http.url)
        if len(order) == 1:
            modest.send(b"GET /modest HTTP/1.1\r\n\r\n")
        return echo(wrk, req)

    harness.run = note
    greedy.send(b"GET /greedy HTTP/1.1\r\n\r\n" * count)
    assert modest.response()[1] == b"GET /modest "
    for _ in range(count):
        assert greedy.response()[1] == b"GET /greedy "
    assert order.index("/modest") < count / 2


def test_idle_session_is_closed(harness: Harness, setting: Setting) -> None:
    setting("timeout_idle", "0.1")
    peer = harness.connect()
    assert peer.rest() == b""
    harness.closed("RX_CLOSE_IDLE")


def test_log_of_a_request(harness: Harness) -> None:
    peer = harness.connect()
    peer.send(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
    _, body = peer.response()
    harness.closed("REQ_CLOSE")
    (begin,) = [text for text in harness.log.texts(Tag.Begin) if text.startswith("req ")]
    sess_vxid = int(begin.split()[1])
    assert begin == f"req {sess_vxid} rxreq"
    (link,) = harness.log.texts(Tag.Link)
    req_vxid = int(link.split()[1])
    assert [line.split()[0] for line in harness.log.lines(sess_vxid)] == [
        "Begin",
        "SessOpen",
        "Link",
        "SessClose",
        "End",
    ]
    lines = harness.log.lines(req_vxid)
    assert lines[0] == f"Begin req {sess_vxid} rxreq"
    assert lines[1].startswith("Timestamp Start: ")
    assert lines[2].startswith("Timestamp Req: ")
    assert lines[-2] == f"ReqAcct 67 2 69 58 {len(body)} {58 + len(body)}"
    assert lines[-1] == "End"


def test_chunked_for_unknown_length(harness: Harness) -> None:
    source = Fed()

    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, source)
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in peer.until(b"\r\n\r\n")  # the head does not wait for the body
    source.feed(b"hello", b" world")
    assert peer.until(b"world\r\n") in (b"b\r\nhello world\r\n", b"5\r\nhello\r\n6\r\n world\r\n")
    source.feed(b"!", END)
    assert peer.until(b"0\r\n\r\n") == b"1\r\n!\r\n0\r\n\r\n"
    assert source.closed.wait(5)


def test_unknown_length_for_http10_ends_with_the_connection(harness: Harness) -> None:
    source = Fed()
    source.feed(b"hello", END)

    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, source)
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = peer.rest().partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"chunked" not in head and b"Content-Length" not in head
    harness.closed("TX_EOF")


def test_broken_body_has_no_end(harness: Harness) -> None:
    source = Fed()
    source.feed(b"hello", SourceError("backend went away"))

    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, source)
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert not peer.rest().endswith(b"0\r\n\r\n")
    harness.closed("TX_ERROR")


def test_large_body_to_a_slow_reader(harness: Harness) -> None:
    body = bytes(range(256)) * 20000

    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, body)
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.response()[1] == body


def test_reader_that_never_reads(harness: Harness, setting: Setting) -> None:
    setting("send_timeout", "1")
    setting("idle_send_timeout", "0.05")

    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, b"x" * 10_000_000)
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    harness.closed("TX_ERROR")
    texts = harness.log.texts(Tag.Debug)
    assert any(text.startswith("Hit idle send timeout, wrote = ") for text in texts)
    assert any(text.startswith("Hit total send timeout, wrote = ") for text in texts)


def test_header_injection_becomes_500(harness: Harness) -> None:
    def run(wrk: Worker, req: Request) -> Step:
        respond(wrk, req, 200, b"x", Evil="a\r\nSet-Cookie: b")
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    got = peer.rest()
    assert got.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in got


def test_draining_closes(harness: Harness) -> None:
    harness.env.draining = True
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert b"Connection: close\r\n" in peer.until(b"\r\n\r\n")
    harness.closed("RESP_CLOSE")


def test_disembark_and_reembark(harness: Harness) -> None:
    waiting: list[Request] = []
    parked = threading.Event()

    def run(wrk: Worker, req: Request) -> Step:
        if req not in waiting:
            waiting.append(req)
            parked.set()
            return Step.DISEMBARK
        respond(wrk, req, 200, b"at last")
        return Step.DONE

    harness.run = run
    peer = harness.connect()
    peer.send(b"GET /1 HTTP/1.1\r\n\r\n")
    assert parked.wait(5)
    harness.http1.reembark(waiting[0])
    assert peer.response()[1] == b"at last"
    parked.clear()
    peer.send(b"GET /2 HTTP/1.1\r\n\r\n")
    assert parked.wait(5)


def test_a_bug_in_a_request_closes_its_connection_only(harness: Harness) -> None:
    def run(wrk: Worker, req: Request) -> Step:
        if req.http.url == "/bug":
            raise ValueError("a bug")
        respond(wrk, req, 200, b"fine")
        return Step.DONE

    harness.run = run
    other = harness.connect()
    peer = harness.connect()
    peer.send(b"GET /bug HTTP/1.1\r\n\r\n")
    assert peer.rest() == b""
    other.send(b"GET / HTTP/1.1\r\n\r\n")
    assert other.response()[1] == b"fine"


class FakeHttp2(HandshakeTransport):
    name = "HTTP/2"

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.got: list[tuple[Any, ...]] = []
        self.done = threading.Event()

    def prior_knowledge(self, wrk: Worker, sess: Any, leftover: bytes) -> None:
        self.got.append(("pk", leftover))
        sess.delete("REM_CLOSE")
        self.done.set()

    def upgrade(self, wrk: Worker, sess: Any, req: Request, settings: bytes, leftover: bytes) -> None:
        self.got.append(("up", req.http.url, settings, leftover))
        sess.delete("REM_CLOSE")
        self.done.set()


def test_prior_knowledge(harness: Harness, setting: Setting) -> None:
    fake = harness.env.transports["HTTP2"] = FakeHttp2(harness.env)
    setting("feature", "+http2")
    peer = harness.connect()
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes")
    assert fake.done.wait(5)
    assert fake.got == [("pk", b"frames")]


def test_prior_knowledge_switched_off(harness: Harness) -> None:
    peer = harness.connect()
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert peer.rest() == b""
    harness.closed("REQ_HTTP20")


def test_upgrade(harness: Harness, setting: Setting) -> None:
    fake = harness.env.transports["HTTP2"] = FakeHttp2(harness.env)
    setting("feature", "+http2")
    peer = harness.connect()
    peer.send(
        b"GET /u HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI"
    )
    assert fake.done.wait(5)
    assert fake.got == [("up", "/u", b"\0\x03\0\0\0\x64\0\x04\0\0\xff\xff", b"PRI")]


@pytest.mark.parametrize("field", [b"", b"HTTP2-Settings: !!\r\n", b"HTTP2-Settings: AAMA\r\n"])
def test_upgrade_with_bad_settings_closes(harness: Harness, setting: Setting, field: bytes) -> None:
    harness.env.transports["HTTP2"] = FakeHttp2(harness.env)
    setting("feature", "+http2")
    peer = harness.connect()
    peer.send(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n" + field + b"\r\n")
    assert peer.rest() == b""
    harness.closed("RX_JUNK")


def test_upgrade_with_body_is_served_as_http1(harness: Harness, setting: Setting) -> None:
    harness.env.transports["HTTP2"] = FakeHttp2(harness.env)
    setting("feature", "+http2")
    peer = harness.connect()
    peer.send(b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 2\r\n\r\nhi")
    assert peer.response()[1] == b"POST / hi"
