"""What a client does wrong, and what becomes of it: every row of the engine's tables, RFC 9113 by default."""

from __future__ import annotations

from typing import Any

import pytest

from tests.h2.conversation import GET_BLOCK, Conversation, connection_error, stream_error
from varnishpy.h2 import frames
from varnishpy.h2.tables import ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY_FLAG, F
from varnishpy.params import params

# -- the first frame ---


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(F.PING, 0, 0, bytes(8)),
        frames.frame(F.SETTINGS, ACK, 0),
        frames.frame(F.HEADERS, 5, 1, GET_BLOCK),
        frames.frame(F.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        frames.frame(0x77, 0, 0, b""),
    ],
)
def test_first_frame_must_be_settings(frame: bytes) -> None:
    talk = Conversation(settings=None)
    talk.send(frame)
    connection_error(talk, "PROTOCOL_ERROR")


# -- streams that a type of frame cannot use ---


@pytest.mark.parametrize("kind", [F.DATA, F.HEADERS, F.PRIORITY, F.RST_STREAM, F.PUSH_PROMISE, F.CONTINUATION])
def test_not_on_stream_zero(talk: Conversation, kind: int) -> None:
    talk.frame(kind, 0, 0, bytes(5))
    connection_error(talk, "PROTOCOL_ERROR")


@pytest.mark.parametrize("kind", [F.SETTINGS, F.PING, F.GOAWAY, F.PUSH_PROMISE, F.PRIORITY_UPDATE])
def test_only_on_stream_zero(talk: Conversation, kind: int) -> None:
    talk.headers(1, end=False)
    talk.frame(kind, 0, 1, bytes(8))
    connection_error(talk, "PROTOCOL_ERROR")


@pytest.mark.parametrize("kind", [F.DATA, F.RST_STREAM, F.WINDOW_UPDATE, F.CONTINUATION, F.PUSH_PROMISE])
def test_not_on_idle_stream(talk: Conversation, kind: int) -> None:
    talk.frame(kind, 0, 1, b"\0\0\0\1")
    connection_error(talk, "PROTOCOL_ERROR")


def test_priority_on_idle_stream(talk: Conversation) -> None:
    talk.frame(F.PRIORITY, 0, 1, b"\0\0\0\0\x0f")
    talk.headers(1)
    assert talk.error() is None
    assert len(talk.host.started) == 1


# -- sizes ---


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (F.RST_STREAM, bytes(3)),
        (F.RST_STREAM, bytes(5)),
        (F.WINDOW_UPDATE, bytes(3)),
        (F.WINDOW_UPDATE, bytes(5)),
        (F.DATA, bytes(16385)),
        (F.HEADERS, bytes(16385)),
    ],
)
def test_frame_sizes_on_streams(talk: Conversation, kind: int, payload: bytes) -> None:
    talk.headers(1, end=False)
    talk.frame(kind, 0, 1, payload)
    connection_error(talk, "FRAME_SIZE_ERROR")


@pytest.mark.parametrize(
    ("kind", "flags", "payload"),
    [
        (F.PING, 0, bytes(7)),
        (F.PING, ACK, bytes(9)),
        (F.SETTINGS, 0, bytes(5)),
        (F.SETTINGS, ACK, bytes(6)),
        (F.WINDOW_UPDATE, 0, bytes(3)),
        (F.GOAWAY, 0, bytes(7)),
        (F.PRIORITY_UPDATE, 0, bytes(3)),
    ],
)
def test_frame_sizes_on_connection(talk: Conversation, kind: int, flags: int, payload: bytes) -> None:
    talk.frame(kind, flags, 0, payload)
    connection_error(talk, "FRAME_SIZE_ERROR")


def test_largest_frame_is_fine(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.data(1, bytes(16384))
    assert talk.error() is None


def test_too_long_is_known_from_the_header(talk: Conversation) -> None:
    talk.send(frames.frame_header(16385, F.DATA, 0, 1))
    assert talk.error() == "FRAME_SIZE_ERROR"


@pytest.mark.parametrize("size", [4, 6])
def test_priority_size(talk: Conversation, size: int) -> None:
    talk.headers(1, end=False)
    talk.frame(F.PRIORITY, 0, 1, bytes(size))
    stream_error(talk, 1, 6)


def test_priority_size_on_idle_stream_ends_the_connection(talk: Conversation) -> None:
    talk.frame(F.PRIORITY, 0, 1, bytes(4))
    connection_error(talk, "FRAME_SIZE_ERROR")


def test_priority_on_itself(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.frame(F.PRIORITY, 0, 1, b"\0\0\0\1\x10")
    stream_error(talk, 1, 1)


def test_headers_depending_on_itself(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 1, b"\0\0\0\1\x10" + GET_BLOCK)
    stream_error(talk, 1, 1)
    assert not talk.host.started


# -- settings ---


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        (2, 2, "PROTOCOL_ERROR"),
        (4, 2**31, "FLOW_CONTROL_ERROR"),
        (5, 16383, "PROTOCOL_ERROR"),
        (5, 2**24, "PROTOCOL_ERROR"),
        (8, 2, "PROTOCOL_ERROR"),
        (9, 2, "PROTOCOL_ERROR"),
    ],
)
def test_settings_out_of_bounds(talk: Conversation, key: Any, value: Any, name: str) -> None:
    talk.settings((key, value))
    connection_error(talk, name)


def test_settings_are_acknowledged_and_unknown_ones_ignored(talk: Conversation) -> None:
    talk.settings((0x7777, 1), (1, 0), (2, 0), (3, 0), (4, 2**31 - 1), (5, 2**24 - 1), (6, 0))
    (ack,) = talk.frames()
    assert (ack.kind, ack.flags, ack.payload) == (F.SETTINGS, ACK, b"")
    assert talk.h2.max_frame == 2**24 - 1


def test_our_settings_differ_from_defaults() -> None:
    talk = Conversation(settings=None)
    (frame,) = talk.frames()
    assert frame.kind == F.SETTINGS
    assert dict(frames.setting_iter(frame.payload)) == {3: 100, 6: params.http_req_size}


# -- stream numbers ---


def test_even_stream(talk: Conversation) -> None:
    talk.headers(2)
    connection_error(talk, "PROTOCOL_ERROR")


def test_smaller_stream(talk: Conversation) -> None:
    talk.headers(5)
    talk.headers(3)
    connection_error(talk, "PROTOCOL_ERROR")


def test_goaway_names_the_highest_stream(talk: Conversation) -> None:
    talk.headers(5)
    talk.frame(F.DATA, 0, 0)
    goaway = [f for f in talk.close() if f.kind == F.GOAWAY]
    assert int.from_bytes(goaway[0].payload[:4], "big") == 5


# -- half closed and closed streams ---


def test_data_on_half_closed_remote(talk: Conversation) -> None:
    talk.headers(1)
    talk.data(1, b"x")
    stream_error(talk, 1, 5)


def test_headers_on_half_closed_remote(talk: Conversation) -> None:
    talk.headers(1)
    talk.headers(1)
    stream_error(talk, 1, 5)


def test_continuation_on_half_closed_remote(talk: Conversation) -> None:
    talk.headers(1)
    talk.frame(F.CONTINUATION, END_HEADERS, 1, GET_BLOCK)
    connection_error(talk, "PROTOCOL_ERROR")


def test_data_after_reset(talk: Conversation) -> None:
    talk.headers(1, end=False).reset(1)
    talk.frames()
    talk.data(1, b"x")
    stream_error(talk, 1, 5)


def test_headers_after_reset(talk: Conversation) -> None:
    talk.headers(1, end=False).reset(1)
    talk.frames()
    talk.headers(1)
    stream_error(talk, 1, 5)


def test_data_after_end_on_both_sides(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1)
    talk.frames()
    talk.data(1, b"x")
    connection_error(talk, "STREAM_CLOSED")


def test_headers_after_end_on_both_sides(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1)
    talk.frames()
    talk.headers(1)
    connection_error(talk, "STREAM_CLOSED")


def test_what_may_come_late(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1)
    talk.frames()
    talk.window(1, 10).reset(1).frame(F.PRIORITY, 0, 1, bytes(4) + b"\x10")
    assert talk.error() is None
    assert not talk.frames()


def test_after_our_reset_everything_is_ignored_but_decoded(talk: Conversation) -> None:
    talk.headers(1, extra=[("Upper", "x")], end=False)
    stream_error(talk, 1, 1)
    before = talk.h2.windows.rx
    talk.data(1, bytes(100))
    talk.headers(1, extra=[("new-field", "indexed")])
    talk.window(1, 0)
    assert talk.error() is None
    assert not talk.resets()
    assert talk.h2.windows.rx != before  # the connection's window was charged, or charged and refilled
    talk.headers(3, extra=[("new-field", "indexed")])  # refers to what the ignored block put into the table
    assert ("new-field", "new-field", "indexed") in (talk.host.blocks[0].headers or [])


def test_unknown_error_codes(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.reset(1, 0xDEAD)
    talk.frame(F.GOAWAY, 0, 0, bytes(4) + b"\0\0\xde\xad")
    assert talk.error() is None


# -- windows ---


def test_zero_increment_on_stream(talk: Conversation) -> None:
    talk.headers(1)
    talk.window(1, 0)
    stream_error(talk, 1, 1)


def test_zero_increment_on_connection(talk: Conversation) -> None:
    talk.window(0, 0)
    connection_error(talk, "PROTOCOL_ERROR")


def test_stream_window_overflow(talk: Conversation) -> None:
    talk.headers(1)
    talk.window(1, 2**31 - 1)
    stream_error(talk, 1, 3)


def test_connection_window_overflow(talk: Conversation) -> None:
    talk.window(0, 2**31 - 1)
    connection_error(talk, "FLOW_CONTROL_ERROR")


def test_settings_can_overflow_a_window(talk: Conversation) -> None:
    talk.headers(1)
    talk.window(1, 2**31 - 1 - 65535)
    talk.settings((4, 65536))
    connection_error(talk, "FLOW_CONTROL_ERROR")


def test_stream_receive_window(talk: Conversation) -> None:
    talk.headers(1, end=False)
    for _ in range(4):
        talk.data(1, bytes(16384))
    assert talk.resets() == [(1, 3)]


def test_connection_receive_window(talk: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    talk.h2.windows.rx = 10
    talk.headers(1, end=False)
    talk.data(1, bytes(11))
    connection_error(talk, "FLOW_CONTROL_ERROR")


# -- header blocks ---


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(F.DATA, 0, 1, b"x"),
        frames.frame(F.PRIORITY, 0, 1, bytes(5)),
        frames.frame(F.PING, 0, 0, bytes(8)),
        frames.frame(F.SETTINGS, 0, 0),
        frames.frame(F.HEADERS, 4, 3, GET_BLOCK),
        frames.frame(F.CONTINUATION, 4, 3, b""),
        frames.frame(0x77, 0, 0, b"unknown"),
    ],
)
def test_nothing_inside_a_header_block(talk: Conversation, frame: bytes) -> None:
    talk.frame(F.HEADERS, END_STREAM, 1, GET_BLOCK)
    talk.send(frame)
    connection_error(talk, "PROTOCOL_ERROR")


def test_nothing_inside_an_ignored_header_block(talk: Conversation) -> None:
    talk.headers(1, extra=[("Upper", "x")], end=False)
    talk.frame(F.HEADERS, END_STREAM, 1, GET_BLOCK)
    talk.frame(F.PING, 0, 0, bytes(8))
    connection_error(talk, "PROTOCOL_ERROR")


def test_stray_continuation(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.frame(F.CONTINUATION, END_HEADERS, 1, b"")
    connection_error(talk, "PROTOCOL_ERROR")


@pytest.mark.parametrize("pieces", [1, 2, 6])
def test_continuations(talk: Conversation, pieces: Any) -> None:
    size = len(GET_BLOCK) // pieces
    parts = [GET_BLOCK[i : i + size] for i in range(0, len(GET_BLOCK), size)]
    talk.frame(F.HEADERS, END_STREAM, 1, b"")
    for part in parts:
        talk.frame(F.CONTINUATION, 0, 1, part)
    talk.frame(F.CONTINUATION, END_HEADERS, 1, b"")
    assert len(talk.host.started) == 1


def test_padding(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_HEADERS | PADDED, 1, b"\x03" + GET_BLOCK + bytes(3))
    talk.frame(F.DATA, PADDED | END_STREAM, 1, b"\x04body" + bytes(4))
    stream = talk.host.started[0]
    assert talk.rx_buffer(1).get(4) == b"body"
    assert stream.rx_window == 65535 - 9


@pytest.mark.parametrize("payload", [b"", b"\x05body", b"\x01"])
@pytest.mark.parametrize("kind", [F.DATA, F.HEADERS])
def test_padding_longer_than_frame(talk: Conversation, kind: int, payload: bytes) -> None:
    talk.headers(1, end=False)
    talk.frame(kind, PADDED | END_HEADERS | END_STREAM, 1 if kind == F.DATA else 3, payload)
    connection_error(talk, "PROTOCOL_ERROR")


def test_priority_does_not_fit(talk: Conversation) -> None:
    talk.frame(F.HEADERS, PRIORITY_FLAG | END_HEADERS | END_STREAM, 1, b"abcd")
    connection_error(talk, "FRAME_SIZE_ERROR")


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\x80\x80\x80\x80\x80\x80\x80\x01",  # a huge integer
        b"\xc6",  # an index beyond both tables
        b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",  # Huffman: padding longer than 7 bits
        b"\x00\x85\xf2\xb2\x4a\x87\xff\xff\xff\xff",  # Huffman: EOS
        b"\x3f\xe2\x1f" + GET_BLOCK,  # table size above our setting
        GET_BLOCK + b"\x20",  # table size update behind a field
        b"\x40\x0aab",  # cut short
        b"\x40",
    ],
)
def test_broken_compression(talk: Conversation, block: bytes) -> None:
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, block)
    connection_error(talk, "COMPRESSION_ERROR")


def test_table_size_update_in_front_is_fine(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f" + GET_BLOCK)
    assert len(talk.host.started) == 1


def test_reset_in_the_middle_of_a_block_is_a_compression_error(talk: Conversation) -> None:
    from varnishpy.h2.ending import reset
    from varnishpy.h2.tables import SE

    talk.frame(F.HEADERS, END_STREAM, 1, GET_BLOCK)
    reset(talk.h2.streams[1], SE.CANCEL)
    assert talk.error() == "COMPRESSION_ERROR"


# -- tolerated ---


def test_unknown_frames_and_flags(talk: Conversation) -> None:
    talk.frame(0x77, 0xFF, 0, b"x").frame(0x77, 0xFF, 99, b"x").frame(F.PING, 0xFE, 0, bytes(8))
    assert talk.error() is None
    assert talk.h2.bogosities == 3
    (pong,) = talk.frames()
    assert (pong.kind, pong.flags, pong.payload) == (F.PING, ACK, bytes(8))


def test_reserved_bit(talk: Conversation) -> None:
    frame = bytearray(frames.frame(F.HEADERS, 5, 1, GET_BLOCK))
    frame[5] |= 0x80
    talk.send(bytes(frame))
    assert len(talk.host.started) == 1


def test_ping_ack_nobody_asked_for(talk: Conversation) -> None:
    talk.frame(F.PING, ACK, 0, b"12345678")
    assert talk.error() is None
    assert not talk.frames()


def test_goaway_lets_open_streams_finish(talk: Conversation) -> None:
    talk.headers(1)
    talk.frame(F.GOAWAY, 0, 0, bytes(8))
    assert talk.error() is None
    talk.answer(1, b"still")
    assert [f.kind for f in talk.frames()] == [F.HEADERS, F.DATA]
