"""What is remembered of a header block is what reading it, or writing it, once more would give."""

from __future__ import annotations

from typing import Any

from hpack import Encoder, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.h2.conversation import Conversation
from tests.h2.test_fast_path import attributes
from varnishpy.h2 import frames
from varnishpy.h2.hpack import SPECIAL, encode_response, encode_stored
from varnishpy.h2.tables import END_STREAM, F
from varnishpy.log.memory import captured

PROFILE = settings(max_examples=150, deadline=None)
END_HEADERS = 4

PSEUDO = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
lists = st.sampled_from(
    [
        PSEUDO,
        [*PSEUDO, ("accept", "*/*"), ("x", "1")],
        [*PSEUDO, ("cookie", "a=1"), ("cookie", "b=2")],
        [*PSEUDO, ("content-length", "0")],
        [*PSEUDO, ("content-length", "7")],
        [*PSEUDO, ("X", "capital")],
        [*PSEUDO, ("connection", "close")],
        [*PSEUDO, (":late", "x")],
        [*PSEUDO, ("x", "y" * 3000)],
        [("trailer", "only")],
    ]
)
#: the fields, whether the client's table takes them up, and whether that is all of the request
blocks = st.lists(st.tuples(lists, st.booleans(), st.booleans()), min_size=2, max_size=8)


def left_behind(requests: list[tuple[list[tuple[str, str]], bool, bool]], remember: bool) -> dict[str, Any]:
    encoder = Encoder()
    with captured() as memory:
        talk = Conversation()
        h2 = talk.h2
        for at, (fields, indexed, ended) in enumerate(requests):
            if not remember:
                h2.decoder.memo.clear()
            wanted = fields if indexed else [NeverIndexedHeaderTuple(*field) for field in fields]
            talk.send(
                frames.frame(F.HEADERS, END_HEADERS | (END_STREAM if ended else 0), 1 + 2 * at, encoder.encode(wanted))
            )
        answers = talk.frames()
        h2.log.flush()
        return {
            "blocks": [(b.headers, b.received.names, b.size, b.error, b.content_length) for b in talk.host.blocks],
            "rejected": [(number, b.headers, b.error) for number, b in talk.host.rejected],
            "answers": answers,
            "counters": attributes(h2.stats),
            "overhead": attributes(h2.overhead),
            "streams": [(s.number, s.state, s.holding.stage) for s in h2.streams.values()],
            "log": memory.lines(),
        }


@PROFILE
@given(blocks)
def test_a_block_that_came_before(requests: list[tuple[list[tuple[str, str]], bool, bool]]) -> None:
    assert left_behind(requests, True) == left_behind(requests, False)


def test_blocks_are_remembered() -> None:
    """Else the test above would compare the slow path with itself."""
    talk = Conversation()
    block = Encoder().encode([NeverIndexedHeaderTuple(*field) for field in PSEUDO])
    talk.send(frames.frame(F.HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert block in talk.h2.decoder.memo


headers = st.lists(
    st.tuples(
        st.sampled_from(
            ["server", "x-a", "date", "age", "vary", "connection", "priority", "keep-alive", "content-type"]
        ),
        st.sampled_from(["", "text/html", "x-a", "close", "u=1", "a\xe4", "y" * 200]),
    ).map(lambda field: (field[0], field[0].title(), field[1])),
    max_size=6,
)


@PROFILE
@given(st.sampled_from([200, 204, 404, 599]), headers, headers)
def test_the_fields_of_a_stored_object_are_encoded_once(
    status: int, stored: list[tuple[str, str, str]], added: list[tuple[str, str, str]]
) -> None:
    front = encode_stored(stored)
    if front and not any(header[0] in SPECIAL for header in added):
        assert encode_response(status, added, front) == encode_response(status, [*stored, *added])
    else:
        assert not front or {header[0] for header in added} & set(SPECIAL)
