"""Requests that are not well formed, and those that are too much: streams or connections end (RFC 9113 section 8)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.h2.conversation import GET_BLOCK, REQUEST, Conversation, connection_error, stream_error
from varnishpy.h2.tables import END_HEADERS, END_STREAM, F
from varnishpy.params import params

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
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, GET_BLOCK + field + b"\xbe" * 1000)
    connection_error(talk, "ENHANCE_YOUR_CALM")


def test_too_many_headers(talk: Conversation) -> None:
    talk.headers(1, extra=[(f"x{i}", "y") for i in range(params.http_max_hdr - 5)])
    stream_error(talk, 1, 11)


def test_header_too_large(talk: Conversation) -> None:
    talk.headers(1, extra=[("x", "y" * params.http_req_hdr_len)])
    stream_error(talk, 1, 11)


def test_push_promise(talk: Conversation) -> None:
    talk.headers(1)
    talk.frame(F.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET_BLOCK)
    connection_error(talk, "PROTOCOL_ERROR")
