from __future__ import annotations

import pytest

from tests.cache.cache_parts import Cache
from varnishpy import stats
from varnishpy.cache.hash import Lookup
from varnishpy.params import table
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.room import NoSpace

BODY = b"x" * 100_000


@pytest.fixture
def small(cache: Cache) -> Cache:
    """A cache of one megabyte: ten objects of 100 kB do not fit."""
    cache.stevedore = MallocStevedore("t0", 1 << 20)
    cache.stevedore.lru.reclaimer = cache.hash
    return cache


def urls(cache: Cache) -> list[str]:
    return sorted(oc.objhead.digest.rstrip(b"\0").decode() for oc in cache.hash.all_objects())


def test_the_least_recently_used_goes(small: Cache) -> None:
    nuked = stats.main.get("n_lru_nuked")
    for number in range(9):
        small.insert(f"/{number}", body=BODY)
    req = small.request("/0")
    req.t_req += 100.0  # later than lru_interval
    _, oc, _ = small.lookup(req)
    small.deref(oc)
    for number in range(9, 12):
        small.insert(f"/{number}", body=BODY)
        small.settle()
    left = urls(small)
    assert "/0" in left
    assert "/1" not in left
    assert "/11" in left
    assert stats.main.get("n_lru_nuked") > nuked
    assert small.stevedore.used_space <= 1 << 20
    small.clear()


def test_objects_in_use_stay(small: Cache) -> None:
    held = []
    for number in range(9):
        small.insert(f"/{number}", body=BODY)
        _, oc, _ = small.lookup(small.request(f"/{number}"))
        held.append(oc)
    small.settle()
    req = small.request("/big")
    _, _, busy = small.lookup(req)
    assert busy is not None
    small.fetch(req, busy, finish=False)
    assert busy.boc is not None
    with pytest.raises(NoSpace):
        busy.boc.extend(b"y" * 400_000)
    assert len(urls(small)) == 10
    small.hash.kill(busy)
    small.fail(busy)
    for oc in held:
        small.deref(oc)
    small.settle()
    small.clear()


def test_one_object_pushes_out_at_most_nuke_limit(small: Cache) -> None:
    table.set("nuke_limit", "3")
    limited = stats.main.get("n_lru_limited")
    try:
        for number in range(9):
            small.insert(f"/{number}", body=BODY)
        small.settle()
        req = small.request("/big")
        _, _, busy = small.lookup(req)
        assert busy is not None
        small.fetch(req, busy, finish=False)
        assert busy.boc is not None
        with pytest.raises(NoSpace):
            busy.boc.extend(b"y" * 16_000 + b"z" * 800_000)
        assert stats.main.get("n_lru_limited") == limited + 1
        small.settle()
        assert len(urls(small)) == 9 - 3 + 1
        small.hash.kill(busy)
        small.fail(busy)
        small.settle()
        small.clear()
    finally:
        table.reset("nuke_limit")


def test_moving_is_rare(small: Cache) -> None:
    moved = stats.main.get("n_lru_moved")
    oc = small.insert()
    start = oc.last_lru
    for later in (0.0, 1.9, 2.1, 3.0, 4.2):
        req = small.request()
        req.t_req = start + later
        found, hit, _ = small.lookup(req)
        assert found is Lookup.HIT
        small.deref(hit)
    assert stats.main.get("n_lru_moved") == moved + 2
    small.clear()


def test_a_buffer_outside_any_object_makes_room_too(small: Cache) -> None:
    for number in range(10):
        small.insert(f"/{number}", body=BODY)
    small.settle()
    piece = small.stevedore.new_buffer(300_000)
    assert piece is not None
    assert len(piece) == 300_000
    small.stevedore.release((piece,))
    assert small.stevedore.new_buffer(2 << 20) is None
    small.settle()
    small.clear()
