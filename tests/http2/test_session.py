"""The session thread with real sockets and a real pool; requests are answered by the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import hpack
import pytest

from tests.conftest import Setting
from tests.h2.conversation import GET_BLOCK
from tests.http2.h2_room import Client, Room
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.base.panic import Panic, present
from varnishpy.base.tls_info import TlsInfo
from varnishpy.base.workspace import make_workspace
from varnishpy.cache.objhead import ObjectHead, WaitEntry
from varnishpy.cache.waitinglist import join
from varnishpy.h2 import frames
from varnishpy.h2.ending import reset
from varnishpy.h2.receive import HANDLERS
from varnishpy.h2.stream import advance
from varnishpy.h2.tables import PREFACE, SE, Event, F
from varnishpy.http2.deliver import stream_of
from varnishpy.http2.session import Http2Session
from varnishpy.log.tasklog import CLIENT, TaskLog
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import BodyError
from varnishpy.session.session import Session
from varnishpy.storage.source import END, LATER, BytesSource, Source


class Endless(Source):
    """A body that is not there yet, and never will be."""

    def __init__(self) -> None:
        super().__init__(-1, False)

    def pull(self, limit: int) -> Any:
        return LATER


def test_get(room: Room) -> None:
    client = room.connect().hello().get(1)
    assert client.until(F.DATA).payload == b"hello"
    wait_for(lambda: room.finished)
    (req,) = room.finished
    assert (req.http.method, req.http.url, req.http.proto) == ("GET", "/", "HTTP/2.0")
    assert req.acct.resp_bodybytes == 5


def test_bytes_behind_the_preface_come_first(room: Room) -> None:
    early = frames.settings_frame([]) + frames.frame(F.HEADERS, 5, 1, GET_BLOCK)
    client = room.connect(lambda wrk, sess: room.transport.prior_knowledge(wrk, sess, early))
    assert client.until(F.DATA).payload == b"hello"


def test_only_requests_that_run_are_counted(room: Room) -> None:
    before = stats.main.get("client_req")
    client = room.connect().hello()
    client.send(frames.frame(F.HEADERS, 5, 1, GET_BLOCK[:1]))  # no :path
    assert client.until(F.RST_STREAM).code == 1
    client.get(3).until(F.DATA)
    client.sock.close()
    wait_for(lambda: room.sessions[0].ended)
    wait_for(lambda: len(room.finished) == 2)
    wait_for(lambda: room.pool.counts()["idle"] == 12)
    assert stats.main.get("client_req") - before == 1


def test_a_hundred_streams(room: Room) -> None:
    client = room.connect().hello()
    client.send(b"".join(frames.frame(F.HEADERS, 5, n, GET_BLOCK) for n in range(1, 201, 2)))
    got: set[int] = set()
    while len(got) < 100:
        got.add(client.until(F.DATA).stream)
    wait_for(lambda: len(room.finished) == 100)


def test_many_requests_share_a_wakeup_and_a_write(room: Room) -> None:
    before = stats.main.get("h2_wakeups"), stats.main.get("h2_sends")
    client = room.connect().hello()
    for turn in range(10):
        client.send(b"".join(frames.frame(F.HEADERS, 5, turn * 100 + n, GET_BLOCK) for n in range(1, 100, 2)))
        for _ in range(50):
            client.until(F.DATA)
    client.sock.close()
    wait_for(lambda: room.sessions[0].ended)
    wait_for(lambda: not room.pool.counts()["queued"])
    assert stats.main.get("h2_wakeups") - before[0] < 500


def test_request_body(room: Room) -> None:
    got = []

    def echo(wrk: Any, req: Request) -> Step:
        body = b""
        while piece := req.body.read(1000):  # type: ignore[union-attr]
            body += piece
        got.append(len(body))
        return room.respond(wrk, req, BytesSource([body]))

    room.run = echo
    client = room.connect().hello((4, 1 << 20)).send(frames.window_update_frame(0, 1 << 20)).get(1, end=False)
    credit = 65535
    sent = 0
    while sent < 200_000:
        while credit < 10_000:
            frame = client.until(F.WINDOW_UPDATE, 1)
            credit += frame.code
        client.send(frames.frame(F.DATA, 0, 1, bytes(10_000)))
        sent += 10_000
        credit -= 10_000
    client.send(frames.frame(F.DATA, 1, 1))
    size = 0
    while True:
        frame = client.until(F.DATA)
        size += len(frame.payload)
        if frame.flags & 1:
            break
    assert (size, got) == (200_000, [200_000])


def test_a_body_that_does_not_come(room: Room, setting: Setting) -> None:
    setting("timeout_idle", "0.05")
    failed = []

    def read(wrk: Any, req: Request) -> Step:
        try:
            req.body.read(10)  # type: ignore[union-attr]
        except BodyError as exc:
            failed.append(str(exc))
        return Step.DONE

    room.run = read
    client = room.connect().hello().get(1, end=False)
    assert client.until(F.RST_STREAM).code == 2
    assert failed == ["H2: Request body timed out"]


def test_a_reset_wakes_the_reader(room: Room) -> None:
    reading = threading.Event()
    failed = []

    def read(wrk: Any, req: Request) -> Step:
        reading.set()
        try:
            req.body.read(10)  # type: ignore[union-attr]
        except BodyError as exc:
            failed.append(str(exc))
        return Step.DONE

    room.run = read
    client = room.connect().hello().get(1, end=False)
    assert reading.wait(5)
    client.send(frames.rst_stream_frame(1, 8))
    wait_for(lambda: failed and room.finished)
    assert failed[0].startswith("H2: Request body error")


def test_a_growing_body(room: Room) -> None:
    class Later(Source):
        def __init__(self) -> None:
            super().__init__(-1, False)
            self.pieces: list[Any] = []
            self.closed = threading.Event()

        def pull(self, limit: int) -> Any:
            return self.pieces.pop(0) if self.pieces else LATER

        def add(self, piece: Any) -> None:
            self.pieces.append(piece)
            assert self.on_ready is not None
            self.on_ready()

        def close(self) -> None:
            self.closed.set()

    source = Later()
    room.run = lambda wrk, req: room.respond(wrk, req, source)
    client = room.connect().hello().get(1)
    client.until(F.HEADERS)
    for piece in (b"one", b"two"):
        source.add(piece)
        assert client.until(F.DATA).payload == piece
    source.add(END)
    assert client.until(F.DATA).flags == 1
    assert source.closed.wait(5)


def test_continue_then_the_response(room: Room) -> None:
    def expect(wrk: Any, req: Request) -> Step:
        req.transport.send_100(wrk, req)
        assert req.body.read(10) == b"body"  # type: ignore[union-attr]
        return room.respond(wrk, req, None)

    room.run = expect
    client = room.connect().hello().get(1, end=False)
    assert client.until(F.HEADERS).flags == 4
    client.send(frames.frame(F.DATA, 1, 1, b"body"))
    assert client.until(F.HEADERS).flags == 5


def test_minimal_response(room: Room) -> None:
    def minimal(wrk: Any, req: Request) -> Step:
        req.transport.minimal_response(wrk, req, 400)
        return Step.DONE

    room.run = minimal
    client = room.connect().hello().get(1)
    frame = client.until(F.HEADERS)
    # with the date that RFC 9110 section 6.6.1 wants in an error
    fields: dict[Any, Any] = dict(hpack.Decoder().decode(frame.payload))
    assert (frame.flags, fields.pop(":status"), list(fields)) == (5, "400", ["date"])
    wait_for(lambda: room.finished)
    client.get(3)
    client.until(F.HEADERS)


def test_a_failed_request_resets_its_stream(room: Room) -> None:
    def broken(wrk: Any, req: Request) -> Step:
        req.transport.fail(req, "VCL_FAILURE")
        return Step.DONE

    room.run = broken
    client = room.connect().hello().get(1)
    assert client.until(F.RST_STREAM).code == 2


def test_a_request_that_raises_resets_its_stream_only(room: Room) -> None:
    def broken(wrk: Any, req: Request) -> Step:
        raise RuntimeError("defect")

    room.run = broken
    client = room.connect().hello().get(1)
    assert client.until(F.RST_STREAM).code == 2
    room.run = room.hello
    client.get(3)
    assert client.until(F.DATA).payload == b"hello"


@pytest.mark.parametrize("at", ["start", "later", "after parking"])
def test_a_defect_ends_its_session_only(room: Room, setting: Setting, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Requests made in the same breath are finished, the socket is closed, and other sessions go on."""

    def broken(*_: Any) -> None:
        raise RuntimeError("defect")

    monkeypatch.setitem(HANDLERS, F.PING, broken)
    setting("timeout_linger", "0.01" if at == "after parking" else "10")
    bad = frames.frame(F.HEADERS, 5, 1, GET_BLOCK) + frames.frame(F.PING, 0, 0, bytes(8))
    hello = frames.settings_frame([])
    if at == "start":
        client = room.connect(lambda wrk, sess: room.transport.prior_knowledge(wrk, sess, hello + bad))
    else:
        client = room.connect().hello()
        client.until(F.SETTINGS)
        if at == "after parking":
            wait_for(lambda: room.pool.counts()["resting"] == 1)
        client.send(bad)
    out = client.rest()
    assert (out[-1].kind, out[-1].code) == (F.GOAWAY, 2)
    wait_for(lambda: room.sessions[0].ended)
    assert len(room.finished) == 1
    assert room.connect().hello().get(1).until(F.DATA).payload == b"hello"


def test_waiting_requests_come_back(room: Room) -> None:
    arrived = threading.Event()
    waiting: list[Request] = []

    def wait_once(wrk: Any, req: Request) -> Step:
        if not waiting:
            waiting.append(req)
            arrived.set()
            return Step.DISEMBARK
        return room.hello(wrk, req)

    room.run = wait_once
    client = room.connect().hello().get(1)
    assert arrived.wait(5)
    room.transport.reembark(waiting[0])
    assert client.until(F.DATA).payload == b"hello"


def test_waiting_requests_walk_away_when_the_client_leaves(room: Room) -> None:
    arrived = threading.Event()
    head = ObjectHead(b"")
    killed = stats.main.get("busy_killed")

    def wait(wrk: Any, req: Request) -> Step:
        with head.lock:
            join(wrk, head, req)
        arrived.set()
        return Step.DISEMBARK

    room.run = wait
    client = room.connect().hello().get(1)
    assert arrived.wait(5)
    client.sock.close()
    wait_for(lambda: room.sessions[0].ended)
    assert not head.waiting
    assert stats.main.get("busy_killed") == killed + 1
    assert len(room.finished) == 1


def test_a_request_lost_in_its_thread_keeps_no_socket(room: Room) -> None:
    hold = threading.Event()
    inside = threading.Event()
    gone = []

    def stuck(wrk: Any, req: Request) -> Step:
        inside.set()
        with wrk.blocking():
            hold.wait(10)
        gone.append(req.transport.client_gone(req))
        return room.hello(wrk, req)

    room.run = stuck
    client = room.connect().hello().get(1)
    assert inside.wait(5)
    client.sock.close()
    session = room.sessions[0]
    wait_for(lambda: session.closed)
    assert not session.ended
    hold.set()
    wait_for(lambda: session.ended)
    assert gone == [True]
    assert len(room.finished) == 1
    assert room.finished[0].doclose == "TX_ERROR"


class Gate:
    """A lock at which a thread stands still first: it says so by one event, and goes on with another."""

    def __init__(self, stands: Callable[[], bool], here: threading.Event, go_on: threading.Event) -> None:
        self.lock = threading.Lock()
        self.stands = stands
        self.here = here
        self.go_on = go_on

    def __enter__(self) -> bool:
        if self.stands():
            self.here.set()
            assert self.go_on.wait(10)
        return self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_a_late_signal_does_not_disturb_who_clears_up(room: Room) -> None:
    """A request thread stands still between its post and the signal for it, until the session has no thread any more
    and another request thread is just seeing to its end.
    """
    events = {name: threading.Event() for name in ("both in", "post", "late", "signal", "leave", "clearing", "go on")}
    threads: dict[int, int] = {}

    def is_late() -> bool:
        return threading.get_ident() == threads[1] and not events["late"].is_set()

    def is_clearing() -> bool:
        return threading.get_ident() == threads[3]

    # who sees to the end of a session takes its requests off their waiting lists
    head = ObjectHead(b"")
    head.lock = Gate(is_clearing, events["clearing"], events["go on"])  # type: ignore[assignment]

    def run(wrk: Any, req: Request) -> Step:
        number = stream_of(req).number
        threads[number] = threading.get_ident()
        if number == 1:
            req.waiting_on = WaitEntry(req, head, 1)
        if len(threads) == 2:
            events["both in"].set()
        with wrk.blocking():
            assert events["post" if number == 1 else "leave"].wait(10)
        if number == 1:
            req.transport.send_100(wrk, req)
        return Step.DONE

    room.run = run
    client = room.connect().hello().get(1).get(3)
    assert events["both in"].wait(10)
    h2 = present(room.sessions[0].h2, "h2")
    wait_for(lambda: h2.inbox._wake is not None)
    session = h2.host
    assert isinstance(session, Http2Session)
    wakeup = present(session._sleep._wakeup, "the thread sleeps")
    wakeup._lock = Gate(is_late, events["late"], events["signal"])  # type: ignore[assignment]
    events["post"].set()
    assert events["late"].wait(10)
    client.sock.close()
    wait_for(lambda: room.sessions[0].closed and h2.inbox._wake is not None)
    events["leave"].set()
    assert events["clearing"].wait(10)
    assert h2.thread == threads[3]
    events["signal"].set()
    wait_for(lambda: len(room.finished) == 2)
    wait_for(lambda: len(h2.inbox) == 1)
    assert h2.thread == threads[3]
    assert not room.sessions[0].ended
    events["go on"].set()
    wait_for(lambda: room.sessions[0].ended)


def test_protocol_error_says_goaway_and_closes(room: Room) -> None:
    client = room.connect().hello()
    client.send(frames.frame(F.DATA, 0, 0))
    out = client.rest()
    assert (out[-1].kind, out[-1].code) == (F.GOAWAY, 1)
    wait_for(lambda: room.sessions[0].ended)
    assert room.sessions[0].closed == "RX_JUNK"


def test_a_client_that_has_ended_its_half_is_told_goodbye(room: Room) -> None:
    room.run = lambda wrk, req: room.respond(wrk, req, Endless())
    client = room.connect().hello().get(1)
    client.until(F.HEADERS)
    client.sock.shutdown(socket.SHUT_WR)
    out = client.rest()
    assert (out[-1].kind, out[-1].code) == (F.GOAWAY, 0)
    assert int.from_bytes(out[-1].payload[:4], "big") == 1
    wait_for(lambda: room.sessions[0].ended)
    assert room.sessions[0].closed == "REM_CLOSE"
    wait_for(lambda: room.finished)


def upgrade(room: Room, settings: bytes = b"") -> Client:
    def enter(wrk: Any, sess: Session) -> None:
        vxid = wrk.next_vxid()
        req = Request(room.env, sess, room.transport, vxid, TaskLog(vxid, CLIENT), make_workspace("req", 65536))  # type: ignore[arg-type]
        req.http.method = "GET"
        req.http.url = "/up"
        req.http.headers = [("upgrade", "Upgrade", "h2c"), ("host", "Host", "a")]
        room.transport.upgrade(wrk, sess, req, settings, b"")

    return room.connect(enter)


def test_upgrade(room: Room) -> None:
    client = upgrade(room, b"\0\4\0\0\0\2")
    switched = client.sock.recv(1000)
    assert switched.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    client.send(PREFACE + frames.settings_frame([]))
    first = client.frame()
    assert first is not None
    assert first.kind == F.SETTINGS
    assert client.until(F.DATA, 1).payload == b"he"  # the window of two octets from HTTP2-Settings
    client.send(frames.window_update_frame(1, 100))
    assert client.until(F.DATA, 1).payload == b"llo"
    wait_for(lambda: room.finished)
    assert room.finished[0].http.headers == [("host", "Host", "a")]


@pytest.mark.parametrize("answer", [b"GET / HTTP/1.1\r\n\r\n" + bytes(30), b""])
def test_upgrade_without_preface(room: Room, setting: Setting, answer: Any) -> None:
    setting("timeout_idle", "0.1")
    client = upgrade(room)
    client.sock.recv(1000)
    client.send(answer)
    assert client.sock.recv(1000) == b""
    wait_for(lambda: room.sessions[0].ended)
    assert room.sessions[0].closed == "RX_JUNK"
    assert len(room.finished) == 1


def test_a_slow_client_delays_nobody_else(room: Room) -> None:
    big = bytes(4 << 20)
    room.run = lambda wrk, req: room.respond(wrk, req, BytesSource([big]))
    slow = room.connect().hello((4, 1 << 30)).send(frames.window_update_frame(0, 1 << 30))
    slow.get(1)
    slow.until(F.HEADERS)
    room.run = room.hello
    quick = room.connect().hello()
    for number in range(1, 21, 2):
        assert quick.get(number).until(F.DATA).payload == b"hello"
    size = 0
    while size < len(big):
        size += len(slow.until(F.DATA).payload)


def test_dumps(room: Room) -> None:
    hold = threading.Event()

    def wait(wrk: Any, req: Request) -> Step:
        with wrk.blocking():
            hold.wait(5)
        return room.hello(wrk, req)

    room.run = wait
    client = room.connect().hello().get(1)
    session = room.sessions[0]
    wait_for(lambda: session.h2 is not None and session.h2.streams)
    text = room.transport.panic_dump(session)
    shown = room.transport.describe(session)
    hold.set()
    client.until(F.DATA)
    assert "open_streams = 1, highest_stream = 1," in text
    assert "id = 1, state = c-rem," in text
    streams = shown["streams"]
    assert isinstance(streams, list)
    assert streams[0]["state"] == "half closed (remote)"
    assert shown["open_streams"] == 1


class RecordSocket:
    """Behaves as TLS does: sends little at a time, and has read more than it gives."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held = b""

    def fileno(self) -> int:
        return self.sock.fileno()

    def recv(self, size: int) -> bytes:
        if not self.held:
            self.held = self.sock.recv(65536)
        out, self.held = self.held[:10], self.held[10:]
        return out

    def pending(self) -> int:
        return len(self.held)

    def sendmsg(self, buffers: Any) -> int:
        return self.sock.send(b"".join(buffers)[:1000])

    def shutdown(self, how: int) -> None:
        self.sock.shutdown(how)

    def close(self) -> None:
        self.sock.close()


def test_sockets_that_work_in_records(room: Room) -> None:
    def enter(wrk: Any, sess: Session) -> None:
        sess.sock = RecordSocket(sess.sock)  # type: ignore[arg-type]
        sess.tls = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "h2", "localhost")
        room.transport.prior_knowledge(wrk, sess, b"")

    room.run = lambda wrk, req: room.respond(wrk, req, BytesSource([bytes(60_000)]))
    client = room.connect(enter).hello().get(1)
    size = 0
    while size < 60_000:
        size += len(client.until(F.DATA).payload)


def test_request_threads_that_break_the_rules_panic(room: Room) -> None:
    """Each thing that only the session thread may do, done by a request thread of a live session."""
    caught: dict[str, BaseException | None] = {}

    def naughty(wrk: Any, req: Request) -> Step:
        stream = stream_of(req)
        session = req.sess.transport_priv
        assert isinstance(session, Http2Session)

        def transmit() -> None:
            session.h2.control(frames.frame(F.PING, 0, 0, bytes(8)))
            session.line.transmit()

        for name, act in {
            "receive": session._receive,
            "transmit": transmit,
            "send": lambda: session.line.send_batch(False),
            "flush": lambda: session.line.flush_until(0.0),
            "send_all": lambda: session.line.send_all(b"x"),
            "preface": lambda: session.line.read_preface(b""),
            "half_close": lambda: session.line.half_close(0.0),
            "state": lambda: advance(stream, Event.SENT_END),
            "kill": lambda: reset(stream, SE.CANCEL),
            "close": lambda: session._end("REM_CLOSE"),
            "tear down": session._teardown,
            "shut down": stream.h2.close_connection,
            "sweep": stream.h2.sweep,
        }.items():
            try:
                act()
            except Panic as fault:
                caught[name] = fault
            else:
                caught[name] = None
        return room.hello(wrk, req)

    room.run = naughty
    client = room.connect().hello().get(1)
    assert client.until(F.DATA).payload == b"hello"
    assert len(caught) == 13
    assert [name for name, fault in caught.items() if "session thread only" not in str(fault)] == []
