"""What a client does wrong, and what becomes of it: every row of the engine's tables, RFC 9113 by default."""

from __future__ import annotations

from typing import Any

import pytest

from tests.h2.conversation import REQUEST, Conversation
from varnishpy.h2 import frames
from varnishpy.h2.tables import ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY_FLAG, F
from varnishpy.params import params

GET = b"\x82\x86\x84\x01\x01a"  # :method GET, :scheme http, :path /, :authority a


def connection_error(talk: Conversation, name: str) -> None:
    assert talk.error() == name
    goaway = [f for f in talk.close() if f.kind == F.GOAWAY]
    assert len(goaway) == 1


def stream_error(talk: Conversation, stream: int, code: int) -> None:
    assert talk.error() is None
    assert talk.resets() == [(stream, code)]


# -- the first frame ---


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(F.PING, 0, 0, bytes(8)),
        frames.frame(F.SETTINGS, ACK, 0),
        frames.frame(F.HEADERS, 5, 1, GET),
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
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 1, b"\0\0\0\1\x10" + GET)
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
    talk.frame(F.CONTINUATION, END_HEADERS, 1, GET)
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
        frames.frame(F.HEADERS, 4, 3, GET),
        frames.frame(F.CONTINUATION, 4, 3, b""),
        frames.frame(0x77, 0, 0, b"unknown"),
    ],
)
def test_nothing_inside_a_header_block(talk: Conversation, frame: bytes) -> None:
    talk.frame(F.HEADERS, END_STREAM, 1, GET)
    talk.send(frame)
    connection_error(talk, "PROTOCOL_ERROR")


def test_nothing_inside_an_ignored_header_block(talk: Conversation) -> None:
    talk.headers(1, extra=[("Upper", "x")], end=False)
    talk.frame(F.HEADERS, END_STREAM, 1, GET)
    talk.frame(F.PING, 0, 0, bytes(8))
    connection_error(talk, "PROTOCOL_ERROR")


def test_stray_continuation(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.frame(F.CONTINUATION, END_HEADERS, 1, b"")
    connection_error(talk, "PROTOCOL_ERROR")


@pytest.mark.parametrize("pieces", [1, 2, 6])
def test_continuations(talk: Conversation, pieces: Any) -> None:
    size = len(GET) // pieces
    parts = [GET[i : i + size] for i in range(0, len(GET), size)]
    talk.frame(F.HEADERS, END_STREAM, 1, b"")
    for part in parts:
        talk.frame(F.CONTINUATION, 0, 1, part)
    talk.frame(F.CONTINUATION, END_HEADERS, 1, b"")
    assert len(talk.host.started) == 1


def test_padding(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_HEADERS | PADDED, 1, b"\x03" + GET + bytes(3))
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
        b"\x3f\xe2\x1f" + GET,  # table size above our setting
        GET + b"\x20",  # table size update behind a field
        b"\x40\x0aab",  # cut short
        b"\x40",
    ],
)
def test_broken_compression(talk: Conversation, block: bytes) -> None:
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, block)
    connection_error(talk, "COMPRESSION_ERROR")


def test_table_size_update_in_front_is_fine(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f" + GET)
    assert len(talk.host.started) == 1


def test_reset_in_the_middle_of_a_block_is_a_compression_error(talk: Conversation) -> None:
    from varnishpy.h2.ending import reset
    from varnishpy.h2.tables import SE

    talk.frame(F.HEADERS, END_STREAM, 1, GET)
    reset(talk.h2.streams[1], SE.CANCEL)
    assert talk.error() == "COMPRESSION_ERROR"


# -- malformed requests ---

BASE = dict(REQUEST)


def without(name: str) -> list[tuple[str, str]]:
    return [field for field in REQUEST if field[0] != name]


def raw(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Fields as literals, without any check."""
    out = b""
    for name, value in fields:
        out += b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
    return out


@pytest.mark.parametrize(
    "fields",
    [
        without(":method"),
        without(":scheme"),
        without(":path"),
        [*without(":method"), (":method", "")],
        [*without(":path"), (":path", "")],
        [*without(":scheme"), (":scheme", "")],
        [*without(":path"), (":path", "x")],
        [*without(":path"), (":path", "*")],
        [*without(":path"), (":path", "/a b")],
        [*without(":method"), (":method", "G T")],
        [*REQUEST, (":method", "GET")],
        [*REQUEST, (":path", "/")],
        [*REQUEST, (":scheme", "http")],
        [*REQUEST, (":authority", "a")],
        [*REQUEST, (":status", "200")],
        [*REQUEST, (":unknown", "x")],
        [("accept", "x"), *REQUEST],
        [*REQUEST, ("Accept", "x")],
        [*REQUEST, ("acc ept", "x")],
        [*REQUEST, ("", "x")],
        [*REQUEST, ("x", "a\0b")],
        [*REQUEST, ("x", "a\nb")],
        [*REQUEST, ("x", "a\rb")],
        [*REQUEST, ("x", " leading")],
        [*REQUEST, ("x", "trailing\t")],
        [*REQUEST, ("connection", "keep-alive")],
        [*REQUEST, ("keep-alive", "x")],
        [*REQUEST, ("proxy-connection", "x")],
        [*REQUEST, ("transfer-encoding", "chunked")],
        [*REQUEST, ("upgrade", "x")],
        [*REQUEST, ("te", "trailers, deflate")],
        [*REQUEST, ("host", "other")],
        [*REQUEST, ("content-length", "x")],
        [*REQUEST, ("content-length", "+1")],
        [*REQUEST, ("content-length", "")],
        [*REQUEST, ("content-length", "1")],  # with END_STREAM
        [*REQUEST, ("content-length", "0"), ("content-length", "1")],
        [(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
        [(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "http")],
        [(":method", "CONNECT")],
    ],
)
def test_malformed_requests(talk: Conversation, fields: Any) -> None:
    block = raw([(name.encode(), value.encode()) for name, value in fields])
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, block)
    stream_error(talk, 1, 1)
    assert not talk.host.started
    assert len(talk.host.rejected) == 1


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ([(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")], "*"),
        ([(":method", "CONNECT"), (":authority", "a:1")], "a:1"),
        ([*REQUEST, ("te", "trailers")], "/"),
        ([*REQUEST, ("host", "example.com")], "/"),
        ([*REQUEST, ("x", "")], "/"),
        ([*REQUEST, ("content-length", "0")], "/"),
    ],
)
def test_well_formed_requests(talk: Conversation, fields: Any, path: Any) -> None:
    talk.headers(1, fields)
    assert not talk.resets()
    assert talk.host.blocks[0].path == path


def test_what_becomes_of_the_fields(talk: Conversation) -> None:
    talk.headers(1, extra=[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2")])
    block = talk.host.blocks[0]
    assert (block.method, block.path) == ("GET", "/")
    assert block.headers == [
        ("scheme", "scheme", "http"),
        ("host", "host", "example.com"),
        ("cookie", "cookie", "a=1; b=2"),
        ("accept", "accept", "*/*"),
    ]


@pytest.mark.parametrize(
    ("length", "bodies"),
    [("1", [b"ab"]), ("3", [b"ab"]), ("3", [b"ab", b"cd"]), ("1", [b""]), ("3", [b"a", b"b"])],
)
def test_content_length_mismatch(talk: Conversation, length: str, bodies: Any) -> None:
    talk.headers(1, extra=[("content-length", length)], end=False)
    for i, body in enumerate(bodies):
        talk.data(1, body, end=i == len(bodies) - 1)
    stream_error(talk, 1, 1)


def test_trailers(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.data(1, b"x")
    talk.headers(1, [("x-check", "1")])
    assert talk.error() is None
    assert not talk.resets()
    assert talk.host.started[0].rx_ended
    assert talk.host.started[0].trailers == [("x-check", "x-check", "1")]


def test_trailers_must_end_the_stream(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.headers(1, [("x-check", "1")], end=False)
    stream_error(talk, 1, 1)


def test_trailers_without_pseudo_headers(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.headers(1, REQUEST)
    stream_error(talk, 1, 1)


def test_trailers_complete_the_content_length(talk: Conversation) -> None:
    talk.headers(1, extra=[("content-length", "2")], end=False)
    talk.data(1, b"x")
    talk.headers(1, [("x-check", "1")])
    stream_error(talk, 1, 1)


# -- limits ---


def test_too_many_streams(talk: Conversation) -> None:
    for i in range(100):
        talk.headers(2 * i + 1)
    assert not talk.resets()
    talk.headers(201)
    stream_error(talk, 201, 7)
    assert talk.h2.open_streams == 100


def test_no_thread_for_a_stream(talk: Conversation) -> None:
    talk.host.refuse = True
    talk.headers(1)
    stream_error(talk, 1, 7)
    assert not talk.h2.streams
    assert talk.h2.open_streams == 0


def test_header_list_over_http_req_size(talk: Conversation) -> None:
    size = params.http_req_size
    many = [(f"x{i}", "y" * 4000) for i in range(size // 4000 + 1)]
    fields = [*REQUEST, *many]
    block = talk.encoder.encode(fields, huffman=False)
    talk.frame(F.HEADERS, END_STREAM, 1, block[:16384])
    for at in range(16384, len(block), 16384):
        talk.frame(F.CONTINUATION, END_HEADERS if at + 16384 >= len(block) else 0, 1, block[at : at + 16384])
    stream_error(talk, 1, 11)
    talk.headers(3)  # the table survived
    assert len(talk.host.started) == 1


def test_header_list_over_the_hard_limit(talk: Conversation) -> None:
    field = b"\x40\x01x\x7f\x81\x1e" + b"v" * 4000  # indexed, then referred to again and again
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, GET + field + b"\xbe" * 1000)
    connection_error(talk, "ENHANCE_YOUR_CALM")


def test_too_many_headers(talk: Conversation) -> None:
    talk.headers(1, extra=[(f"x{i}", "y") for i in range(params.http_max_hdr - 5)])
    stream_error(talk, 1, 11)


def test_header_too_large(talk: Conversation) -> None:
    talk.headers(1, extra=[("x", "y" * params.http_req_hdr_len)])
    stream_error(talk, 1, 11)


def test_push_promise(talk: Conversation) -> None:
    talk.headers(1)
    talk.frame(F.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET)
    connection_error(talk, "PROTOCOL_ERROR")


# -- tolerated ---


def test_unknown_frames_and_flags(talk: Conversation) -> None:
    talk.frame(0x77, 0xFF, 0, b"x").frame(0x77, 0xFF, 99, b"x").frame(F.PING, 0xFE, 0, bytes(8))
    assert talk.error() is None
    assert talk.h2.bogosities == 3
    (pong,) = talk.frames()
    assert (pong.kind, pong.flags, pong.payload) == (F.PING, ACK, bytes(8))


def test_reserved_bit(talk: Conversation) -> None:
    frame = bytearray(frames.frame(F.HEADERS, 5, 1, GET))
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


# -- as Varnish does ---


def test_compat_ping_ack(compat: None) -> None:
    talk = Conversation()
    talk.frame(F.PING, ACK, 0, bytes(8))
    connection_error(talk, "PROTOCOL_ERROR")


def test_compat_settings_size(compat: None) -> None:
    talk = Conversation()
    talk.frame(F.SETTINGS, 0, 0, bytes(5))
    connection_error(talk, "PROTOCOL_ERROR")


def test_compat_headers_on_closed_stream(compat: None) -> None:
    talk = Conversation()
    talk.headers(1, end=False).reset(1)
    talk.headers(1)
    connection_error(talk, "PROTOCOL_ERROR")


@pytest.mark.parametrize("payload", [bytes(4), b"\0\0\0\1\x10"])
def test_compat_priority_is_ignored(compat: None, payload: bytes) -> None:
    talk = Conversation()
    talk.headers(1)
    talk.frame(F.PRIORITY, 0, 1, payload)
    assert talk.error() is None
    assert not talk.resets()


def test_compat_priority_on_even_stream(compat: None) -> None:
    talk = Conversation()
    talk.frame(F.PRIORITY, 0, 2, b"\0\0\0\0\x10")
    assert talk.error() == "PROTOCOL_ERROR"


def test_compat_unknown_frame_in_header_block(compat: None) -> None:
    talk = Conversation()
    talk.frame(F.HEADERS, END_STREAM, 1, GET)
    talk.frame(0x77, 0, 0, b"")
    talk.frame(F.CONTINUATION, END_HEADERS, 1, b"")
    assert len(talk.host.started) == 1


def test_compat_tolerates_headers(compat: None) -> None:
    talk = Conversation()
    talk.headers(1, [("accept", "x"), *REQUEST, ("connection", "close")])
    assert len(talk.host.started) == 1


def test_compat_trailers(compat: None) -> None:
    talk = Conversation()
    talk.headers(1, end=False)
    talk.headers(1, [("x", "y")])
    connection_error(talk, "PROTOCOL_ERROR")


def test_compat_goaway_ends_at_once(compat: None) -> None:
    talk = Conversation()
    talk.headers(1)
    talk.frame(F.GOAWAY, 0, 0, bytes(8))
    assert talk.error() == "NO_ERROR"


def test_compat_data_on_closed_stream(compat: None) -> None:
    talk = Conversation()
    talk.headers(1).answer(1, b"x")
    talk.frames()
    talk.data(1, b"late")
    connection_error(talk, "PROTOCOL_ERROR")


def test_compat_too_long_frame(compat: None) -> None:
    talk = Conversation()
    talk.frame(F.DATA, 0, 1, bytes(16385))
    connection_error(talk, "PROTOCOL_ERROR")


def test_compat_padding_is_given_back_at_once(compat: None) -> None:
    talk = Conversation()
    talk.headers(1, end=False)
    talk.frame(F.DATA, 8, 1, b"\x05" + b"data" + bytes(5))
    assert [(f.stream, f.code) for f in talk.frames() if f.kind == F.WINDOW_UPDATE and f.stream] == [(1, 6)]
