"""Time and abuse: what a client may do, how long, and how often."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.h2.conversation import Conversation
from varnishpy.h2 import frames
from varnishpy.h2.budgets import PURSE, PURSE_REFILL
from varnishpy.h2.holding import ENDED
from varnishpy.h2.hpack import encode_response
from varnishpy.h2.outgoing import Outgoing
from varnishpy.h2.tables import ACK, CE, END_HEADERS, END_STREAM, MAX_STREAM, SE, F
from varnishpy.params import table
from varnishpy.storage.source import BytesSource

T0 = 1000.0
GET = b"\x82\x86\x84\x01\x01a"


# -- time ---


def test_an_unfinished_header_block(talk: Conversation) -> None:
    talk.frame(F.HEADERS, 0, 1, b"")
    assert talk.h2.next_due == T0 + 5
    talk.at(T0 + 4.9)
    assert talk.error() is None
    talk.at(T0 + 5)
    assert talk.error() == "COMPRESSION_ERROR"


def test_a_dry_stream_among_others_is_cancelled() -> None:
    talk = Conversation(settings=[(4, 0)])
    talk.headers(1).headers(3)
    talk.answer(1, b"x")
    talk.frames()
    assert talk.h2.next_due == T0 + 5
    talk.at(T0 + 5)
    assert talk.resets() == [(1, 8)]
    assert talk.error() is None


def test_all_streams_dry_is_bankruptcy() -> None:
    talk = Conversation(settings=[(4, 0)])
    talk.headers(1).headers(3)
    talk.answer(1, b"x")
    talk.answer(3, b"x")
    talk.frames()
    talk.at(T0 + 5)
    assert talk.error() == "BANKRUPT"


def test_a_dry_connection_is_bankrupt(talk: Conversation) -> None:
    talk.settings((4, 1 << 20))
    talk.headers(1).headers(3)
    talk.answer(1, bytes(65536))
    talk.frames()
    talk.at(T0 + 5)
    assert talk.error() == "BANKRUPT"


def test_a_dry_connection_that_nobody_waits_for_is_not_bankrupt(talk: Conversation) -> None:
    talk.settings((4, 1 << 20))
    talk.headers(1).headers(3)
    talk.answer(1, bytes(65536))
    talk.frames()
    talk.reset(1)
    talk.at(T0 + 5)
    assert talk.error() is None
    assert list(talk.h2.streams) == [3]


def test_credit_stops_the_countdown() -> None:
    talk = Conversation(settings=[(4, 0)])
    talk.headers(1).headers(3)
    talk.answer(1, b"xy")
    talk.frames()
    talk.at(T0 + 4)
    talk.window(1, 1)
    talk.frames()
    talk.at(T0 + 6)
    assert talk.error() is None
    assert not talk.resets()
    talk.at(T0 + 9)
    assert talk.resets() == [(1, 8)]


def test_send_timeout() -> None:
    table.set("send_timeout", "3")
    try:
        talk = Conversation(settings=[(4, 0)])
        talk.headers(1).headers(3)
        talk.answer(1, b"x")
        talk.frames()
        talk.at(T0 + 3)
        assert talk.resets() == [(1, 8)]
    finally:
        table.reset("send_timeout")


def test_an_unfinished_response_does_not_outlive_its_stream(talk: Conversation) -> None:
    talk.headers(1)
    talk.answer(1, b"x")
    talk.frames()
    talk.at(T0 + 601)
    assert talk.error() is None
    assert talk.h2.next_due == float("inf")


# -- rapid reset ---


def reset_storm(talk: Conversation, count: int, first: int = 1) -> None:
    for i in range(count):
        talk.headers(first + 2 * i)
        talk.reset(first + 2 * i)


def test_resets_by_the_client(talk: Conversation) -> None:
    reset_storm(talk, 100)
    assert talk.error() is None
    reset_storm(talk, 1, 201)
    assert talk.error() == "RAPID_RESET"
    assert talk.h2.error is not None and talk.h2.error.reason == "RAPID_RESET"
    (goaway,) = [f for f in talk.close() if f.kind == F.GOAWAY]
    assert goaway.code == 11
    assert talk.h2.open_streams == 0


def test_resets_we_are_made_to_send(talk: Conversation) -> None:
    for i in range(101):
        talk.headers(2 * i + 1)
        talk.window(2 * i + 1, 0)
    assert talk.error() == "RAPID_RESET"


def test_refused_streams_are_charged(talk: Conversation) -> None:
    for i in range(202):
        talk.headers(2 * i + 1)
    assert talk.error() == "RAPID_RESET"


def test_dead_streams_that_are_still_held_are_bounded(talk: Conversation) -> None:
    talk.h2.resets.limit = 0
    for i in range(300):
        talk.headers(2 * i + 1)
        talk.reset(2 * i + 1)
    assert len(talk.h2.streams) == 201
    assert {code for _, code in talk.resets()} == {7}


def test_data_on_dead_streams_is_charged(talk: Conversation) -> None:
    talk.headers(1, end=False).reset(1)
    for _ in range(101):
        talk.data(1, b"x")
    assert talk.error() == "RAPID_RESET"


def test_the_budget_is_refilled(talk: Conversation) -> None:
    reset_storm(talk, 100)
    talk.at(T0 + 30)
    reset_storm(talk, 50, 1001)
    assert talk.error() is None
    reset_storm(talk, 1, 2001)
    assert talk.error() == "RAPID_RESET"


def test_old_streams_are_free(talk: Conversation) -> None:
    for i in range(99):
        talk.headers(2 * i + 1)
    talk.at(T0 + 2)
    for i in range(99):
        talk.reset(2 * i + 1)
    assert talk.h2.resets.left == 100


def test_no_limit() -> None:
    table.set("h2_rapid_reset_limit", "0")
    try:
        talk = Conversation()
        reset_storm(talk, 500)
        assert talk.error() is None
    finally:
        table.reset("h2_rapid_reset_limit")


# -- frames that get no work done ---


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(F.PING, 0, 0, bytes(8)),
        frames.frame(F.SETTINGS, 0, 0),
        frames.frame(F.PRIORITY, 0, 1, b"\0\0\0\0\x10"),
        frames.frame(F.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x09u=1"),
        frames.frame(F.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        frames.frame(F.DATA, 0, 1, b""),
        frames.frame(0x77, 0, 0, b""),
        frames.frame(F.RST_STREAM, 0, 3, bytes(4)),
        frames.frame(F.PING, ACK, 0, bytes(8)),
        frames.frame(F.SETTINGS, ACK, 0),
        frames.frame(F.GOAWAY, 0, 0, bytes(8)),
        frames.frame(F.HEADERS, END_HEADERS | END_STREAM, 5, GET),
        frames.frame(F.HEADERS, END_STREAM, 5, GET) + frames.frame(F.CONTINUATION, END_HEADERS, 5, bytes(0)),
        frames.frame(F.DATA, 0, 5, b"x"),
    ],
)
def test_floods(talk: Conversation, frame: bytes) -> None:
    talk.headers(1, end=False).headers(3).reset(3).headers(5).window(5, 0)  # 5 is reset by us
    talk.send(frame * 100)
    assert talk.error() is None
    for _ in range(PURSE // 100 + 1):
        talk.send(frame * 100)
    assert talk.error() == "ENHANCE_YOUR_CALM"
    assert talk.h2.stats.h2_floods == 1


def test_empty_continuations(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_STREAM, 1, GET)
    talk.send(frames.frame(F.CONTINUATION, 0, 1) * (PURSE + 1))
    assert talk.error() == "ENHANCE_YOUR_CALM"


def test_endless_continuations(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_STREAM, 1, GET)
    for _ in range(10):
        talk.frame(F.CONTINUATION, 0, 1, bytes(16384))
    assert talk.error() == "ENHANCE_YOUR_CALM"
    assert talk.h2.block.size < 1 << 17


def test_zero_length_headers(talk: Conversation) -> None:
    talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, GET + b"\x00\x00\x00" * 5000)
    assert talk.error() == "ENHANCE_YOUR_CALM"


def test_window_dribbling(talk: Conversation) -> None:
    talk.settings((4, 0))
    talk.headers(1)
    talk.answer(1, bytes(100_000))
    for _ in range(PURSE + 100):
        talk.window(1, 1)
        talk.host.take()
        if talk.h2.error is not None:
            break
    assert talk.error() == "ENHANCE_YOUR_CALM"


def test_honest_clients_earn_what_they_spend(talk: Conversation) -> None:
    for i in range(3 * PURSE // 4):
        talk.headers(2 * i + 1, end=True)
        talk.frame(F.PING, 0, 0, bytes(8))
        talk.window(0, 100)
        talk.answer(2 * i + 1, b"x")
        talk.host.take()
    assert talk.error() is None


def test_dropped_header_blocks_are_paid_for_by_size(talk: Conversation) -> None:
    talk.headers(1).window(1, 0)
    block = GET + b"\x00\x01x\x01y" * 300  # 1500 octets more
    for _ in range(PURSE // 90):
        talk.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, block)
    assert talk.error() == "ENHANCE_YOUR_CALM"


def test_after_goaway_new_streams_are_paid_for(talk: Conversation) -> None:
    talk.headers(1)
    talk.h2.end_shutdown()
    for number in range(3, 3 + 2 * (PURSE + 1), 2):
        talk.send(frames.frame(F.HEADERS, END_HEADERS | END_STREAM, number, GET))
    assert talk.error() == "ENHANCE_YOUR_CALM"
    assert len(talk.host.started) == 1


def test_a_download_earns_the_windows_it_needs(talk: Conversation) -> None:
    """Some clients say how far they are every four kilobytes, for the stream and for the connection."""
    megabyte = bytes(1 << 20)
    talk.headers(1)
    talk.answer(1, BytesSource([megabyte] * 40))
    updates = (frames.window_update_frame(1, 4096) + frames.window_update_frame(0, 4096)) * 4
    while talk.h2.streams:
        assert talk.host.take()
        talk.host.sent.clear()
        talk.send(updates)
        assert talk.error() is None


def test_time_fills_the_purse(talk: Conversation) -> None:
    talk.send(frames.frame(F.PING, 0, 0, bytes(8)) * (PURSE - 10))
    talk.at(T0 + 2)
    talk.send(frames.frame(F.PING, 0, 0, bytes(8)) * int(2 * PURSE_REFILL))
    assert talk.error() is None


def test_tiny_data_frames_cost_no_more_memory_than_large_ones(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.send(frames.frame(F.DATA, 0, 1, b"x") * 60_000)
    assert talk.error() is None
    assert talk.rx_buffer(1).size == 65535


# -- request bodies ---


def test_windows_are_refilled_as_the_reader_drains(talk: Conversation) -> None:
    talk.headers(1, end=False)
    for _ in range(3):
        talk.data(1, bytes(16384))
    connection = [f for f in talk.frames() if f.kind == F.WINDOW_UPDATE]
    assert {f.stream for f in connection} == {0}  # the connection's window is low from the start
    stream = talk.h2.streams[1]
    talk.rx_buffer(1).tail += 16384
    stream.rx_asked = True
    talk.h2.acknowledge_data(stream)
    talk.h2.take_inbox()
    (update,) = talk.frames()
    assert (update.stream, update.code) == (1, 16384)
    assert stream.rx_window == 65535 - 2 * 16384


def test_padding_does_not_dry_a_window_out(talk: Conversation) -> None:
    talk.headers(1, end=False)
    padding = frames.frame(F.DATA, 8, 1, b"\xff" + bytes(255))
    talk.send(padding * 255)
    talk.send(frames.frame(F.DATA, 8, 1, b"\xfe" + bytes(254)))
    assert [f.stream for f in talk.frames() if f.kind == F.WINDOW_UPDATE][-1] == 1
    assert talk.h2.streams[1].rx_window == 65535


def test_a_single_frame_needs_a_small_buffer(talk: Conversation) -> None:
    talk.headers(1, end=False)
    talk.data(1, b"just this", end=True)
    assert talk.rx_buffer(1).size == 9


def test_no_buffer_resets_the_stream(talk: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk.host, "receive_buffer", lambda size: None)
    talk.headers(1, end=False)
    talk.data(1, b"x")
    assert talk.resets() == [(1, 2)]


# -- draining ---


def test_graceful_shutdown(talk: Conversation) -> None:
    talk.headers(1)
    talk.h2.begin_shutdown()
    goaway, ping = talk.frames()
    assert (int.from_bytes(goaway.payload[:4], "big"), goaway.code) == (MAX_STREAM, 0)
    talk.headers(3)  # it was on its way
    assert len(talk.host.started) == 2
    talk.frame(F.PING, 1, 0, ping.payload)
    assert talk.h2.ping_sent == b""
    talk.h2.end_shutdown()
    (goaway,) = talk.frames()
    assert int.from_bytes(goaway.payload[:4], "big") == 3
    talk.headers(5, extra=[("x-new", "y")])  # too late: ignored, but decoded
    assert len(talk.host.started) == 2
    talk.answer(1)
    talk.answer(3)
    assert len(talk.frames()) == 4
    assert not talk.h2.streams
    (goaway,) = talk.close()
    assert int.from_bytes(goaway.payload[:4], "big") == 3  # it never grows, stream 5 was not looked at


# -- request threads ---


def test_an_asynchronous_error_kills_the_stream(talk: Conversation) -> None:
    talk.headers(1)
    talk.h2.reset_stream(talk.h2.streams[1], SE.INTERNAL_ERROR)
    talk.h2.take_inbox()
    assert talk.resets() == [(1, 2)]


def test_a_request_that_never_answers_resets_its_stream(talk: Conversation) -> None:
    talk.headers(1)
    talk.leave(talk.h2.streams[1])
    assert talk.resets() == [(1, 2)]
    assert not talk.h2.streams


def test_a_held_request_is_finished_by_its_last_holder(talk: Conversation) -> None:
    talk.headers(1)
    stream = talk.h2.streams[1]
    talk.answer(1, keep=True)
    talk.frames()
    assert stream.holding.stage is ENDED
    assert talk.host.requests[0].finished == 0
    assert talk.h2.streams == {1: stream}
    talk.leave(stream)
    assert not talk.h2.streams


def test_a_response_of_our_own_making_leaves_no_stream_behind(talk: Conversation) -> None:
    """Whether the request thread lets go before the bare status has left, or after."""
    for number, early in ((1, True), (3, False)):
        talk.headers(number)
        stream = talk.h2.streams[number]
        talk.h2.send_own(Outgoing(stream, encode_response(400, []), None, None))
        if early:
            talk.leave(stream)
        talk.h2.take_inbox()
        assert [f.stream for f in talk.frames()] == [number]
        if not early:
            talk.leave(stream)
        assert not talk.h2.streams
    assert [request.finished for request in talk.host.requests] == [1, 1]


def test_the_first_error_stays(talk: Conversation) -> None:
    from varnishpy.h2.ending import reset

    talk.headers(1)
    stream = talk.h2.streams[1]
    reset(stream, SE.NO_ERROR)
    reset(stream, SE.CANCEL)
    reset(stream, SE.INTERNAL_ERROR)
    assert stream.error is SE.CANCEL
    assert talk.resets() == [(1, 0)]


def test_posts_signal_only_a_sleeping_session(talk: Conversation) -> None:
    talk.headers(1)
    stream = talk.h2.streams[1]
    talk.h2.acknowledge_data(stream)
    assert talk.host.signals == 0
    assert not talk.h2.inbox.may_sleep(talk.host.signal)
    talk.h2.take_inbox()
    assert talk.h2.inbox.may_sleep(talk.host.signal)
    talk.h2.acknowledge_data(stream)
    talk.h2.acknowledge_data(stream)
    assert talk.host.signals == 1
    assert (talk.h2.inbox.wakeups, talk.h2.inbox.wakeups_spared) == (1, 2)


def test_killing_waiting_requests_walks_them_away(talk: Conversation) -> None:
    talk.headers(1)
    talk.reset(1)
    assert talk.host.walked == [1]


# -- the rules as assertions ---


def on_another_thread(function: Callable[[], object]) -> BaseException | None:
    import threading

    caught: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as exc:
            caught.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return caught[0] if caught else None


def test_state_changes_off_the_session_thread_panic(talk: Conversation) -> None:
    from varnishpy.base.panic import Panic
    from varnishpy.h2.ending import reset
    from varnishpy.h2.stream import advance
    from varnishpy.h2.tables import Event

    talk.headers(1)
    stream = talk.h2.streams[1]
    for change in (
        lambda: advance(stream, Event.SENT_END),
        lambda: reset(stream, SE.CANCEL),
        lambda: talk.h2.control(b""),
        lambda: talk.h2.sweep(),
        lambda: talk.h2.close_connection(),
    ):
        assert isinstance(on_another_thread(change), Panic)


def test_waiting_on_the_session_thread_panics(talk: Conversation) -> None:
    from varnishpy.base.panic import Panic
    from varnishpy.http2.reqbody import StreamBody

    talk.headers(1, end=False)
    with pytest.raises(Panic):
        StreamBody(talk.h2.streams[1], lambda: 1.0).read(10)


def test_moves_that_the_table_does_not_have_panic(talk: Conversation) -> None:
    from varnishpy.base.panic import Panic
    from varnishpy.h2.stream import advance
    from varnishpy.h2.tables import Event

    talk.headers(1)
    with pytest.raises(Panic):
        advance(talk.h2.streams[1], Event.RECEIVED_END)


def test_errors_latch_once(talk: Conversation) -> None:
    talk.h2.fail(CE.PROTOCOL_ERROR)
    talk.h2.fail(CE.INTERNAL_ERROR)
    assert talk.error() == "PROTOCOL_ERROR"
