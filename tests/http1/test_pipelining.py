"""Answers to pipelined requests: together in one write, in order, and never behind a wait."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tls_contexts
from tests.conftest import Setting
from tests.http1.h1_harness import Harness, Peer, echo, respond
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.log.tags import Tag
from varnishpy.request.request import Request, Step
from varnishpy.session.tls_socket import TlsSocket
from varnishpy.threads import Worker


class Written:
    """A socket that notes how many octets each write took."""

    def __init__(self, inner: Any, writes: list[int]) -> None:
        self._inner = inner
        self._writes = writes
        self.fileno = inner.fileno
        self.recv = inner.recv
        self.shutdown = inner.shutdown
        self.close = inner.close

    def sendmsg(self, buffers: list[Any], /) -> int:
        count = int(self._inner.sendmsg(buffers))
        self._writes.append(count)
        return count


class Client:
    """One connection, and what was written to it."""

    def __init__(self, harness: Harness, send_buffer: int = 0) -> None:
        self.writes: list[int] = []
        self._send_buffer = send_buffer
        self.peer: Peer = harness.connect(wrap=self._wrap)

    def _wrap(self, sock: socket.socket) -> Written:
        if self._send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        return Written(sock, self.writes)

    def wrote(self, *sizes: int) -> None:
        """All that was written, write by write; the last is noted a moment after it has arrived."""
        wait_for(lambda: sum(self.writes) >= sum(sizes), "the last write to be noted")
        assert self.writes == list(sizes)

    def ask(self, *urls: str) -> None:
        """Send requests in one go."""
        self.peer.send(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % url.encode() for url in urls))

    def answers(self, *urls: str) -> int:
        """Take the answers to these; octets of all."""
        size = 0
        for url in urls:
            head, body = self.peer.response()
            assert body.startswith(b"GET %s " % url.encode())
            size += len(head) + len(body)
        return size


class Gate:
    """A state machine: some URLs wait until the test opens the gate, some have large answers."""

    def __init__(self, harness: Harness) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        harness.run = self.run

    def run(self, wrk: Worker, req: Request) -> Step:
        url = req.http.url
        if url.startswith("/wait"):
            self.reached.set()
            with wrk.blocking():
                assert self.opened.wait(30)
        size = url.partition("?")[2]
        if not size:
            return echo(wrk, req)
        respond(wrk, req, 200, f"GET {url} ".encode().ljust(int(size), b"x"))
        return Step.DONE


@pytest.fixture(autouse=True)
def _patience(setting: Setting) -> None:
    """Answers are held however slow the machine is."""
    setting("http1_hold_time", "1000")


@pytest.fixture
def gate(harness: Harness) -> Iterator[Gate]:
    made = Gate(harness)
    yield made
    made.opened.set()


def test_a_burst_is_one_write(harness: Harness) -> None:
    held = stats.main.get("http1_held")
    client = Client(harness)
    urls = [f"/{number}" for number in range(10)]
    client.ask(*urls)
    burst = client.answers(*urls)
    client.ask("/alone")
    client.wrote(burst, client.answers("/alone"))
    harness.env.pools.stop(5)
    assert stats.main.get("http1_held") == held + 9


def test_each_request_is_accounted_by_itself(harness: Harness) -> None:
    client = Client(harness)
    client.ask("/a", "/bb")
    sizes = [client.answers("/a"), client.answers("/bb")]
    harness.env.pools.stop(5)
    assert [int(text.split()[-1]) for text in harness.log.texts(Tag.ReqAcct)] == sizes


def test_answers_leave_before_a_request_behind_them_waits(harness: Harness, gate: Gate) -> None:
    client = Client(harness)
    client.ask("/1", "/2", "/wait", "/3")
    size = client.answers("/1", "/2")
    assert not gate.opened.is_set()
    client.wrote(size)
    gate.opened.set()
    client.wrote(size, client.answers("/wait", "/3"))


def test_they_leave_however_slowly_the_client_reads(harness: Harness, gate: Gate) -> None:
    """The socket takes a part only: the request behind them waits until the client has all."""
    client = Client(harness, send_buffer=4096)
    urls = [f"/{number}?7000" for number in range(8)]
    client.ask(*urls, "/wait")
    client.answers(*urls)
    assert gate.reached.wait(30)
    gate.opened.set()
    client.answers("/wait")


def test_a_large_answer_takes_the_small_ones_before_it_along(harness: Harness, gate: Gate) -> None:
    client = Client(harness)
    client.ask("/1", "/2", "/big?9000", "/3", "/4")
    client.wrote(client.answers("/1", "/2", "/big?9000"), client.answers("/3", "/4"))


def test_no_more_than_so_many_octets_are_held(harness: Harness, gate: Gate) -> None:
    client = Client(harness)
    urls = [f"/{number}?8000" for number in range(20)]
    client.ask(*urls)
    sizes = [client.answers(url) for url in urls]
    client.wrote(sum(sizes[:9]), sum(sizes[9:18]), sum(sizes[18:]))


def test_the_request_that_closes_answers_for_all(harness: Harness) -> None:
    client = Client(harness)
    client.peer.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n")
    size = client.answers("/1", "/2")
    assert client.peer.rest() == b""
    client.wrote(size)
    harness.closed("REQ_CLOSE")


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (b"GET \x01 HTTP/1.1\r\n\r\n", "RX_JUNK"),  # refused with 400
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", "RX_OVERFLOW"),
        (b"\n\r\n\r\n", "RX_JUNK"),
    ],
)
def test_what_is_no_request_does_not_swallow_the_answers_before_it(
    harness: Harness, behind: bytes, reason: str
) -> None:
    client = Client(harness)
    client.peer.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n" + behind)
    client.answers("/1", "/2")
    harness.closed(reason)


def test_a_request_without_an_answer_does_not_swallow_those_before_it(harness: Harness) -> None:
    def run(wrk: Worker, req: Request) -> Step:
        if req.http.url == "/fail":
            req.transport.fail(req, "OVERLOAD")
            return Step.DONE
        if req.http.url == "/defect":
            raise ValueError("kaputt")
        return echo(wrk, req)

    harness.run = run
    for url, reason in (("/fail", "OVERLOAD"), ("/defect", "TX_ERROR")):
        client = Client(harness)
        client.ask("/1", "/2", url)
        client.answers("/1", "/2")
        assert client.peer.rest() == b""
        harness.closed(reason)


def test_an_answer_does_not_wait_for_the_body_behind_it(harness: Harness) -> None:
    client = Client(harness)
    client.peer.send(b"GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 6\r\n\r\n\r\n\r\n")
    size = client.answers("/1")
    client.wrote(size)
    client.peer.send(b"ab")
    assert client.peer.response()[1] == b"POST /2 \r\n\r\nab"


def test_what_looks_like_a_request_in_a_body_is_none(harness: Harness, gate: Gate) -> None:
    """The answer comes before the body is read: what stands behind it in the buffer is no next request."""
    client = Client(harness)
    client.peer.send(b"POST /2?100 HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    client.wrote(len(b"".join(client.peer.response())))
    client.peer.send(b"x" * 22)
    client.ask("/3")
    client.answers("/3")


def test_a_client_that_has_gone_ends_the_session(harness: Harness, gate: Gate) -> None:
    client = Client(harness)
    client.ask("/wait", "/1", "/2")
    assert gate.reached.wait(30)
    client.peer.sock.close()
    gate.opened.set()
    harness.closed("REM_CLOSE")


def test_settling_lets_the_answers_go(harness: Harness, gate: Gate) -> None:
    """What a lookup does before the request is put on a waiting list, and a fetch before it begins."""

    def run(wrk: Worker, req: Request) -> Step:
        if req.http.url == "/leaves":
            assert req.before_wait is not None
            req.settle()
            assert req.before_wait is None
            gate.reached.set()
            assert gate.opened.wait(30)  # a wait that nobody announces
        return echo(wrk, req)

    harness.run = run
    client = Client(harness)
    client.ask("/1", "/2", "/leaves", "/3")
    size = client.answers("/1", "/2")
    client.wrote(size)
    gate.opened.set()
    client.wrote(size, client.answers("/leaves", "/3"))


def test_nothing_is_held_for_no_time(harness: Harness, setting: Setting) -> None:
    setting("http1_hold_time", "0")
    client = Client(harness)
    client.ask("/1", "/2", "/3")
    client.wrote(*[client.answers(url) for url in ("/1", "/2", "/3")])


def test_a_session_that_gives_its_turn_away_holds_nothing(harness: Harness) -> None:
    client = Client(harness)
    urls = [f"/{number}" for number in range(40)]
    client.ask(*urls)
    first = client.answers(*urls[:32])
    client.wrote(first, client.answers(*urls[32:]))


def test_a_burst_is_one_record_of_tls(harness: Harness, tmp_path: Path) -> None:
    server_context, client_context = tls_contexts(tmp_path / "c", "a.example")
    writes: list[int] = []

    def wrap(sock: socket.socket) -> Written:
        tls = TlsSocket(sock, server_context)
        while events := tls.handshake():
            poll = select.poll()
            poll.register(tls.fileno(), events)
            assert poll.poll(10_000)
        return Written(tls, writes)

    peer = harness.connect(wrap=wrap)
    peer.sock = client_context.wrap_socket(peer.sock, server_hostname="a.example")
    peer.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    size = 0
    for number in (1, 2):
        head, body = peer.response()
        assert body == b"GET /%d " % number
        size += len(head) + len(body)
    wait_for(lambda: sum(writes) >= size, "the last write to be noted")
    assert writes == [size]
