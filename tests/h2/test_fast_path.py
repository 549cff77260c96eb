"""A response that goes out whole leaves behind what one that goes out in steps does, to the last count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.h2.conversation import Conversation
from varnishpy.h2.hpack import encode_response
from varnishpy.h2.outgoing import Outgoing
from varnishpy.log.memory import captured
from varnishpy.params import table
from varnishpy.storage.source import BytesSource, Piece, Source

PROFILE = settings(max_examples=200, deadline=None)


class InSteps(Source):
    """A body that says it cannot be had whole."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.inner = BytesSource(chunks)
        super().__init__(self.inner.length, True)

    def pull(self, limit: int) -> Any:
        return self.inner.pull(limit)

    def close(self) -> None:
        self.inner.close()


def attributes(thing: object) -> dict[str, object]:
    """All attributes of an object, be its class compiled or not."""
    names: tuple[str, ...] = getattr(thing, "__mypyc_attrs__", ()) or getattr(thing, "__slots__", ())
    return {name: getattr(thing, name) for name in names}


Responses = list[tuple[int, list[bytes]]]  # octets of a header field, and the body's chunks

responses = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 100, 16000, 16400, 40_000]),
        st.lists(st.sampled_from([b"x", bytes(63), bytes(64), bytes(1023), bytes(16384), bytes(16385)]), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def left_behind(
    source: Callable[[list[bytes]], Source],
    answers: Responses,
    window: int,
    room: int,
    takes: list[int],
    shrunk: bool,
    spent: int,
) -> dict[str, object]:
    """Send these responses, and tell all that the engine knows afterwards."""
    with captured() as memory:
        talk = Conversation(settings=[(4, window), *([(1, 0)] if shrunk else [])])
        h2 = talk.h2
        h2.windows.tx = room
        h2.purse.left -= spent
        for at, (size, body) in enumerate(answers):
            talk.headers(1 + 2 * at, end=at % 2 == 0)
            stream = h2.streams[1 + 2 * at]
            block = encode_response(200, [("x", "X", "y" * size)])
            h2.send_headers(Outgoing(stream, block, source(body) if body else None, stream.request), talk)
        h2.take_inbox()
        for take in takes:
            talk.host.take(limit=take)
        talk.frames()
        h2.log.flush()
        tx = h2.transmitter
        return {
            "octets": bytes(talk.host.sent),
            "counters": attributes(h2.stats),
            "overhead": attributes(h2.overhead),
            "windows": attributes(h2.windows),
            "purse": h2.purse.left,
            "waiting": (tx.stuck, tx.queued, tx.batch_size, tx.pending, tx.shrink_table, h2.next_due),
            "streams": [
                (s.number, s.state, s.tx_window, s.t_window_dry, s.t_stop, s.holding.stage, s.response is None)
                for s in h2.streams.values()
            ],
            "messages": [
                (s.response.where, s.response.left, s.response.block is None)
                for s in h2.streams.values()
                if s.response is not None
            ],
            "requests": [(attributes(r.acct), r.doclose, r.finished, r.log.records) for r in talk.host.requests],
            "log": memory.lines(),
        }


arguments = (
    responses,
    st.sampled_from([0, 1, 1024, 65535, 1 << 20]),
    st.sampled_from([0, 1, 2000, 65535, 1 << 20]),
    st.lists(st.sampled_from([1, 9, 100, 20_000]), max_size=3),
    st.booleans(),
    st.sampled_from([0, 1, 9_000]),
)


@PROFILE
@given(*arguments)
def test_whole_and_in_steps_are_the_same(
    answers: Responses, window: int, room: int, takes: list[int], shrunk: bool, spent: int
) -> None:
    given_ = (answers, window, room, takes, shrunk, spent)
    assert left_behind(BytesSource, *given_) == left_behind(InSteps, *given_)


@PROFILE
@given(*arguments)
def test_the_same_with_every_frame_logged(
    answers: Responses, window: int, room: int, takes: list[int], shrunk: bool, spent: int
) -> None:
    given_ = (answers, window, room, takes, shrunk, spent)
    table.set("vsl_mask", "+H2TxHdr,+H2TxBody")
    try:
        assert left_behind(BytesSource, *given_) == left_behind(InSteps, *given_)
    finally:
        table.reset("vsl_mask")


def test_the_fast_path_is_taken() -> None:
    """Else the tests above would compare the slow path with itself."""

    whole: list[Piece | None] = []

    class Counting(InSteps):
        def pull_whole(self) -> Piece | None:
            whole.append(self.inner.pull_whole())
            return whole[-1]

    left_behind(Counting, [(10, [b"x"])], 65535, 65535, [], False, 0)
    assert whole == [b"x"]
