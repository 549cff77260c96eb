from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.params import params, table
from varnishpy.storage.ahead import AheadObject
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.room import NoSpace


@pytest.fixture
def stevedore() -> Iterator[MallocStevedore]:
    table.set("feature", "+cache_compat")
    try:
        made = MallocStevedore("t0", 1 << 20)
    finally:
        table.reset("feature")
    yield made
    assert made.used_space == 0


def make(stevedore: MallocStevedore) -> AheadObject:
    stobj = stevedore.make_object(0, 0)
    assert isinstance(stobj, AheadObject)
    return stobj


def test_a_segment_is_charged_ahead_and_what_is_left_of_it_given_back(stevedore: MallocStevedore) -> None:
    stobj = make(stevedore)
    head = stevedore.used_space
    stobj.expect(0)
    stobj.extend(b"x" * 5000)
    assert stevedore.used_space == head + params.fetch_chunksize
    stobj.expect(0)  # after a pause: nothing new
    stobj.extend(b"x" * params.fetch_chunksize)
    assert stevedore.used_space == head + 2 * params.fetch_chunksize
    stobj.trim()
    assert stevedore.used_space == head + 5000 + params.fetch_chunksize
    stobj.free()


def test_an_announced_length_is_charged_at_once(stevedore: MallocStevedore) -> None:
    stobj = make(stevedore)
    head = stevedore.used_space
    stobj.expect(100_000)
    assert stevedore.used_space == head + 100_000
    stobj.extend(b"x" * 100_000)
    stobj.trim()
    assert stevedore.used_space == head + 100_000
    stobj.free()


def test_no_room_for_the_announced_length_is_found_out_before_the_body_comes(stevedore: MallocStevedore) -> None:
    other = make(stevedore)
    other.expect(1_040_000)
    stobj = make(stevedore)
    with pytest.raises(NoSpace, match="Could not get storage"):
        stobj.expect(9000)
    other.free()
    stobj.expect(9000)
    stobj.free()


def test_less_than_was_asked_for_is_taken_down_to_a_chunk(stevedore: MallocStevedore) -> None:
    stobj = make(stevedore)
    stobj.expect(1 << 20)  # the head is in the way of all of it
    stobj.extend(b"x" * 900_000)
    assert stobj.length == 900_000
    stobj.free()


def test_instructions_of_esi_are_charged(stevedore: MallocStevedore) -> None:
    stobj = make(stevedore)
    before = stevedore.used_space
    stobj.add_attributes({"ESIDATA": b"e" * 700, "GZIPBITS": b"g" * 32})
    assert stevedore.used_space == before + 700
    stobj.free()
    stobj = make(stevedore)
    stobj.expect(1_048_000)
    with pytest.raises(NoSpace, match="esidata"):
        stobj.add_attributes({"ESIDATA": b"e" * 700})
    stobj.free()


@given(
    sizes=st.lists(st.integers(1, 30_000), max_size=20),
    announced=st.integers(0, 60_000),
    dropped=st.integers(0, 20),
    trimmed=st.booleans(),
)
def test_what_is_charged_is_given_back(sizes: list[int], announced: int, dropped: int, trimmed: bool) -> None:
    table.set("feature", "+cache_compat")
    try:
        stevedore = MallocStevedore("t0", 1 << 20)
    finally:
        table.reset("feature")
    stobj = make(stevedore)
    stobj.expect(announced)
    for size in sizes:
        stobj.extend(b"x" * size)
        assert stevedore.used_space >= stobj.length
    stobj.drop_before(dropped)
    if trimmed:
        stobj.trim()
    held = sum(map(len, stobj.chunks))
    assert stevedore.used_space >= held
    stobj.free()
    assert stevedore.used_space == 0
    assert stevedore._allocations == 0
