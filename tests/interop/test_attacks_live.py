"""Attacks on a running daemon: other sessions are served all the while, and memory stays where it was."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from harness import Cache, Exchange, Origin, running
from raw_h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    RawClient,
    block,
    continuation,
    frame,
    headers,
    integer,
    ping,
    request,
    reset,
    settings,
    window_update,
)

SECONDS = 1.0  # of each attack
MOST_DELAY = 1.0  # seconds; all of this runs on one core, the attacker too
MOST_MEMORY = 48 << 20
BIG = 4 << 20


@pytest.fixture(scope="module")
def cache() -> Iterator[Cache]:
    origin = Origin()

    @origin.page("/")
    def index(exchange: Exchange) -> None:
        exchange.answer(b"0123456789" * 100, cache_control="max-age=3600")

    @origin.page("/big")
    def big(exchange: Exchange) -> None:
        exchange.answer(bytes(BIG), cache_control="max-age=3600")

    with (
        tempfile.TemporaryDirectory(prefix="vp-") as directory,
        running(Path(directory) / "v", "-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2") as made,
    ):
        assert made.get("/").status == 200
        assert made.get("/big").status == 200
        yield made
    origin.close()
    assert not origin.errors


def pings(number: int) -> bytes:
    return ping() * 500


def many_settings(number: int) -> bytes:
    return settings(*[(4, 65535), (4, 65534)] * 1000)


def rapid_resets(number: int) -> bytes:
    return b"".join(headers(n) + reset(n) for n in range(number, number + 40, 2))


def resets_we_send(number: int) -> bytes:
    return b"".join(headers(n) + window_update(n, 0) for n in range(number, number + 40, 2))


def bombs(number: int) -> bytes:
    big = b"\x40\x01x" + integer(4000, 7) + b"y" * 4000
    return headers(number, block(request()) + big) + headers(number + 2, block(request()) + b"\xbe" * 16000)


def endless_block(number: int) -> bytes:
    return headers(number, flags=END_STREAM) + continuation(number, bytes(16000), 0) * 10


def empty_data(number: int) -> bytes:
    return headers(number, flags=END_HEADERS) + frame(DATA, 0, number) * 500


def stalled_readers(number: int) -> bytes:
    return b"".join(headers(n, request(path="/big")) for n in range(number, number + 40, 2))


ATTACKS = {
    pings: "h2_floods",
    many_settings: "h2_floods",
    rapid_resets: "h2_rapid_reset",
    resets_we_send: "h2_rapid_reset",
    bombs: "h2_lists_too_large",
    endless_block: "h2_lists_too_large",
    empty_data: "h2_floods",
    stalled_readers: "h2_window_stuck",
}


class Attacker(threading.Thread):
    """Connects, says bad things until it is thrown out, and connects again."""

    def __init__(self, port: int, attack: Callable[[int], bytes]) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.attack = attack
        self.over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                with RawClient(self.port, 0.2) as client:
                    client.handshake()
                    self._rage(client)
        except BaseException as error:
            self.error = error

    def _rage(self, client: RawClient) -> None:
        number = 1
        while not self.over.is_set():
            try:
                client.sock.sendall(self.attack(number))
            except (OSError, TimeoutError):
                return  # thrown out, or held up: it takes no more from us
            number += 40
            if self.attack is stalled_readers:
                self.over.wait(0.1)


def one_request(client: RawClient, number: int) -> float:
    """Seconds that a request took."""
    began = time.monotonic()
    client.send(headers(number))
    while (got := client.read()) is not None:
        assert got.kind not in (RST_STREAM, GOAWAY)
        if got.stream == number and got.flags & END_STREAM and got.kind in (DATA, HEADERS):
            client.send(window_update(0, 1000))
            return time.monotonic() - began
    raise AssertionError("the session of somebody else was closed")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_others_are_served(cache: Cache, attack: Callable[[int], bytes]) -> None:
    child = psutil.Process(cache.child_pid)
    counter = f"MAIN.{ATTACKS[attack]}"
    before = cache.counter(counter)
    memory = child.memory_info().rss
    attacker = Attacker(cache.port, attack)
    delays = []
    with RawClient(cache.port, 5.0) as victim:
        victim.handshake()
        one_request(victim, 1)
        attacker.start()
        until = time.monotonic() + SECONDS
        number = 3
        while time.monotonic() < until:
            delays.append(one_request(victim, number))
            number += 2
            time.sleep(0.005)
        attacker.over.set()
        attacker.join(10)
        one_request(victim, number)
    assert attacker.error is None or isinstance(attacker.error, (OSError, AssertionError)), attacker.error
    assert max(delays) < MOST_DELAY
    cache.wait_counter(counter, lambda value: value > before)
    assert child.memory_info().rss - memory < MOST_MEMORY


def test_one_stalled_reader_delays_nobody(cache: Cache) -> None:
    """One of a hundred streams, and one of a hundred sessions, does not read; everybody else gets all of it."""
    with RawClient(cache.port, 5.0) as client:
        client.handshake((4, 1000))
        client.send(headers(1, request(path="/big")))
        client.send(b"".join(headers(number) + window_update(number, 1) for number in range(3, 201, 2)))
        ended: set[int] = set()
        began = time.monotonic()
        while len(ended) < 99:
            got = client.read()
            assert got is not None
            if got.last:
                ended.add(got.stream)
                client.send(window_update(0, 1000))
        among_streams = time.monotonic() - began
        assert 1 not in ended

        others = [RawClient(cache.port, 5.0) for _ in range(99)]
        began = time.monotonic()
        for other in others:
            other.handshake()
            one_request(other, 1)
            other.sock.close()
        among_sessions = time.monotonic() - began
    assert among_streams < 3.0
    assert among_sessions < 5.0
