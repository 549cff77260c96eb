"""What leaves, and in which order."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from tests.h2.conversation import Conversation
from varnishpy.h2 import frames
from varnishpy.h2.ending import STOP_PATIENCE
from varnishpy.h2.outgoing import Outgoing, Where
from varnishpy.h2.tables import END_HEADERS, END_STREAM, F
from varnishpy.h2.transmit import BATCH_BYTES, BATCH_PIECES, CONTROL_SIZE
from varnishpy.params import table
from varnishpy.storage.source import END, LATER, BytesSource, Source, SourceError


class Growing(Source):
    """A source that the test fills."""

    __slots__ = ("closed", "pieces")

    def __init__(self, length: int = -1) -> None:
        super().__init__(length, False)
        self.pieces: deque[Any] = deque()
        self.closed = 0

    def add(self, *pieces: Any) -> None:
        self.pieces.extend(pieces)
        if self.on_ready is not None:
            self.on_ready()

    def pull(self, limit: int) -> Any:
        if not self.pieces:
            return LATER
        piece = self.pieces[0]
        if isinstance(piece, bytes):
            if len(piece) > limit:
                self.pieces[0] = piece[limit:]
                return piece[:limit]
        elif isinstance(piece, SourceError):
            raise piece
        self.pieces.popleft()
        return piece

    def close(self) -> None:
        self.closed += 1


def shape(out: list[Any]) -> list[tuple[str, int, int]]:
    """Name, stream and payload length of frames."""
    return [(f.name, f.stream, len(f.payload)) for f in out]


def body_of(out: list[Any], stream: int) -> bytes:
    return b"".join(f.payload for f in out if f.kind == F.DATA and f.stream == stream)


def test_a_response(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1, b"hello", fields=[("content-type", "Content-Type", "text/plain"), ("x", "X", "y")])
    headers, data = talk.frames()
    assert talk.fields(headers.payload) == [(":status", "200"), ("content-type", "text/plain"), ("x", "y")]
    assert (headers.flags, data.flags, data.payload) == (END_HEADERS, END_STREAM, b"hello")
    assert not talk.h2.streams
    assert talk.h2.open_streams == 0
    (request,) = talk.host.requests
    assert request.finished == 1
    assert request.acct.resp_hdrbytes == len(headers.payload)
    assert request.acct.resp_bodybytes == 5
    assert request.doclose is None


def test_without_body(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1, None, status=304)
    (headers,) = talk.frames()
    assert headers.flags == END_STREAM | END_HEADERS


def test_unknown_length_ends_with_an_empty_frame_even_without_window(talk: Conversation) -> None:
    talk.headers(1)
    source = Growing()
    talk.answer(1, source)
    source.add(bytes(65535), END)
    talk.h2.take_inbox()
    out = talk.frames()
    assert len(body_of(out, 1)) == 65535
    assert (out[-1].flags, out[-1].payload) == (END_STREAM, b"")
    assert source.closed == 1


def test_later_is_not_polled(talk: Conversation) -> None:
    talk.headers(1)
    source = Growing()
    entry = talk.answer(1, source)
    assert shape(talk.frames()) == [("HEADERS", 1, talk.host.requests[0].acct.resp_hdrbytes)]
    assert entry.where is Where.LATER
    assert not talk.h2.transmitter.pending
    source.add(b"some")
    talk.h2.take_inbox()
    assert body_of(talk.frames(), 1) == b"some"
    source.add(END)
    talk.h2.take_inbox()
    assert talk.frames()[-1].flags == END_STREAM


@pytest.mark.parametrize("piece", [SourceError("gone"), END, b"too much for the announced length"])
def test_a_source_that_fails_resets_the_stream(talk: Conversation, piece: Any) -> None:
    talk.headers(1)
    source = Growing(length=10)
    talk.answer(1, source)
    source.add(b"half", piece)
    talk.h2.take_inbox()
    out = talk.frames()
    assert (out[-1].kind, out[-1].code) == (F.RST_STREAM, 2)
    assert not any(f.flags & END_STREAM for f in out)
    assert source.closed == 1
    assert talk.host.requests[0].finished == 1
    assert talk.host.requests[0].doclose == "TX_ERROR"


def test_windows_cut_and_hold(talk: Conversation) -> None:
    talk.settings((4, 10))
    talk.headers(1)
    talk.answer(1, b"0123456789abcdef")
    assert body_of(talk.frames(), 1) == b"0123456789"
    assert talk.h2.transmitter.stuck == 1
    talk.window(1, 1)
    assert body_of(talk.frames(), 1) == b"a"
    talk.settings((4, 12))
    assert body_of(talk.frames(), 1) == b"bc"
    talk.settings((4, 0))
    assert talk.h2.streams[1].tx_window == -12
    talk.window(1, 12)
    assert body_of(talk.frames(), 1) == b""
    talk.window(1, 100)
    assert body_of(talk.frames(), 1) == b"def"
    assert talk.h2.transmitter.stuck == 0


def test_one_octet_window_and_initial_settings() -> None:
    talk = Conversation(settings=[(4, 1)])
    talk.headers(1)
    talk.answer(1, b"hello")
    assert body_of(talk.frames(), 1) == b"h"


def test_connection_window_holds_all_but_headers_and_empty_ends(talk: Conversation) -> None:
    talk.settings((4, 1 << 20))
    talk.headers(1).headers(3).headers(5)
    talk.answer(1, bytes(65536))
    talk.frames()
    talk.answer(3, b"x")
    talk.answer(5, None)
    assert [f.name for f in talk.frames()] == ["HEADERS", "HEADERS"]
    assert not talk.h2.transmitter.pending
    talk.window(0, 100)
    out = talk.frames()
    assert (len(body_of(out, 1)), body_of(out, 3)) == (1, b"x")


def test_frames_fit_the_client(talk: Conversation) -> None:
    talk.settings((4, 1 << 20), (5, 20000))
    talk.window(0, 1 << 20)
    talk.headers(1)
    talk.answer(1, bytes(50000))
    assert [len(f.payload) for f in talk.frames() if f.kind == F.DATA] == [20000, 20000, 10000]


def test_big_header_blocks_are_continued_without_a_break(talk: Conversation) -> None:
    talk.headers(1).headers(3)
    talk.answer(3, bytes(40000))
    talk.answer(1, b"x", fields=[(f"x{i}", f"x{i}", "v" * 1000) for i in range(40)])
    out = talk.frames()
    names = [(f.name, f.stream) for f in out]
    at = names.index(("HEADERS", 1))
    assert names[at : at + 3] == [("HEADERS", 1), ("CONTINUATION", 1), ("CONTINUATION", 1)]
    assert [f.flags & END_HEADERS for f in out[at : at + 3]] == [0, 0, END_HEADERS]
    assert len(talk.fields(b"".join(f.payload for f in out[at : at + 3]))) == 41


def test_round_robin(talk: Conversation) -> None:
    talk.settings((4, 1 << 20))
    talk.window(0, 1 << 20)
    talk.headers(1).headers(3).headers(5)
    for number in (1, 3, 5):
        talk.answer(number, bytes(3 * 16384))
    order = [f.stream for f in talk.frames() if f.kind == F.DATA]
    assert order == [1, 3, 5, 1, 3, 5, 1, 3, 5]


def test_urgency_goes_first_and_explicit_ones_one_after_the_other(talk: Conversation) -> None:
    talk.settings((4, 1 << 20))
    talk.window(0, 1 << 20)
    for number, priority in ((1, None), (3, "u=5"), (5, "u=1"), (7, "u=1"), (9, "u=0, i"), (11, "u=0, i")):
        talk.headers(number, extra=[("priority", priority)] if priority else [])
    for number in (1, 3, 5, 7, 9, 11):
        talk.answer(number, bytes(2 * 16384))
    order = [f.stream for f in talk.frames() if f.kind == F.DATA]
    assert order == [9, 11, 9, 11, 5, 5, 7, 7, 1, 1, 3, 3]


def test_priority_update(talk: Conversation) -> None:
    talk.settings((4, 1 << 20))
    talk.window(0, 1 << 20)
    talk.frame(F.PRIORITY_UPDATE, 0, 0, b"\0\0\0\5u=0")  # before the stream is opened
    talk.headers(1).headers(3).headers(5)
    for number in (1, 3, 5):
        talk.answer(number, bytes(16384))
    talk.frame(F.PRIORITY_UPDATE, 0, 0, b"\0\0\0\3u=1")
    assert [f.stream for f in talk.frames() if f.kind == F.DATA] == [5, 3, 1]
    assert not talk.h2.early


def test_early_priorities_are_bounded(talk: Conversation) -> None:
    for number in range(1, 1001, 2):
        talk.frame(F.PRIORITY_UPDATE, 0, 0, number.to_bytes(4, "big") + b"u=0")
    assert len(talk.h2.early) == 100


def test_a_stuck_stream_delays_nobody(talk: Conversation) -> None:
    for number in range(1, 200, 2):
        talk.headers(number)
    talk.settings((4, 0))
    talk.answer(1, b"stuck")
    for number in range(3, 200, 2):
        talk.window(number, 100)
        talk.answer(number, b"fine")
    ended = {f.stream for f in talk.frames() if f.flags & END_STREAM and f.kind == F.DATA}
    assert ended == set(range(3, 200, 2))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_partial_writes_resume_at_the_octet(talk: Conversation, step: Any) -> None:
    talk.headers(1).headers(3)
    first = talk.answer(1, bytes(range(256)) * 8, fields=[("a", "a", "b")])
    talk.answer(3, b"second")
    before = len(talk.host.sent)
    talk.h2.control(frames.frame(F.PING, 1, 0, bytes(8)))
    talk.host.take(limit=step)
    assert first.where is Where.ENDING
    talk.h2.control(frames.frame(F.PING, 1, 0, b"behind!!"))
    while talk.host.take(limit=step):
        pass
    parser = frames.FrameParser(1 << 24)
    parser.feed(bytes(talk.host.sent[before:]))
    names = []
    while parser.next() is not None:
        names.append(frames.frame_name(parser.type))
    assert names == ["PING", "HEADERS", "DATA", "HEADERS", "DATA", "PING"]
    assert parser.waiting == 0
    assert [request.finished for request in talk.host.requests] == [1, 1]


def test_a_response_is_over_only_when_its_last_octet_has_left(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1, b"x" * 100)
    talk.host.take(limit=50)
    assert talk.host.requests[0].finished == 0
    assert talk.h2.open_streams == 1
    talk.host.take()
    assert talk.host.requests[0].finished == 1
    assert talk.h2.open_streams == 0


def test_batches_are_bounded(talk: Conversation) -> None:
    talk.settings((4, 1 << 24))
    talk.window(0, 1 << 24)
    talk.headers(1)
    talk.answer(1, BytesSource([bytes(1 << 22)]))
    batch = talk.h2.transmitter.data_to_send()
    assert BATCH_BYTES <= sum(len(p) for p in batch) < BATCH_BYTES + 2 * 16384
    assert len(batch) <= BATCH_PIECES + 10


def test_many_small_responses_are_one_batch(talk: Conversation) -> None:
    for number in range(1, 201, 2):
        talk.headers(number)
        talk.answer(number, b"small")
    batch = talk.h2.transmitter.data_to_send()
    assert sum(len(p) for p in batch) == talk.h2.transmitter.batch_size
    out = talk.frames()
    assert len(out) >= 200


def test_body_pieces_are_not_copied(talk: Conversation) -> None:
    body = bytes(10000)
    talk.headers(1)
    talk.answer(1, BytesSource([body]))
    assert any(piece is body for piece in talk.h2.transmitter.data_to_send())


def test_control_frames_go_first(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1, b"x")
    talk.frame(F.PING, 0, 0, bytes(8))
    assert [f.name for f in talk.frames()] == ["PING", "HEADERS", "DATA"]


def test_a_full_control_buffer_is_flushed(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1, b"x")
    for _ in range(CONTROL_SIZE // 17 + 1):
        talk.frame(F.PING, 0, 0, bytes(8))
    assert talk.host.flushes == 1
    assert [f.name for f in talk.frames()].count("PING") == CONTROL_SIZE // 17 + 1


def test_a_client_that_does_not_read_answers_loses_the_connection(talk: Conversation) -> None:
    talk.host.blocked = True
    for _ in range(200):
        talk.frame(F.PING, 0, 0, bytes(8))
    assert talk.error() == "IO_ERROR"


def test_a_killed_stream_gives_its_response_back(talk: Conversation) -> None:
    talk.settings((4, 0))
    talk.headers(1)
    source = Growing(length=5)
    talk.answer(1, source)
    talk.frames()
    talk.reset(1)
    assert source.closed == 1
    assert talk.host.requests[0].finished == 1
    assert talk.host.requests[0].doclose == "TX_ERROR"
    assert not talk.h2.streams
    assert not talk.frames()


def test_a_response_for_a_dead_stream_is_given_back(talk: Conversation) -> None:
    talk.headers(1)
    talk.reset(1)
    source = Growing()
    talk.answer(1, source)
    assert source.closed == 1
    assert talk.host.requests[0].finished == 1
    assert not talk.h2.streams


def test_a_client_still_sending_is_told_to_stop(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.answer(1, b"enough")
    out = talk.frames()
    assert [f.name for f in out] == ["HEADERS", "DATA"]
    talk.data(1, b"more")
    assert [(f.name, f.code) for f in talk.frames() if f.stream] == [("RST_STREAM", 0)]
    talk.data(1, b"more")
    assert talk.error() is None
    assert not [f for f in talk.frames() if f.stream]
    assert not talk.h2.streams


def test_a_client_that_does_not_end_its_request_is_told_to_stop(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.headers(3, end=False)
    talk.answer(1, b"enough")
    talk.answer(3, b"enough")
    assert [f.name for f in talk.frames()] == ["HEADERS", "DATA"] * 2
    talk.data(3, b"the end", end=True)
    assert list(talk.h2.streams) == [1]
    talk.at(talk.h2.now + STOP_PATIENCE)
    assert talk.resets() == [(1, 0)]
    assert not talk.h2.streams


def test_interim_response_comes_before_the_final_one(talk: Conversation) -> None:
    from varnishpy.h2.hpack import encode_response

    talk.headers(1, extra=[("priority", "u=0")], end=False)
    stream = talk.h2.streams[1]
    talk.h2.send_own(Outgoing(stream, encode_response(100, []), None, None, interim=True))
    talk.data(1, b"x", end=True)
    talk.answer(1, b"y")
    out = talk.frames()
    assert [talk.fields(f.payload)[0][1] for f in out if f.kind == F.HEADERS] == ["100", "200"]
    assert not out[0].flags & END_STREAM


def test_a_shrunken_table_is_announced_once(talk: Conversation) -> None:
    talk.settings((1, 0))
    talk.headers(1).headers(3)
    talk.answer(1, None)
    talk.answer(3, None)
    first, second = [f for f in talk.frames() if f.kind == F.HEADERS]
    assert first.payload[0] == 0x20
    assert second.payload[0] != 0x20
    talk.decoder.max_allowed_table_size = 0
    talk.decoder.decode(first.payload)


def test_hop_by_hop_fields_are_left_out(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(
        1,
        None,
        fields=[
            ("connection", "Connection", "close, X-Mine"),
            ("x-mine", "X-Mine", "1"),
            ("keep-alive", "Keep-Alive", "x"),
            ("transfer-encoding", "Transfer-Encoding", "chunked"),
            ("x-yours", "X-Yours", "2"),
        ],
    )
    (headers,) = [f for f in talk.frames() if f.kind == F.HEADERS]
    assert talk.fields(headers.payload) == [(":status", "200"), ("x-yours", "2")]


def test_teardown_sends_what_is_half_out_and_then_goaway(talk: Conversation) -> None:
    talk.headers(1).headers(3)
    talk.answer(1, b"x" * 100)
    talk.host.take(limit=20)
    talk.answer(3, b"never sent")
    talk.frame(F.DATA, 0, 0)
    out = talk.close()
    assert [(f.name, f.stream) for f in out if f.name != "SETTINGS"] == [("HEADERS", 1), ("DATA", 1), ("GOAWAY", 0)]
    assert not talk.h2.streams
    assert [request.finished for request in talk.host.requests] == [1, 1]


def test_bankrupt_says_no_goaway() -> None:
    table.set("h2_window_timeout", "1")
    try:
        talk = Conversation(settings=[(4, 0)])
        talk.headers(1)
        talk.answer(1, b"x")
        talk.frames()
        talk.at(1001.5)
        assert talk.error() == "BANKRUPT"
        assert not talk.close()
    finally:
        table.reset("h2_window_timeout")


def test_a_response_has_a_say_in_its_priority(talk: Conversation) -> None:
    from varnishpy.h2.hpack import encode_response

    talk.headers(1, extra=[("priority", "u=5, i")])
    talk.headers(3)
    fields = [("priority", "Priority", "u=1")]
    block = encode_response(200, fields)
    for number, said in ((3, None), (1, "u=1")):
        stream = talk.h2.streams[number]
        entry = Outgoing(stream, block, BytesSource([b"x" * 20]), stream.request)
        entry.priority = said
        talk.h2.send_headers(entry, talk)
    talk.h2.take_inbox()
    assert talk.h2.streams[1].urgency == (1, True)  # what the response does not say stays the client's
    assert [f.stream for f in talk.frames() if f.stream] == [1, 1, 3, 3]


def test_frames_are_filled_however_the_body_arrived(talk: Conversation) -> None:
    talk.headers(1)
    source = Growing(length=20_000)
    talk.answer(1, source)
    source.add(*[bytes([number]) * 1000 for number in range(20)], END)
    talk.h2.take_inbox()
    out = talk.frames()
    assert shape(out)[1:] == [("DATA", 1, 16384), ("DATA", 1, 3616)]
    assert body_of(out, 1) == b"".join(bytes([number]) * 1000 for number in range(20))
    assert out[-1].flags == END_STREAM


def test_what_came_before_a_failure_is_sent(talk: Conversation) -> None:
    talk.headers(1)
    source = Growing(length=20)
    talk.answer(1, source)
    source.add(b"one", b"two", SourceError("gone"))
    talk.h2.take_inbox()
    out = talk.frames()
    assert body_of(out, 1) == b"onetwo"
    assert out[-1].kind == F.RST_STREAM
