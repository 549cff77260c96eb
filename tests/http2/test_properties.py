"""Arbitrary frames in arbitrary pieces: what must hold whatever a client does."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2_harness import REQUEST, Conversation
from h2_life import ACTIONS, Life, check_output
from hypothesis import given, settings
from hypothesis import strategies as st

from varnishpy.http2 import frames
from varnishpy.http2.tables import F

PROFILE = settings(max_examples=150, deadline=None)

numbers = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 9, 201])
flags = st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF])
GET = b"\x82\x86\x84\x01\x01a"
blocks = st.one_of(
    st.just(GET),
    st.just(b"\x83\x86\x84\x41\x07example"),
    st.just(b"\xbe\x82\x86\x84"),
    st.just(b"\x40\x01x\x01y"),
    st.binary(max_size=30),
)
words = st.integers(0, 2**32 - 1).map(lambda n: n.to_bytes(4, "big"))
small_words = st.sampled_from([0, 1, 2, 100, 65535, 2**31 - 1]).map(lambda n: n.to_bytes(4, "big"))

any_frame = st.one_of(
    st.builds(frames.frame, st.integers(0, 255), flags, numbers, st.binary(max_size=20)),
    st.builds(frames.frame, st.just(int(F.HEADERS)), st.sampled_from([4, 5]), numbers, blocks),
    st.builds(frames.frame, st.just(int(F.HEADERS)), flags, numbers, blocks),
    st.builds(frames.frame, st.just(int(F.CONTINUATION)), flags, numbers, blocks),
    st.builds(frames.frame, st.just(int(F.DATA)), st.sampled_from([0, 1, 8, 9]), numbers, st.binary(max_size=300)),
    st.builds(frames.frame, st.just(int(F.WINDOW_UPDATE)), st.just(0), numbers, st.one_of(words, small_words)),
    st.builds(frames.frame, st.just(int(F.RST_STREAM)), st.just(0), numbers, words),
    st.builds(
        frames.frame,
        st.just(int(F.SETTINGS)),
        st.just(0),
        st.just(0),
        st.builds(lambda key, value: key.to_bytes(2, "big") + value, st.integers(0, 10), st.one_of(words, small_words)),
    ),
    st.builds(
        frames.frame,
        st.just(int(F.PRIORITY_UPDATE)),
        st.just(0),
        st.just(0),
        st.builds(
            lambda n, text: n.to_bytes(4, "big") + text, numbers, st.sampled_from([b"u=1", b"u=7, i", b"i", b"?"])
        ),
    ),
)

steps = st.lists(st.one_of(any_frame, st.sampled_from(ACTIONS)), max_size=60)


@PROFILE
@given(steps)
def test_invariants(plan):
    life = Life()
    for step in plan:
        if isinstance(step, bytes):
            life.talk.send(step)
        else:
            life.act(step)
        life.check()
        if life.h2.error is not None:
            break
    life.end()
    check_output(bytes(life.talk.host.sent))


@PROFILE
@given(st.lists(any_frame, max_size=20), st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_pieces_do_not_matter(plan, cuts):
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
def test_garbage(data):
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
def test_an_independent_client_understands_us(sizes, window, takes):
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
            name = type(event).__name__
            if name == "DataReceived":
                got[event.stream_id] += len(event.data)
                client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif name == "StreamEnded":
                ended.add(event.stream_id)
            assert name not in ("StreamReset", "ConnectionTerminated")
        seen = len(talk.host.sent)
        talk.send(client.data_to_send())
        if len(ended) == len(sizes):
            break
    assert list(got.values()) == sizes
    assert not talk.h2.streams
