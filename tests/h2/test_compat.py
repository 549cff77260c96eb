"""``feature=+h2_compat``: what Varnish makes of frames that RFC 9113 has other words for."""

from __future__ import annotations

import pytest

from tests.h2.conversation import GET_BLOCK, REQUEST, Conversation, connection_error
from varnishpy.h2.tables import ACK, END_HEADERS, END_STREAM, F


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
    talk.frame(F.HEADERS, END_STREAM, 1, GET_BLOCK)
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
