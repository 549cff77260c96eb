"""Clients that want to hurt: each attack is stopped by a limit, at the cost of little time and little memory.

An attack is a generator of what the client sends. It must end with the error the table names, and be counted.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.h2.conversation import GET_BLOCK, Conversation
from varnishpy.h2 import frames
from varnishpy.h2.hpack import encode_integer
from varnishpy.h2.tables import ACK, END_HEADERS, END_STREAM, F

PURSE = 2000.0  # a fifth of what a client has to spend
MOST_SECONDS = 6.0  # of CPU, on a slow machine and with every allocation traced; what is not stopped goes on for ever
MOST_MEMORY = 2 << 20
LAST = END_HEADERS | END_STREAM

Attack = Callable[[Conversation], Iterator[bytes]]


@dataclass(frozen=True)
class Row:
    attack: Attack
    error: str
    counter: str


ATTACKS: list[Row] = []


def row(error: str, counter: str) -> Callable[[Attack], Attack]:
    """Decorator: an attack that must end so."""

    def add(attack: Attack) -> Attack:
        ATTACKS.append(Row(attack, error, counter))
        return attack

    return add


def over_and_over(frame: bytes, at_once: int = 50) -> Iterator[bytes]:
    while True:
        yield frame * at_once


def every_stream(make: Callable[[int], bytes]) -> Iterator[bytes]:
    number = 1
    while True:
        yield make(number)
        number += 2


def request(number: int, block: bytes = GET_BLOCK, flags: int = LAST) -> bytes:
    return frames.frame(F.HEADERS, flags, number, block)


# -- frames that get no work done ------------------------------------------------------------------------------------


@row("ENHANCE_YOUR_CALM", "h2_floods")
def ping_flood(talk: Conversation) -> Iterator[bytes]:
    return over_and_over(frames.frame(F.PING, 0, 0, bytes(8)))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def settings_flood(talk: Conversation) -> Iterator[bytes]:
    return over_and_over(frames.frame(F.SETTINGS, 0, 0))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def settings_with_many_values(talk: Conversation) -> Iterator[bytes]:
    for number in range(1, 200, 2):  # each value moves the windows of a hundred streams
        talk.send(request(number))
    return over_and_over(frames.settings_frame([(4, 65535), (4, 65534)] * 1300), 1)


@row("ENHANCE_YOUR_CALM", "h2_floods")
def acknowledgements_of_nothing(talk: Conversation) -> Iterator[bytes]:
    return over_and_over(frames.frame(F.SETTINGS, ACK, 0) + frames.frame(F.PING, ACK, 0, bytes(8)))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def one_goodbye_after_the_other(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1))
    return over_and_over(frames.goaway_frame(0, 2))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def priority_churn(talk: Conversation) -> Iterator[bytes]:
    return over_and_over(frames.frame(F.PRIORITY, 0, 1, b"\0\0\0\0\x10"))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def priority_update_churn(talk: Conversation) -> Iterator[bytes]:
    talk.settings((4, 10))
    for number in range(1, 200, 2):
        talk.send(request(number))
        talk.answer(number, bytes(100))
    while True:
        for number in range(1, 200, 2):
            for urgency in b"07":
                yield frames.frame(F.PRIORITY_UPDATE, 0, 0, number.to_bytes(4, "big") + b"u=" + bytes([urgency]))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def empty_data(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1, flags=END_HEADERS))
    return over_and_over(frames.frame(F.DATA, 0, 1))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def nothing_but_padding(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1, flags=END_HEADERS))
    return over_and_over(frames.frame(F.DATA, 8, 1, b"\x01\x00"))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def unknown_frames(talk: Conversation) -> Iterator[bytes]:
    return over_and_over(frames.frame(0x77, 0, 0, b"?"))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def unknown_flags(talk: Conversation) -> Iterator[bytes]:
    return over_and_over(frames.frame(F.PING, 0xF0, 0, bytes(8)))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def window_dribbling(talk: Conversation) -> Iterator[bytes]:
    talk.settings((4, 0)).send(request(1))
    talk.answer(1, bytes(100_000))
    return over_and_over(frames.window_update_frame(1, 1), 1)


@row("ENHANCE_YOUR_CALM", "h2_floods")
def connection_window_dribbling(talk: Conversation) -> Iterator[bytes]:
    talk.settings((4, 1 << 20)).send(request(1))
    talk.answer(1, bytes(200_000))
    return over_and_over(frames.window_update_frame(0, 1), 1)


@row("ENHANCE_YOUR_CALM", "h2_floods")
def window_moved_to_and_fro(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1))
    talk.answer(1, bytes(100_000))
    return over_and_over(frames.settings_frame([(4, 0)]) + frames.settings_frame([(4, 1)]))


@row("ENHANCE_YOUR_CALM", "h2_floods")
def trailers_for_a_stream_that_we_reset(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1) + frames.window_update_frame(1, 0))
    return over_and_over(request(1, b"\x00\x01x\x01y" * 300), 1)


# -- header blocks ---------------------------------------------------------------------------------------------------


@row("ENHANCE_YOUR_CALM", "h2_floods")
def empty_continuations(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1, flags=END_STREAM))
    return over_and_over(frames.frame(F.CONTINUATION, 0, 1))


@row("ENHANCE_YOUR_CALM", "h2_lists_too_large")
def endless_continuations(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1, flags=END_STREAM))
    return over_and_over(frames.frame(F.CONTINUATION, 0, 1, bytes(16384)), 1)


@row("ENHANCE_YOUR_CALM", "h2_lists_too_large")
def zero_length_headers(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number, GET_BLOCK + b"\x00\x00\x00" * 5000))


@row("ENHANCE_YOUR_CALM", "h2_lists_too_large")
def decompression_bomb(talk: Conversation) -> Iterator[bytes]:
    big = b"\x40\x01x" + encode_integer(4000, 7) + b"y" * 4000
    yield request(1, GET_BLOCK + big)
    yield from every_stream(lambda number: request(number + 2, GET_BLOCK + b"\xbe" * 16000))


@row("RAPID_RESET", "h2_lists_too_large")
def bombs_just_below_the_hard_limit(talk: Conversation) -> Iterator[bytes]:
    big = b"\x40\x01x" + encode_integer(4000, 7) + b"y" * 4000
    yield request(1, GET_BLOCK + big)
    yield from every_stream(
        lambda number: request(number + 2, GET_BLOCK + b"\xbe" * 10 + b"\x00\x01z\x01" + bytes([32 + number // 2 % 90]))
    )


@row("COMPRESSION_ERROR", "h2_errors")
def huge_integers(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1, b"\x7f" + b"\xff" * 16000, END_STREAM))
    return over_and_over(frames.frame(F.CONTINUATION, END_HEADERS, 1, b"\xff" * 16000), 1)


# -- rapid reset -----------------------------------------------------------------------------------------------------


@row("RAPID_RESET", "h2_rapid_reset")
def resets_by_the_client(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + frames.rst_stream_frame(number, 8))


@row("RAPID_RESET", "h2_rapid_reset")
def resets_without_a_reason(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + frames.rst_stream_frame(number, 0))


@row("RAPID_RESET", "h2_rapid_reset")
def increments_of_nothing(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + frames.window_update_frame(number, 0))


@row("RAPID_RESET", "h2_rapid_reset")
def stream_windows_overflown(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + frames.window_update_frame(number, (1 << 31) - 1))


@row("RAPID_RESET", "h2_rapid_reset")
def data_after_the_end(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + frames.frame(F.DATA, 0, number, b"x"))


@row("RAPID_RESET", "h2_rapid_reset")
def headers_after_the_end(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + request(number))


@row("RAPID_RESET", "h2_rapid_reset")
def bodies_that_disagree(talk: Conversation) -> Iterator[bytes]:
    block = GET_BLOCK + b"\x0f\x0d\x011"  # content-length: 1
    return every_stream(
        lambda number: request(number, block, END_HEADERS) + frames.frame(F.DATA, END_STREAM, number, b"xx")
    )


@row("RAPID_RESET", "h2_rapid_reset")
def malformed_requests(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number, b"\x82"))


@row("RAPID_RESET", "h2_rapid_reset")
def streams_depending_on_themselves(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number, number.to_bytes(4, "big") + b"\x10" + GET_BLOCK, LAST | 0x20))


@row("RAPID_RESET", "h2_rapid_reset")
def priorities_of_the_wrong_size(talk: Conversation) -> Iterator[bytes]:
    return every_stream(lambda number: request(number) + frames.frame(F.PRIORITY, 0, number, b"?"))


@row("RAPID_RESET", "h2_rapid_reset")
def more_streams_than_allowed(talk: Conversation) -> Iterator[bytes]:
    return every_stream(request)


@row("RAPID_RESET", "h2_rapid_reset")
def data_for_a_stream_that_was_reset(talk: Conversation) -> Iterator[bytes]:
    talk.send(request(1, flags=END_HEADERS) + frames.rst_stream_frame(1, 8))
    return over_and_over(frames.frame(F.DATA, 0, 1, b"x"))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.attack.__name__)
def test_attack(attack: Row) -> None:
    talk = Conversation()
    h2 = talk.h2
    h2.purse.left = PURSE
    gc.collect()
    tracemalloc.start()
    began = time.process_time()
    try:
        for octets in attack.attack(talk):
            talk.send(octets)
            talk.host.take()
            talk.host.rejected.clear()  # what the harness keeps does not count
            talk.host.blocks.clear()
            if h2.error is not None:
                break
            assert time.process_time() - began < MOST_SECONDS
        seconds = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert talk.error() == attack.error
    assert getattr(h2.stats, attack.counter) > 0
    assert seconds < MOST_SECONDS
    assert peak - len(talk.host.sent) < MOST_MEMORY


def test_one_stalled_reader_among_a_hundred_delays_nobody() -> None:
    """Its window stays shut; what the other 99 ask for leaves in the same batches."""
    talk = Conversation(settings=[(4, 1000)])
    for number in range(1, 200, 2):
        talk.headers(number)
    talk.window(0, 1 << 20)
    talk.answer(1, bytes(100_000))
    talk.frames()
    for number in range(3, 200, 2):
        talk.answer(number, b"small")
    done = {f.stream for f in talk.frames() if f.flags & END_STREAM}
    assert done == set(range(3, 200, 2))
    assert list(talk.h2.streams) == [1]


def test_early_priorities_and_memos_are_bounded() -> None:
    talk = Conversation()
    for number in range(1, 2001, 2):
        talk.frame(F.PRIORITY_UPDATE, 0, 0, (number + 1000).to_bytes(4, "big") + b"u=1")
    assert len(talk.h2.early) <= talk.h2.max_streams
    for number in range(1, 2001, 2):
        talk.send(request(number, GET_BLOCK + b"\x00\x01z" + b"\x04" + f"{number:04d}".encode()))
        talk.answer(number, b"x")
        talk.host.take()
    assert len(talk.h2.decoder.memo) <= 64
    assert not talk.h2.streams
