from __future__ import annotations

import math

import pytest

from tests.cache.cache_parts import Cache
from tests.waiting import wait_for
from varnishpy import log, stats
from varnishpy.base import clock
from varnishpy.cache.hash import Lookup
from varnishpy.cache.objcore import EXP_NEW, EXP_REFD, ObjectCore
from varnishpy.log.memory import captured
from varnishpy.log.tags import Tag


def expired(cache: Cache) -> int:
    return cache.expiry._counts.stats.n_expired


def test_an_object_leaves_after_ttl_grace_and_keep(cache: Cache) -> None:
    cache.insert("/due", ttl=1.0, grace=1.0, keep=1.0, age=3.1)
    cache.insert("/keep", ttl=1.0, grace=1.0, keep=9.0, age=3.1)
    before = stats.main.get("n_expired")
    cache.settle()
    assert [oc.objhead.digest.rstrip(b"\0") for oc in cache.hash.all_objects()] == [b"/keep"]
    assert expired(cache) + stats.main.get("n_expired") - before >= 1
    assert len(cache.expiry) == 1
    cache.clear()


def test_the_next_moment_is_known(cache: Cache) -> None:
    oc = cache.insert(ttl=50.0, grace=0.0)
    cache.settle()
    assert cache.expiry._expire(clock.now()) == pytest.approx(oc.when)
    cache.clear()


def test_shorter_times_move_an_object_forward(cache: Cache) -> None:
    oc = cache.insert(ttl=1000.0, grace=1000.0)
    cache.settle()
    cache.expiry.rearm(oc, clock.now(), 0.0, 0.0, 0.0)
    cache.settle()
    assert cache.hash.all_objects() == []
    cache.clear()


def test_longer_times_take_effect(cache: Cache) -> None:
    oc = cache.insert(ttl=20.0, grace=0.0)
    cache.settle()
    cache.expiry.rearm(oc, clock.now(), 100.0, math.nan, math.nan)
    cache.settle()
    assert oc.expires() > clock.now() + 90
    assert cache.expiry._expire(clock.now() + 30) == pytest.approx(oc.when)
    assert cache.hash.all_objects() == [oc]
    cache.clear()


def test_reduce_never_makes_longer(cache: Cache) -> None:
    oc = cache.insert(ttl=100.0, grace=10.0, keep=5.0)
    cache.expiry.reduce(oc, clock.now(), 1000.0, 1000.0, 1000.0)
    assert (oc.ttl, oc.grace, oc.keep) == (100.0, 10.0, 5.0)
    cache.expiry.reduce(oc, oc.t_origin, 50.0, 3.0, 1.0)
    assert (oc.ttl, oc.grace, oc.keep) == (50.0, 3.0, 1.0)
    cache.clear()


def test_removed_before_it_was_inserted(cache: Cache) -> None:
    """A purge may meet an object between its unbusying and its way into the inbox."""
    req = cache.request()
    _, _, busy = cache.lookup(req)
    assert busy is not None
    met: list[tuple[str, int]] = []

    def purge_first(event: str, oc: ObjectCore) -> None:
        met.append((event, oc.exp_flags))
        if event == "insert":
            cache.hash.purge(cache.wrk, req.digest, req.t_req)

    cache.expiry.subscribe(purge_first)
    cache.fetch(req, busy)
    cache.expiry.unsubscribe(purge_first)
    assert met == [("insert", EXP_REFD | EXP_NEW), ("expire", 0)]
    assert cache.lookup(cache.request())[0] is Lookup.MISS
    assert cache.expiry.pending() == 0


def test_many_changes_do_not_fill_the_heap(cache: Cache) -> None:
    objects = [cache.insert(f"/{number}", ttl=1e6) for number in range(10)]
    cache.settle()
    for round_ in range(500):
        for oc in objects:
            cache.expiry.rearm(oc, oc.t_origin, 1e6 - round_ - 1, math.nan, math.nan)
        cache.settle()
    assert len(cache.expiry) == 10
    assert len(cache.expiry._heap) < 3000
    cache.clear()


def test_what_is_logged(cache: Cache) -> None:
    log.configure(masked=bytes(256))  # ExpKill is masked unless asked for
    try:
        with captured() as records:
            oc = cache.insert(ttl=1.0, grace=0.0, age=5.0)
            cache.settle()
    finally:
        log.configure()
    texts = records.texts(Tag.ExpKill)
    kinds = [text.split(" ")[0] for text in texts]
    assert kinds == ["EXP_Inbox", "EXP_When", "EXP_Inspect", "EXP_Expired"]
    assert texts[-1] == f"EXP_Expired x={oc.xid} t=-4 h=0"
    cache.clear()


def test_the_thread_expires_and_stops(cache: Cache) -> None:
    cache.insert(ttl=0.05, grace=0.0)
    mailed = stats.main.get("exp_mailed")
    cache.expiry.start()
    wait_for(lambda: cache.stevedore.used_space == 0)
    cache.insert("/more")
    assert stats.main.get("exp_mailed") == mailed + 1
    cache.expiry.stop()
    assert cache.expiry._runner is None
    assert not cache.expiry.step()
