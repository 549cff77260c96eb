from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varnishpy import stats
from varnishpy.params import params, table
from varnishpy.storage.extents import Extents
from varnishpy.storage.file import FileStevedore
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.object import StoredObject
from varnishpy.storage.room import OBJECT_OVERHEAD, NoSpace
from varnishpy.storage.stevedore import Stevedore


def body(stobj: StoredObject) -> bytes:
    return b"".join(bytes(chunk) for chunk in stobj.chunks)


@pytest.fixture(params=["malloc", "file"])
def stevedore(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stevedore]:
    made: Stevedore = (
        MallocStevedore("t0", 2 << 20) if request.param == "malloc" else FileStevedore("t0", str(tmp_path), "2m")
    )
    made.open()
    yield made
    made.close()


def segment(stevedore: Stevedore) -> stats.Segment:
    """Its counters as published now."""
    stats.registry.collect()
    (found,) = (counters for counters in stats.registry.all() if counters.ident == stevedore.ident)
    return found


def test_large_pieces_are_kept_as_they_came() -> None:
    stevedore = MallocStevedore("t0")
    stobj = StoredObject(stevedore)
    piece = b"x" * 5000
    stobj.extend(piece)
    assert stobj.chunks == [piece]
    assert stobj.chunks[0] is piece


def test_no_piece_is_larger_than_fetch_maxchunksize() -> None:
    stobj = StoredObject(MallocStevedore("t0"))
    table.set("fetch_maxchunksize", "64k")
    try:
        stobj.extend(b"0123456789abcdef" * 10000)
    finally:
        table.reset("fetch_maxchunksize")
    assert body(stobj) == b"0123456789abcdef" * 10000
    assert max(map(len, stobj.chunks)) <= 64 << 10


def test_tiny_pieces_are_gathered() -> None:
    stobj = StoredObject(MallocStevedore("t0"))
    for _ in range(10000):
        stobj.extend(b"0123456789")
    stobj.trim()
    assert stobj.length == 100000
    assert len(stobj.chunks) <= 100000 // params.fetch_chunksize + 2
    assert body(stobj) == b"0123456789" * 10000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=9000), max_size=30))
def test_whatever_the_sizes_the_body_is_what_was_put_in(sizes: list[int]) -> None:
    stevedore = MallocStevedore("t0", 1 << 30)
    stobj = StoredObject(stevedore, 100)
    wanted = b""
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        stobj.extend(data)
        wanted += data
    stobj.trim()
    assert body(stobj) == wanted
    assert stobj.length == len(wanted)
    assert stevedore.used_space == len(wanted) + stevedore.object_cost(100, 0)
    stobj.free()
    assert stevedore.used_space == 0


def test_counters_balance(stevedore: Stevedore) -> None:
    counters = segment(stevedore)
    space = counters.value("g_space")
    for _ in range(3):
        stobj = StoredObject(stevedore, 300)
        for size in (10, 10, 10, 20000, 10, 10):
            stobj.extend(b"y" * size)
        stobj.trim()
        assert segment(stevedore).value("g_bytes") == stevedore.used_space > 20000
        stobj.free()
        del stobj
        assert stevedore.used_space == 0
    counters = segment(stevedore)
    assert counters.value("g_bytes") == counters.value("g_alloc") == 0
    assert counters.value("g_space") == space
    assert counters.value("c_bytes") == counters.value("c_freed") > 60000
    assert counters.value("c_fail") == 0


def test_no_room_leaves_the_body_as_it_was(stevedore: Stevedore) -> None:
    stobj = StoredObject(stevedore)
    stobj.extend(b"a" * 1_000_000)
    with pytest.raises(NoSpace):
        stobj.extend(b"b" * 1_500_000)
    assert stobj.length == 1_000_000
    assert body(stobj) == b"a" * 1_000_000
    assert segment(stevedore).value("c_fail") > 0
    stobj.extend(b"c" * 100_000)
    stobj.free()
    del stobj
    assert stevedore.used_space == 0


def test_a_full_storage_takes_no_new_object() -> None:
    stevedore = MallocStevedore("t0", 1 << 20)
    stobj = StoredObject(stevedore)
    rest = stevedore.free_space
    assert stevedore.charge(rest)
    with pytest.raises(NoSpace, match="Failed to create object from malloc t0"):
        StoredObject(stevedore)
    stobj.free()
    stobj.free()  # harmless
    stevedore.refund(rest)
    assert stevedore.used_space == 0


def test_an_object_is_charged_with_what_it_takes_or_as_the_reference_does() -> None:
    plain = MallocStevedore("t0")
    assert StoredObject(plain, 500, 10)._charged > StoredObject(plain, 500)._charged > 1500
    table.set("feature", "+cache_compat")
    try:
        assert StoredObject(MallocStevedore("t0"), 500, 10)._charged == OBJECT_OVERHEAD + 500
    finally:
        table.reset("feature")


def test_a_view_outlives_its_extent(tmp_path: Path) -> None:
    stevedore = FileStevedore("t0", str(tmp_path), "1m")
    stevedore.open()
    stobj = StoredObject(stevedore)
    stobj.extend(b"k" * 600_000)
    held = memoryview(stobj.chunks[0])[:1000]
    stobj.free()
    other = StoredObject(stevedore)
    with pytest.raises(NoSpace):
        other.extend(b"z" * 600_000)  # the extent is still being sent
    assert bytes(held) == b"k" * 1000
    del held
    other.extend(b"z" * 600_000)
    assert body(other) == b"z" * 600_000
    stevedore.close()


def test_a_body_is_split_where_the_file_has_no_stretch_that_long(tmp_path: Path) -> None:
    stevedore = FileStevedore("t0", str(tmp_path), "1m")
    stevedore.open()
    small = [StoredObject(stevedore) for _ in range(16)]
    for number, stobj in enumerate(small):
        stobj.extend(bytes([number]) * 65536)
    for stobj in small[::2]:
        stobj.free()
    big = StoredObject(stevedore)
    data = bytes(range(256)) * 1024
    big.extend(data)
    assert len(big.chunks) > 1
    assert body(big) == data
    assert all(body(stobj) == bytes([number]) * 65536 for number, stobj in enumerate(small) if number % 2)
    stevedore.close()


def test_file_counters_show_fragments(tmp_path: Path) -> None:
    stevedore = FileStevedore("t0", str(tmp_path), "1m")
    stevedore.open()
    counters = segment(stevedore)
    assert (counters.value("g_smf"), counters.value("g_smf_frag"), counters.value("g_smf_large")) == (1, 0, 1)
    stobj = StoredObject(stevedore)
    stobj.extend(b"x" * 5000)
    counters = segment(stevedore)
    assert (counters.value("g_smf"), counters.value("g_smf_frag"), counters.value("g_smf_large")) == (2, 0, 1)
    stevedore.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(min_value=1, max_value=60)), max_size=80))
def test_extents_never_overlap_and_merge_again(steps: list[tuple[bool, int]]) -> None:
    extents = Extents(4096 * 256, 4096)
    held: list[tuple[int, int]] = []
    for take, size in steps:
        if take or not held:
            octets = extents.round_up(size * 1000)
            start = extents.allocate(octets)
            if start is not None:
                assert all(start + octets <= other or other + length <= start for other, length in held)
                held.append((start, octets))
        else:
            extents.free(*held.pop(size % len(held)))
        assert extents.used_count == len(held)
    for start, length in held:
        extents.free(start, length)
    assert (extents.large_free, extents.small_free) == (1, 0)
    assert extents.allocate(extents.size) == 0  # nothing is lost between them
