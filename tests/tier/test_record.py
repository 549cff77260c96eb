"""What stands in the engine: it comes back as it went, and nothing else is believed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from varnishpy.tier import record
from varnishpy.tier.errors import BadRecord
from varnishpy.tier.record import Head, Invalidation, Variant

IDENTS = some.binary(min_size=record.IDENT, max_size=record.IDENT)
NONCES = some.binary(min_size=record.NONCE, max_size=record.NONCE)
WIRE = some.text(some.characters(max_codepoint=255), max_size=20)
LINE = some.text(some.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20)
TIMES = some.floats(0, 1e12)
COUNTS = some.integers(0, (1 << 32) - 1)
LONG = some.integers(0, (1 << 53) - 1)
SPECS = some.none() | some.binary(min_size=3, max_size=40)
TAGS = some.lists(some.binary(max_size=20), max_size=4).map(tuple)
VARIANTS = some.builds(Variant, IDENTS, LONG, TIMES, TIMES, TIMES, TIMES, COUNTS, LONG, COUNTS, SPECS, TAGS)
HEADS = some.builds(
    Head,
    LINE,
    some.integers(100, 999),
    LINE,
    TIMES,
    some.lists(some.tuples(LINE, LINE), max_size=6).map(tuple),
    some.dictionaries(WIRE, some.binary(max_size=30), max_size=3),
    some.binary(max_size=200),
)
INVALIDATIONS = some.builds(
    Invalidation,
    some.sampled_from((record.PURGE, record.KEYS, record.BAN, record.ALL)),
    LONG,
    WIRE,
    TIMES,
    some.binary(max_size=32),
    TAGS,
    some.lists(WIRE, max_size=7).map(tuple),
    TIMES,
    TIMES,
    TIMES,
)
DAMAGE = some.tuples(some.integers(0, 1 << 30), some.integers(1, 255))


@settings(max_examples=30)
@given(NONCES, some.lists(VARIANTS, max_size=4))
def test_an_index_comes_back(nonce: bytes, variants: list[Variant]) -> None:
    assert record.decode_index(record.encode_index(nonce, variants)) == (nonce, variants)


@settings(max_examples=30)
@given(IDENTS, HEADS)
def test_a_head_comes_back(ident: bytes, head: Head) -> None:
    assert record.decode_head(ident, head.encode(ident)) == head


@settings(max_examples=30)
@given(IDENTS, COUNTS, some.lists(some.binary(max_size=50), max_size=4))
def test_a_chunk_comes_back(ident: bytes, number: int, pieces: list[bytes]) -> None:
    value = record.encode_chunk(ident, number, pieces)
    assert record.decode_chunk(ident, number, value) == b"".join(pieces)


@settings(max_examples=30)
@given(INVALIDATIONS)
def test_an_invalidation_comes_back(invalidation: Invalidation) -> None:
    assert record.decode_invalidation(invalidation.encode()) == invalidation


def test_a_soft_purge_says_which_times_stay() -> None:
    told = Invalidation(record.PURGE, 1, digest=b"d" * 32, ttl=0.0, grace=math.nan, keep=math.nan)
    found = record.decode_invalidation(told.encode())
    assert not found.is_hard and math.isnan(found.grace) and math.isnan(found.keep)
    assert Invalidation(record.PURGE, 1, digest=b"d" * 32).is_hard


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_entry_without_an_end_is_not_believed(at: int, value: float) -> None:
    origin, ttl, grace, keep = (value if at == place else 10.0 for place in range(4))
    variant = Variant(bytes(record.IDENT), 1, origin, ttl, grace, keep, 0, 5, 0)
    with pytest.raises(BadRecord, match="time"):
        record.decode_index(record.encode_index(bytes(record.NONCE), [variant]))


@pytest.mark.parametrize(
    "head",
    [
        Head("HTTP/1.1", 200, "OK\r\nEvil: 1", 0.0),
        Head("HTTP/1.1\0", 200, "OK", 0.0),
        Head("HTTP/1.1", 200, "OK", 0.0, (("X\nY", "1"),)),
        Head("HTTP/1.1", 200, "OK", 0.0, (("X", "1\r"),)),
        Head("HTTP/1.1", 99, "OK", 0.0),
        Head("HTTP/1.1", 200, "OK", math.nan),
    ],
)
def test_a_head_that_could_not_be_sent_is_not_believed(head: Head) -> None:
    ident = bytes(record.IDENT)
    with pytest.raises(BadRecord):
        record.decode_head(ident, head.encode(ident))


@settings(max_examples=30)
@given(HEADS, DAMAGE)
def test_no_damaged_value_is_believed(head: Head, damage: tuple[int, int]) -> None:
    value = bytearray(head.encode(b"i" * record.IDENT))
    at, bits = damage
    value[at % len(value)] ^= bits
    with pytest.raises(BadRecord):
        record.decode_head(b"i" * record.IDENT, bytes(value))


@settings(max_examples=30)
@given(some.lists(VARIANTS, min_size=1, max_size=3), some.integers(1, 1000))
def test_no_value_that_is_cut_short_is_believed(variants: list[Variant], cut: int) -> None:
    value = record.encode_index(b"n" * record.NONCE, variants)
    with pytest.raises(BadRecord):
        record.decode_index(value[: max(len(value) - cut, 0)])
    with pytest.raises(BadRecord):
        record.decode_index(value + b"more")


@settings(max_examples=30)
@given(some.sampled_from((record.INDEX, record.HEAD, record.LOG)), some.binary(max_size=200))
def test_whatever_is_sealed_is_read_or_refused(kind: bytes, payload: bytes) -> None:
    """A value with the right seal may come from another program: it never raises anything but BadRecord."""
    value = record.seal(kind, payload)
    for decode in (
        record.decode_index,
        record.decode_invalidation,
        lambda octets: record.decode_head(b"i" * record.IDENT, octets),
    ):
        try:
            decode(value)
        except BadRecord:
            continue


def test_a_value_of_another_kind_version_or_object_is_refused() -> None:
    ident, other = b"a" * record.IDENT, b"b" * record.IDENT
    chunk = record.encode_chunk(ident, 1, [b"octets"])
    for name, number in ((other, 1), (ident, 2)):
        with pytest.raises(BadRecord, match="another object"):
            record.decode_chunk(name, number, chunk)
    with pytest.raises(BadRecord, match="another kind"):
        record.decode_index(chunk)
    newer = bytearray(chunk)
    newer[4] = record.VERSION + 1
    with pytest.raises(BadRecord, match="version"):
        record.decode_chunk(ident, 1, bytes(newer))


@settings(max_examples=30)
@given(some.text(some.characters(max_codepoint=255, min_codepoint=1), max_size=9), WIRE)
def test_a_tag_is_namespace_and_key(namespace: str, key: str) -> None:
    assert record.key_of(record.tag_of(namespace, key)) == (namespace, key)
