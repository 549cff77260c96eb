"""Attacks on a running daemon: other sessions are served all the while, and memory stays where it was."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.interop.raw_h2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    RST_STREAM,
    SETTINGS,
    RawClient,
    block,
    continuation,
    frame,
    goaway,
    headers,
    integer,
    ping,
    priority,
    request,
    reset,
    settings,
    window_update,
)

PATIENCE = 20.0  # seconds until a request of the victim counts as not served
REQUESTS = 30  # that the victim makes at least while it lasts
ROUNDS = 5  # sessions that an attacker spends, so that what each leaves behind would add up
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
        running(
            Path(directory) / "v",
            *("-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2", "-p", "h2_window_timeout=60"),
        ) as made,
    ):
        assert made.get("/").status == 200
        assert made.get("/big").status == 200
        yield made
    origin.close()
    assert not origin.errors


Attack = Callable[[int], bytes]
ATTACKS: dict[Attack, str] = {}


def counted(counter: str) -> Callable[[Attack], Attack]:
    """Decorator: what the attacker sends next, as a function of the lowest stream number not used yet; the counter."""

    def add(attack: Attack) -> Attack:
        ATTACKS[attack] = counter
        return attack

    return add


def each_stream(number: int, make: Callable[[int], bytes]) -> bytes:
    """The same for a number of streams."""
    return b"".join(make(n) for n in range(number, number + 40, 2))


@counted("h2_floods")
def pings(number: int) -> bytes:
    return ping() * 500


@counted("h2_floods")
def ping_answers(number: int) -> bytes:
    return ping(flags=ACK) * 500


@counted("h2_floods")
def many_settings(number: int) -> bytes:
    return settings(*[(4, 65535), (4, 65534)] * 1000)


@counted("h2_floods")
def settings_answers(number: int) -> bytes:
    return frame(SETTINGS, ACK, 0) * 500


@counted("h2_floods")
def goodbyes(number: int) -> bytes:
    return headers(number, flags=END_HEADERS) + goaway() * 500


@counted("h2_floods")
def priority_churn(number: int) -> bytes:
    return headers(number) + priority(number) * 500


@counted("h2_floods")
def priority_updates(number: int) -> bytes:
    return b"".join(frame(16, 0, 0, (number + n % 40 * 2).to_bytes(4, "big") + b"u=%d" % (n % 8)) for n in range(500))


@counted("h2_floods")
def empty_data(number: int) -> bytes:
    return headers(number, flags=END_HEADERS) + frame(DATA, 0, number) * 500


@counted("h2_floods")
def nothing_but_padding(number: int) -> bytes:
    return headers(number, flags=END_HEADERS) + frame(DATA, PADDED, number, b"\x03\0\0\0") * 500


@counted("h2_floods")
def unknown_frames(number: int) -> bytes:
    return frame(0x77, 0, 0, b"?") * 500


@counted("h2_floods")
def window_dribbling(number: int) -> bytes:
    """A window is opened octet by octet."""
    return settings((4, 0)) + headers(number, request(path="/big")) + window_update(number, 1) * 500


@counted("h2_floods")
def trailers_for_nobody(number: int) -> bytes:
    block_of_many = block([("x", "y")] * 300)
    return headers(number) + window_update(number, 0) + headers(number, block_of_many) * 20


@counted("h2_floods")
def empty_continuations(number: int) -> bytes:
    return headers(number, flags=END_STREAM) + continuation(number, b"", 0) * 20_000


@counted("h2_lists_too_large")
def endless_continuations(number: int) -> bytes:
    return headers(number, flags=END_STREAM) + continuation(number, bytes(16000), 0) * 10


@counted("h2_lists_too_large")
def zero_length_headers(number: int) -> bytes:
    return headers(number, block(request()) + b"\0\0\0" * 5000)


@counted("h2_lists_too_large")
def bombs(number: int) -> bytes:
    big = b"\x40\x01x" + integer(4000, 7) + b"y" * 4000
    return headers(number, block(request()) + big) + headers(number + 2, block(request()) + b"\xbe" * 16000)


@counted("h2_errors")
def huge_integers(number: int) -> bytes:
    return headers(number, b"\x7f" + b"\xff" * 16000, END_STREAM) + continuation(number, b"\xff" * 16000)


@counted("h2_rapid_reset")
def rapid_resets(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n) + reset(n))


@counted("h2_rapid_reset")
def resets_by_increments_of_nothing(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n) + window_update(n, 0))


@counted("h2_rapid_reset")
def resets_by_overflown_windows(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n, flags=END_HEADERS) + window_update(n, (1 << 31) - 1))


@counted("h2_rapid_reset")
def resets_by_data_after_the_end(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n, request(path=f"/{n}")) + frame(DATA, 0, n, b"x"))


@counted("h2_rapid_reset")
def resets_by_priority_on_itself(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n) + priority(n, n))


@counted("h2_rapid_reset")
def resets_by_malformed_requests(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n, [(":method", "GET")]))


@counted("h2_window_stuck")
def stalled_readers(number: int) -> bytes:
    return each_stream(number, lambda n: headers(n, request(path="/big")))


class Attacker(threading.Thread):
    """Connects, says bad things until it is thrown out, and connects again."""

    def __init__(self, port: int, attack: Attack) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.attack = attack
        self.over = threading.Event()
        self.rounds = 0  # sessions that have come to their end, or all that one may ask for
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                with RawClient(self.port, 2.0) as client:
                    client.handshake()
                    self._rage(client)
                self.rounds += 1
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
            if self.attack is stalled_readers and number > 100:
                self.rounds = ROUNDS
                self.over.wait()


def one_request(client: RawClient, number: int) -> None:
    """A request that must be served, in a session that nobody may disturb."""
    client.send(headers(number))
    while (got := client.read()) is not None:
        assert got.kind not in (RST_STREAM, GOAWAY)
        if got.stream == number and got.flags & END_STREAM and got.kind in (DATA, HEADERS):
            client.send(window_update(0, 1000))
            return
    raise AssertionError("the session of somebody else was closed")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_others_are_served(cache: Cache, attack: Attack) -> None:
    child = psutil.Process(cache.child_pid)
    counter = f"MAIN.{ATTACKS[attack]}"
    before = cache.counter(counter)
    memory = child.memory_info().rss
    attacker = Attacker(cache.port, attack)
    with RawClient(cache.port, PATIENCE) as victim:
        victim.handshake()
        one_request(victim, 1)
        attacker.start()
        number = 3
        while attacker.is_alive() and (attacker.rounds < ROUNDS or number < 2 * REQUESTS):
            one_request(victim, number)
            number += 2
        attacker.over.set()
        attacker.join(PATIENCE)
        one_request(victim, number)
    assert attacker.error is None
    assert attacker.rounds >= ROUNDS
    cache.wait_counter(counter, lambda value: value > before)
    assert child.memory_info().rss - memory < MOST_MEMORY


def test_one_stalled_reader_delays_nobody(cache: Cache) -> None:
    """One of a hundred streams, and one of a hundred sessions, does not read; everybody else gets all of it, while it
    stands still.
    """
    with RawClient(cache.port, PATIENCE) as client:
        client.handshake((4, 1000))
        client.send(headers(1, request(path="/big")))
        client.send(b"".join(headers(number) + window_update(number, 1) for number in range(3, 201, 2)))
        ended: set[int] = set()
        while len(ended) < 99:
            got = client.read()
            assert got is not None
            if got.last:
                ended.add(got.stream)
                client.send(window_update(0, 1000))
        assert 1 not in ended

        for _ in range(99):
            with RawClient(cache.port, PATIENCE) as other:
                other.handshake()
                one_request(other, 1)

        client.send(window_update(0, 1 << 30) + window_update(1, 1 << 30))
        client.read_until_last(1)
        assert sum(len(frame.payload) for frame in client.seen if (frame.kind, frame.stream) == (DATA, 1)) == BIG
