"""The chunked coding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.http.wire_chunked import LAST_CHUNK, MAX_EXTENSIONS, ChunkedDecoder, encode_chunk
from varnishpy.http.wire_fields import WireError


def decode(octets: bytes, step: int = 0, limit: int = 1 << 20) -> tuple[bytes, ChunkedDecoder, bytes]:
    decoder = ChunkedDecoder()
    buf = bytearray()
    data = b""
    for at in range(0, len(octets), step or len(octets) or 1):
        buf += octets[at : at + (step or len(octets))]
        while piece := decoder.decode(buf, limit):
            data += piece
    return data, decoder, bytes(buf)


def test_a_body_and_what_follows() -> None:
    octets = b'5\r\nhello\r\n6;a=b;c="d"\r\n world\r\n0\r\nX-Sum: 1\r\nY: z\r\n\r\nGET /'
    for step in (0, 1, 2, 3, 7):
        data, decoder, rest = decode(octets, step)
        assert (data, decoder.done, rest) == (b"hello world", True, b"GET /")
        assert decoder.trailers == [("x-sum", "X-Sum", "1"), ("y", "Y", "z")]


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"x\r\n", "chunked header non-hex"),
        (b"\r\n", "chunked header non-hex"),
        (b"\n", "chunked header non-hex"),
        (b" 5\r\nhello", "chunked header non-hex"),
        (b"-1\r\n", "chunked header non-hex"),
        (b"+5\r\nhello", "chunked header non-hex"),
        (b"0x5\r\nhello", "chunked header no NL"),
        (b"5_0\r\n", "chunked header no NL"),
        (b"5\nhello", "chunked header no NL"),
        (b"5 5\r\n", "chunked header no NL"),
        (b"5\rhello", "chunked header no NL"),
        (b"5;a\0\r\n", "chunked header no NL"),
        (b"5;a\rb\r\n", "chunked header no NL"),
        (b"5\r\nhelloworld", "chunked tail no NL"),
        (b"5\r\nhello\n", "chunked tail no NL"),
        (b"5\r\nhello\rx", "chunked tail no NL"),
        (b"fffffffffffffffff\r\n", "chunked header too long"),
        (b"0" * 60 + b"5\r\nhello", "chunked header too long"),
        (b"8000000000000000\r\n", "bogusly large chunk size"),
        (b"5;" + b"x" * 600, "chunked header too long"),
        (b"0\r\nno colon\r\n\r\n", "Illegal char 0x20 in header name"),
        (b"0\r\nA: b\n\r\n\r\n", "Header has ctrl char 0x0a"),
        (b"0\r\nA: " + b"x" * 9000, "chunked trailers too long"),
    ],
)
def test_broken(octets: bytes, text: str) -> None:
    with pytest.raises(WireError) as caught:
        decode(octets)
    assert caught.value.text == text
    with pytest.raises(WireError):
        decode(octets, 1)


def test_legal_oddities() -> None:
    assert decode(b"00005\r\nhello\r\n5 \t\r\nWORLD\r\n000\r\n\r\n")[0] == b"helloWORLD"
    assert decode(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n")[0] == b"0123456789" * 2


def test_extensions_are_limited_over_the_whole_body() -> None:
    chunk = b"1;" + b"x" * 500 + b"\r\na\r\n"
    with pytest.raises(WireError):
        decode(chunk * (MAX_EXTENSIONS // 500 + 1))


def test_limit_and_direct_reading() -> None:
    decoder = ChunkedDecoder()
    buf = bytearray(b"a\r\n01234")
    assert decoder.decode(buf, 3) == b"012"
    assert decoder.decode(buf, 100) == b"34"
    assert decoder.want == 5
    decoder.skip(5)  # the caller has read them into place by itself
    buf += b"\r\n0\r\n\r\n"
    assert decoder.decode(buf, 0) == b""
    assert decoder.done


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=10), st.integers(1, 50), st.integers(1, 50), st.binary())
def test_round_trip_however_split(pieces: list[bytes], step: int, limit: int, rest: bytes) -> None:
    octets = b"".join(map(encode_chunk, pieces)) + LAST_CHUNK
    data, decoder, left = decode(octets, step, limit)
    assert (data, decoder.done, left) == (b"".join(pieces), True, b"")
    assert decode(octets + rest)[2] == rest


@given(
    st.lists(st.sampled_from([b"5", b"0", b"\r\n", b"\n", b"\r", b";", b" ", b"hello", b"A: b", b"\0"]), max_size=25),
    st.integers(1, 9),
)
def test_verdict_does_not_depend_on_the_split(parts: list[bytes], step: int) -> None:
    octets = b"".join(parts)

    def verdict(size: int) -> tuple[bytes, bool, bytes] | None:
        try:
            data, decoder, left = decode(octets, size)
        except WireError:
            return None
        return data, decoder.done, left

    assert verdict(step) == verdict(0)


def test_an_empty_chunk_would_end_the_body() -> None:
    with pytest.raises(ValueError):
        encode_chunk(b"")


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize(
    "octets",
    [
        b"5\nhello\n0\n\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\t5 \nhello\r\n0\n\r\n",
        b"0" * 60 + b"5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_as_leniently_as_varnish(octets: bytes, step: int) -> None:
    decoder = ChunkedDecoder(lenient=True)
    buf = bytearray()
    data = b""
    for at in range(0, len(octets), step or len(octets)):
        buf += octets[at : at + (step or len(octets))]
        while piece := decoder.decode(buf, 100):
            data += piece
    assert (data, decoder.done, bytes(buf)) == (b"hello", True, b"")


@pytest.mark.parametrize("octets", [b"x\n", b"\n", b"-5\n", b"5 5\n", b"1" * 600, b"8000000000000000\n"])
def test_leniency_has_its_limits(octets: bytes) -> None:
    with pytest.raises(WireError):
        ChunkedDecoder(lenient=True).decode(bytearray(octets), 100)
