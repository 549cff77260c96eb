from __future__ import annotations

import math

import pytest

from tests.builders import records_of_all_tags
from tests.cache.cache_parts import HFM, HFP, Cache
from varnishpy.base.panic import Panic
from varnishpy.cache.hash import Lookup
from varnishpy.cache.objcore import OC_DYING, OC_FAILED
from varnishpy.log.tags import Tag
from varnishpy.params import table
from varnishpy.storage.boc import BocState


def test_miss_then_hit(cache: Cache) -> None:
    req = cache.request()
    found, oc, busy = cache.lookup(req)
    assert (found, oc) == (Lookup.MISS, None)
    assert busy is not None
    cache.fetch(req, busy)
    for hits in (1, 2):
        found, oc, other = cache.lookup(cache.request())
        assert (found, oc, other) == (Lookup.HIT, busy, None)
        assert oc is not None
        assert oc.hits == hits
        assert oc.stobj is not None
        assert list(oc.stobj.chunks) == [b"body"]
        cache.deref(oc)
    found, _, busy = cache.lookup(cache.request("/other"))
    assert found is Lookup.MISS
    assert busy is not None
    cache.hash.withdraw(cache.wrk, busy)
    cache.settle()
    assert cache.wrk.stats.n_objectcore == 1
    cache.clear()


def test_an_object_is_found_while_its_body_arrives(cache: Cache) -> None:
    req = cache.request()
    _, _, busy = cache.lookup(req)
    assert busy is not None
    cache.fetch(req, busy, finish=False)
    found, oc, _ = cache.lookup(cache.request())
    assert (found, oc) == (Lookup.HIT, busy)
    assert cache.hash.ref_boc(busy) is busy.boc
    cache.hash.deref_boc(cache.wrk, busy)
    cache.deref(oc)
    cache.finish(busy)
    assert cache.hash.ref_boc(busy) is None


def test_stale_objects(cache: Cache) -> None:
    cache.insert(ttl=1.0, grace=100.0, keep=100.0, age=50.0)
    found, stale, busy = cache.lookup(cache.request())
    assert found is Lookup.HIT_GRACE
    assert stale is not None
    assert busy is not None
    # while that one is being fetched, others get the stale object and no fetch
    found, other, none = cache.lookup(cache.request())
    assert (found, other, none) == (Lookup.HIT_GRACE, stale, None)
    cache.deref(other)
    # a request that accepts no grace waits for the fetch
    strict = cache.request()
    strict.d_grace = 0.0
    assert cache.lookup(strict)[0] is Lookup.BUSY
    cache.hash.withdraw(cache.wrk, busy)
    assert cache.transport.woken == [strict]
    found, again, busy = cache.lookup(strict)
    assert found is Lookup.MISS  # with the stale object for a conditional fetch
    assert again is stale
    assert busy is not None
    cache.deref(again)
    cache.deref(stale)
    cache.hash.withdraw(cache.wrk, busy)
    cache.clear()


def test_a_request_may_limit_ttl(cache: Cache) -> None:
    cache.insert(ttl=100.0, grace=1000.0, age=50.0)
    req = cache.request()
    req.d_ttl = 60.0
    found, oc, _ = cache.lookup(req)
    assert found is Lookup.HIT
    cache.deref(oc)
    req.d_ttl = 40.0
    found, oc, busy = cache.lookup(req)
    assert (found, oc) == (Lookup.MISS, None)
    assert busy is not None
    cache.hash.withdraw(cache.wrk, busy)
    cache.clear()


def test_the_newest_stale_object_is_offered(cache: Cache) -> None:
    old = cache.insert(ttl=1.0, grace=1000.0, age=90.0)
    new = cache.insert(ttl=1.0, grace=1000.0, age=50.0)
    old.objhead.objcs = old.objhead.objcs[::-1]  # whatever their order
    _, stale, busy = cache.lookup(cache.request())
    assert stale is new
    cache.deref(stale)
    assert busy is not None
    cache.hash.withdraw(cache.wrk, busy)
    cache.clear()


def test_hit_for_miss(cache: Cache) -> None:
    oc = cache.insert(flags=HFM, ttl=77.0)
    req = cache.request()
    found, marker, busy = cache.lookup(req)
    assert (found, marker) == (Lookup.HITMISS, oc)
    assert req.hitmiss_info == (oc.xid, pytest.approx(77.0, abs=1.0))
    assert busy is not None
    # others do not wait for it
    found, marker2, busy2 = cache.lookup(cache.request())
    assert found is Lookup.HITMISS
    assert busy2 is not None
    assert cache.wrk.stats.cache_hitmiss == 2
    for each in (marker, marker2):
        cache.deref(each)
    # a cacheable answer replaces the marker, being the newer object
    cache.fetch(req, busy)
    found, hit, _ = cache.lookup(cache.request())
    assert (found, hit) == (Lookup.HIT, busy)
    cache.deref(hit)
    cache.hash.withdraw(cache.wrk, busy2)
    cache.clear()


def test_a_marker_does_not_keep_its_body(cache: Cache) -> None:
    oc = cache.insert(flags=HFM, body=b"x" * 100_000)
    assert oc.stobj is not None
    assert not oc.stobj.chunks
    assert cache.stevedore.used_space == cache.stevedore.object_cost(100, 0)
    assert oc.stobj.headers.status == 200
    cache.clear()


def test_an_expired_hit_for_miss_marker_still_prevents_waiting(cache: Cache) -> None:
    cache.insert(flags=HFM, ttl=1.0, grace=100.0, age=50.0)
    for _ in range(2):
        found, marker, busy = cache.lookup(cache.request())
        assert (found, marker) == (Lookup.HITMISS, None)
        assert busy is not None
    assert cache.wrk.stats.cache_hitmiss == 2


def test_hit_for_pass(cache: Cache) -> None:
    oc = cache.insert(flags=HFP, ttl=10.0)
    req = cache.request()
    assert cache.lookup(req) == (Lookup.HITPASS, None, None)
    assert req.hitmiss_info == (oc.xid, pytest.approx(10.0, abs=1.0))
    assert cache.wrk.stats.cache_hitpass == 1
    assert oc.refcount == 1
    cache.clear()


def test_always_miss_and_always_insert(cache: Cache) -> None:
    oc = cache.insert()
    req = cache.request()
    req.hash_always_miss = True
    found, none, busy = cache.lookup(req)
    assert (found, none) == (Lookup.MISS, None)
    assert busy is not None
    cache.fetch(req, busy)
    found, hit, _ = cache.lookup(cache.request())
    assert hit is busy is not oc
    cache.deref(hit)
    cache.clear()


def test_ignore_busy(cache: Cache) -> None:
    _, _, busy = cache.lookup(cache.request())
    req = cache.request()
    req.hash_ignore_busy = True
    found, _, other = cache.lookup(req)
    assert found is Lookup.MISS
    assert busy is not None
    assert other is not None
    assert other is not busy


def test_variants(cache: Cache) -> None:
    one = cache.insert(headers={"Foo": "1"}, vary="Foo")
    two = cache.insert(headers={"Foo": "2"}, vary="Foo")
    for headers, wanted in (({"Foo": "1"}, one), ({"Foo": "2 "}, two)):
        found, oc, _ = cache.lookup(cache.request(**headers))
        assert (found, oc) == (Lookup.HIT, wanted)
        cache.deref(oc)
    found, oc, busy = cache.lookup(cache.request(Foo="3"))
    assert (found, oc) == (Lookup.MISS, None)
    anything = cache.request(Foo="4")
    anything.hash_ignore_vary = True
    found, oc, _ = cache.lookup(anything)
    assert (found, oc) == (Lookup.HIT, two)
    cache.deref(oc)
    assert busy is not None
    cache.hash.withdraw(cache.wrk, busy)
    cache.clear()


def test_a_request_for_another_variant_does_not_wait(cache: Cache) -> None:
    cache.insert(headers={"Foo": "1"}, vary="Foo")
    _, _, busy = cache.lookup(cache.request(Foo="2"))
    assert busy is not None
    found, _, other = cache.lookup(cache.request(Foo="3"))
    assert found is Lookup.MISS  # it is known what the fetch under way will vary on
    assert other is not None
    assert cache.lookup(cache.request(Foo="2"))[0] is Lookup.BUSY
    assert cache.lookup(cache.request(Foo="3"))[0] is Lookup.BUSY


def test_many_variants_are_worth_a_notice(cache: Cache) -> None:
    for number in range(10):
        cache.insert(headers={"Foo": str(number)}, vary="Foo")
    for foo, notices in (("x", ["vsl: High number of variants (10)"]), ("3", [])):
        req = cache.request(Foo=foo)
        with records_of_all_tags() as records:
            cache.lookup(req)
            req.log.flush()
        assert records.texts(Tag.Notice) == notices


def test_accept_encoding_does_not_count_while_we_convert(cache: Cache) -> None:
    cache.insert(headers={"Accept_Encoding": "gzip"}, vary="Accept-Encoding")
    found, oc, _ = cache.lookup(cache.request())
    assert found is Lookup.HIT
    cache.deref(oc)
    table.set("http_gzip_support", "off")
    assert cache.lookup(cache.request())[0] is Lookup.MISS


def test_a_purge_takes_all_variants(cache: Cache) -> None:
    cache.insert(headers={"Foo": "1"}, vary="Foo")
    streaming = cache.request()
    _, _, busy = cache.lookup(cache.request(Foo="2"))
    assert busy is not None
    cache.fetch(cache.request(Foo="2"), busy, vary="Foo", finish=False)
    _, _, untouched = cache.lookup(cache.request(Foo="3"))
    assert untouched is not None
    assert cache.hash.purge(cache.wrk, streaming.digest, streaming.t_req) == 2
    assert (cache.wrk.stats.n_purges, cache.wrk.stats.n_obj_purged) == (1, 2)
    found, _, again = cache.lookup(cache.request(Foo="1"))
    assert found is Lookup.MISS
    assert busy.flags & OC_DYING
    assert not untouched.flags & OC_DYING
    cache.finish(busy)
    assert again is not None
    for each in (untouched, again):
        cache.hash.withdraw(cache.wrk, each)
    cache.settle()
    cache.clear()
    assert cache.hash.purge(cache.wrk, streaming.digest, streaming.t_req) == 0


def test_a_soft_purge_lowers_times(cache: Cache) -> None:
    oc = cache.insert(ttl=100.0, grace=50.0, keep=5.0)
    req = cache.request()
    cache.hash.purge(cache.wrk, req.digest, req.t_req, 0.0, math.nan, 60.0)
    assert oc.expires() == pytest.approx(req.t_req)
    assert (oc.grace, oc.keep) == (50.0, 5.0)
    assert cache.wrk.stats.n_purges == 0
    later = cache.request()
    later.t_req = req.t_req + 1.0
    found, stale, busy = cache.lookup(later)
    assert found is Lookup.HIT_GRACE
    cache.deref(stale)
    assert busy is not None
    cache.hash.withdraw(cache.wrk, busy)
    cache.clear()


def test_failed_objects_are_not_found(cache: Cache) -> None:
    req = cache.request()
    _, _, busy = cache.lookup(req)
    assert busy is not None
    cache.fetch(req, busy, finish=False)
    cache.hash.set_state(cache.wrk, busy, BocState.FAILED)
    assert busy.flags & OC_FAILED
    found, _, other = cache.lookup(cache.request())
    assert found is Lookup.MISS
    cache.hash.kill(busy)
    cache.hash.deref_boc(cache.wrk, busy)
    cache.deref(busy)
    assert other is not None
    cache.hash.withdraw(cache.wrk, other)
    cache.settle()
    cache.clear()


def test_private_objects_are_never_found(cache: Cache) -> None:
    oc = cache.hash.insert_private(cache.wrk)
    cache.fetch(cache.request(), oc)
    assert cache.wrk.stats.n_objectcore == 0
    assert cache.stevedore.used_space == 0
    assert len(cache.hash) == 0


def test_references_are_counted(cache: Cache) -> None:
    oc = cache.insert()
    assert oc.refcount == 1
    cache.hash.ref(oc)
    assert cache.hash.deref(cache.wrk, oc) == 1
    cache.hash.ref(oc)
    cache.hash.kill(oc)
    cache.settle()
    assert oc.refcount == 1
    assert oc.stobj is not None  # still being delivered
    assert cache.hash.deref(cache.wrk, oc) == 0
    assert oc.stobj is None
    cache.clear()
    assert cache.wrk.stats.n_objectcore + cache.expiry._counts.stats.n_objectcore <= 0


def test_a_withdrawn_core_must_be_untouched(cache: Cache) -> None:
    oc = cache.insert()
    cache.hash.ref(oc)
    with pytest.raises(Panic):
        cache.hash.withdraw(cache.wrk, oc)
