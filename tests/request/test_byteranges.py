"""Several ranges in one answer (RFC 9110 sections 14.6 and 15.3.7.2)."""

from __future__ import annotations

import email
import gzip
import itertools
import random
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Setting
from tests.request.request_harness import Answer, Cache, Client
from varnishpy.http.ranges import ByteRange, RangeError, parse_ranges
from varnishpy.request.byteranges import MOST, Parts, join

BODY = random.Random(1).randbytes(5000)
HEADERS = {"Cache-Control": "max-age=100", "Content-Type": "text/x", "ETag": '"b"'}


def parts(client: Client) -> list[Message]:
    head = f"Content-Type: {client.headers['content-type']}\r\n\r\n".encode()
    found = email.message_from_bytes(head + client.body)
    assert found.is_multipart() and not found.defects
    return found.get_payload()  # type: ignore[return-value]


@pytest.fixture
def several(cache: Cache, setting: Setting) -> Cache:
    setting("feature", "+multi_range")
    cache.origin.on("/b", Answer(BODY, headers=HEADERS))
    cache.get("/b")
    return cache


@pytest.mark.parametrize("taking", [False, True], ids=["pulling", "pushing"])
def test_each_part_says_where_it_belongs(several: Cache, taking: bool) -> None:
    client = several.get("/b", headers={"Range": "bytes=0-9, 4000-4009 ,-10"}, taking=taking)
    assert client.status == 206
    assert client.headers["content-length"] == str(len(client.body))
    assert "content-range" not in client.headers
    found = parts(client)
    assert [part["Content-Range"] for part in found] == [
        "bytes 0-9/5000",
        "bytes 4000-4009/5000",
        "bytes 4990-4999/5000",
    ]
    assert {part["Content-Type"] for part in found} == {"text/x"}
    for low, high in ((0, 10), (4000, 4010), (4990, 5000)):
        assert BODY[low:high] in client.body


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-9,5-20", "bytes 0-20/5000"),  # they overlap
        ("bytes=10-20,0-9", "bytes 0-20/5000"),  # they touch
        ("bytes=0-9,9000-", "bytes 0-9/5000"),  # one lies beyond
        ("bytes=,0-9,", "bytes 0-9/5000"),
    ],
)
def test_what_makes_one_range_is_one(several: Cache, wanted: str, span: str) -> None:
    client = several.get("/b", headers={"Range": wanted})
    assert (client.status, client.headers["content-range"]) == (206, span)
    low, high = (int(each) for each in span.split()[1].partition("/")[0].split("-"))
    assert client.body == BODY[low : high + 1]
    assert client.headers["content-type"] == "text/x"


def test_none_within_the_body(several: Cache) -> None:
    client = several.get("/b", headers={"Range": "bytes=9000-,8000-8001"})
    assert (client.status, client.headers["content-range"]) == (416, "bytes */5000")


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 4000, 100)),  # many small ones
        "bytes=" + ",".join("0-" for _ in range(50)),
        "bytes=0-2400,2600-4999",  # no shorter than the whole
        "lines=0-9,20-30",
    ],
)
def test_what_is_answered_with_the_whole(several: Cache, wanted: str) -> None:
    """Section 14.2: a server may ignore a Range header; section 17.15: many small ranges are an attack."""
    client = several.get("/b", headers={"Range": wanted})
    assert (client.status, client.body) == (200, BODY)


def test_only_where_it_is_turned_on(cache: Cache) -> None:
    cache.origin.on("/b", Answer(BODY, headers=HEADERS))
    assert cache.get("/b", headers={"Range": "bytes=0-9,4000-4009"}).status == 200


def test_parts_of_an_unpacked_body(cache: Cache, setting: Setting) -> None:
    setting("feature", "+multi_range")
    cache.origin.on("/z", Answer(gzip.compress(BODY), headers={**HEADERS, "Content-Encoding": "gzip"}))
    cache.get("/z")
    client = cache.get("/z", headers={"Range": "bytes=1-2,4000-4009"})
    assert [part["Content-Range"] for part in parts(client)] == ["bytes 1-2/5000", "bytes 4000-4009/5000"]
    assert BODY[4000:4010] in client.body


ranges = st.tuples(st.integers(0, 999), st.integers(0, 400)).map(lambda pair: ByteRange(pair[0], min(999, sum(pair))))


@given(st.lists(ranges, min_size=1, max_size=8), st.integers(1, 300))
def test_the_length_announced_is_what_is_sent(wanted: list[ByteRange], size: int) -> None:
    body = BODY[:1000]
    joined = join(wanted)
    assert all(first.high < second.low for first, second in itertools.pairwise(joined))
    made = Parts(joined, 1000, "text/x")
    pieces = (body[at : at + size] for at in range(0, 1000, size))
    sent = b"".join(bytes(piece) for piece in made.cut(pieces))
    assert len(sent) == made.length
    for each in joined:
        assert body[each.low : each.high + 1] in sent


def test_parsing() -> None:
    assert parse_ranges("bytes=0-1", 10) == []  # a single one is another's business
    assert parse_ranges("bytes=0-1,-2", 10) == [ByteRange(0, 1), ByteRange(8, 9)]
    with pytest.raises(RangeError):
        parse_ranges("bytes=10-,20-30", 10)
    assert MOST > 1
