"""Idle sessions hold no threads, little memory, and answer at once. ``tools/idle-sessions`` does it with 10,000."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.e2e.harness import Exchange, Origin, running
from tests.interop.raw_h2 import RawClient, headers
from tests.waiting import wait_for

COUNT = 300
MOST_MEMORY = 40 * 1024  # octets of RSS per session; with so few, what the process needs otherwise counts too


def opened(port: int) -> RawClient:
    """A session that has made one request."""
    client = RawClient(port, 10.0)
    client.handshake()
    client.send(headers(1))
    client.read_until_last(1)
    return client


def test_idle_sessions_are_parked(short_tmp: Path) -> None:
    origin = Origin()

    @origin.page("/")
    def index(exchange: Exchange) -> None:
        exchange.answer(b"x" * 1000, cache_control="max-age=3600")

    options = ("feature=+http2", "timeout_idle=60", "thread_pools=1", "thread_pool_min=10", "thread_pool_max=20")
    arguments = [word for option in options for word in ("-p", option)]
    with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", *arguments) as cache:
        assert cache.get("/").status == 200
        child = psutil.Process(cache.child_pid)
        clients = [opened(cache.port) for _ in range(20)]
        wait_for(lambda: cache.counter("MAIN.h2_parked") == 20, "twenty are parked")
        threads, memory = child.num_threads(), child.memory_info().rss
        clients += [opened(cache.port) for _ in range(COUNT - 20)]
        wait_for(lambda: cache.counter("MAIN.h2_parked") == COUNT, "all are parked")
        assert child.num_threads() <= max(threads, 40)
        assert (child.memory_info().rss - memory) / (COUNT - 20) < MOST_MEMORY
        assert cache.counter("MAIN.h2_sessions_live") == COUNT
        for client in clients[::10]:
            client.send(headers(3))
            client.read_until_last(3)
        wait_for(lambda: cache.counter("MAIN.h2_parked") == COUNT, "parked again")
        for client in clients:
            client.sock.close()
        wait_for(lambda: cache.counter("MAIN.h2_sessions_live") == 0, "all gone")
        assert cache.counter("MAIN.h2_parked") == 0
    origin.close()
    assert not origin.errors
