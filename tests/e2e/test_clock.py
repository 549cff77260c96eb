"""The clock of the wall is set, by hours: what is under way goes on, what is open stays open."""

from __future__ import annotations

import threading

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin
from tests.waiting import PATIENCE

STEPS = ("7200", "-14400")
WINDOW = 65535  # of a stream and of a connection, where nobody says otherwise (RFC 9113 section 6.9.2)


@pytest.mark.parametrize("step", STEPS)
def test_sessions_and_requests_outlive_a_step(cache: Cache, origin: Origin, step: str) -> None:
    asked, gate = threading.Event(), threading.Event()

    @origin.page("/slow")
    def slow(exchange: Exchange) -> None:
        asked.set()
        assert gate.wait(PATIENCE)
        exchange.answer(b"late", cache_control="no-store")

    @origin.page("/")
    def index(exchange: Exchange) -> None:
        exchange.answer(b"here", cache_control="no-store")

    with H2Client(cache.port) as busy, H2Client(cache.port) as idle, cache.connect() as plain:
        assert idle.get("/").body == b"here"
        plain.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert plain.recv(65536)
        number = busy.request("/slow")
        assert asked.wait(PATIENCE)
        cache.cli("debug.travel", step)
        assert busy.get("/").body == b"here"
        gate.set()
        assert busy.finish(number)[0].body == b"late"
        assert idle.get("/").body == b"here"
        plain.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert plain.recv(65536).endswith(b"here")
        assert idle.goaway is busy.goaway is None


@pytest.mark.parametrize("step", STEPS)
def test_a_client_that_reads_slowly_is_not_taken_for_one_that_does_not(cache: Cache, origin: Origin, step: str) -> None:
    """The step is longer than h2_window_timeout, the time for which the client has kept its window shut is not."""
    body = bytes(range(256)) * 400

    @origin.page("/")
    def index(exchange: Exchange) -> None:
        exchange.answer(body, cache_control="no-store")

    cache.cli("param.set", "h2_window_timeout", "60")
    with H2Client(cache.port, ack_data=False) as client:
        number = client.request("/")
        while len(client.streams[number].body) < WINDOW:
            assert client.step()
        cache.cli("debug.travel", step)
        client.h2.ping(b"anything")
        client.h2.increment_flow_control_window(len(body))
        client.h2.increment_flow_control_window(len(body), number)
        client.flush()
        assert client.finish(number)[0].body == body
