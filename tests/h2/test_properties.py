"""Arbitrary frames in arbitrary pieces: what must hold whatever a client does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, StreamEnded, StreamReset
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from tests.h2.conversation import REQUEST, Conversation
from tests.h2.life import (
    ACTIONS,
    BLOCKS,
    FLAGS,
    NUMBERS,
    PRIORITIES,
    SAYINGS,
    SETTINGS,
    SIZES,
    WORDS,
    Life,
    check_output,
)
from varnishpy.h2 import frames
from varnishpy.h2.tables import F

PROFILE = settings(max_examples=150, deadline=None)
ONE_IS_ENOUGH = settings(max_examples=3000, deadline=None, database=None, phases=[Phase.generate])

numbers = st.sampled_from(NUMBERS)
flags = st.sampled_from(FLAGS)
blocks = st.one_of(st.sampled_from(BLOCKS), st.binary(max_size=30))
words = st.one_of(st.sampled_from(WORDS), st.integers(0, 2**32 - 1)).map(lambda n: n.to_bytes(4, "big"))

any_frame = st.one_of(
    st.builds(frames.frame, st.integers(0, 255), flags, numbers, st.binary(max_size=20)),
    st.builds(frames.frame, st.just(int(F.HEADERS)), st.sampled_from([4, 5]), numbers, blocks),
    st.builds(frames.frame, st.just(int(F.HEADERS)), flags, numbers, blocks),
    st.builds(frames.frame, st.just(int(F.CONTINUATION)), flags, numbers, blocks),
    st.builds(frames.frame, st.just(int(F.DATA)), st.sampled_from([0, 1, 8, 9]), numbers, st.binary(max_size=300)),
    st.builds(frames.frame, st.just(int(F.WINDOW_UPDATE)), st.just(0), numbers, words),
    st.builds(frames.frame, st.just(int(F.RST_STREAM)), st.just(0), numbers, words),
    st.builds(
        frames.frame,
        st.just(int(F.SETTINGS)),
        st.just(0),
        st.just(0),
        st.builds(lambda key, value: key.to_bytes(2, "big") + value, st.sampled_from(SETTINGS), words),
    ),
    st.builds(
        frames.frame,
        st.just(int(F.PRIORITY_UPDATE)),
        st.just(0),
        st.just(0),
        st.builds(lambda n, text: n.to_bytes(4, "big") + text, numbers, st.sampled_from(PRIORITIES)),
    ),
)


# frames are octets, what the client says is a tuple, what else happens a word
sayings = st.tuples(st.sampled_from(SAYINGS), st.integers(0, 5), st.sampled_from(SIZES))
actions = st.sampled_from(ACTIONS)
step = st.integers(0, 29).flatmap(lambda n: any_frame if n == 0 else actions if n % 2 else sayings)
steps = st.lists(step, min_size=20, max_size=120)


def live(plan: Any) -> Iterator[Life]:
    """Take the steps, looking at the connection after each, until it dies of one."""
    life = Life()
    for step in plan:
        if isinstance(step, bytes):
            life.talk.send(step)
        elif isinstance(step, tuple):
            life.say(*step)
        else:
            life.act(step)
        life.check()
        yield life
        if life.h2.error is not None:
            break
    life.end()
    check_output(bytes(life.talk.host.sent))


@PROFILE
@given(steps)
def test_invariants(plan: Any) -> None:
    for _ in live(plan):
        pass


@pytest.mark.parametrize(
    "place",
    [
        lambda h2: h2.transmitter.stuck > 1,
        lambda h2: h2.windows.t_dry and h2.error is None,
        lambda h2: any(s.error is not None and s.holding.busy for s in h2.streams.values()),
        lambda h2: any(s.t_stop for s in h2.streams.values()),
        lambda h2: any(s.rx_buffer is not None and s.rx_buffer.tail for s in h2.streams.values()),
        lambda h2: any(s.tx_window < 0 for s in h2.streams.values()),
    ],
    ids=["stuck", "connection dry", "dead but held", "told to stop", "body read", "window below zero"],
)
def test_plans_get_somewhere(place: Any) -> None:
    """An invariant is worth what its connections live through."""
    find(steps, lambda plan: any(place(life.h2) for life in live(plan)), settings=ONE_IS_ENOUGH)


@PROFILE
@given(st.lists(any_frame, max_size=20), st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_pieces_do_not_matter(plan: Any, cuts: Any) -> None:
    whole = b"".join(plan)
    one = Conversation()
    one.send(whole)
    other = Conversation()
    at = 0
    i = 0
    while at < len(whole):
        size = cuts[i % len(cuts)]
        i += 1
        other.send(whole[at : at + size])
        at += size
    assert one.error() == other.error()
    assert [(f.kind, f.flags, f.stream, f.payload) for f in one.frames()] == [
        (f.kind, f.flags, f.stream, f.payload) for f in other.frames()
    ]
    assert [s.number for s in one.host.started] == [s.number for s in other.host.started]


@PROFILE
@given(st.binary(max_size=400))
def test_garbage(data: Any) -> None:
    talk = Conversation()
    talk.send(data)
    talk.close()
    assert not talk.h2.streams or talk.host.started


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 30000), min_size=1, max_size=5),
    st.sampled_from([20_000, 65_535, 1_000_000]),
    st.lists(st.integers(2000, 50000), min_size=1, max_size=10),
)
def test_an_independent_client_understands_us(sizes: Any, window: int, takes: Any) -> None:
    """The ``h2`` package on the other end; the socket takes what it likes."""
    talk = Conversation(settings=None)
    client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    client.update_settings({4: window})
    got: dict[int, int] = {}
    ended: set[int] = set()
    for _ in sizes:
        number = client.get_next_available_stream_id()
        client.send_headers(number, REQUEST, end_stream=True)
        got[number] = 0
    talk.send(client.data_to_send()[24:])
    for number, size in zip(list(got), sizes, strict=True):
        talk.answer(number, bytes(size), fields=[("content-length", "Content-Length", str(size))])
    seen = 0
    for turn in range(300):
        talk.host.take(limit=takes[turn % len(takes)])
        for event in client.receive_data(bytes(talk.host.sent[seen:])):
            assert not isinstance(event, (StreamReset, ConnectionTerminated))
            if isinstance(event, DataReceived):
                got[event.stream_id] += len(event.data)
                client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                ended.add(event.stream_id)
        seen = len(talk.host.sent)
        talk.send(client.data_to_send())
        if len(ended) == len(sizes):
            break
    assert list(got.values()) == sizes
    assert not talk.h2.streams
