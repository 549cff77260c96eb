"""The index of objects by keys."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import pytest

from tests.cache.cache_parts import Cache
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.cache.keys import FORMATS, Format
from varnishpy.cache.objcore import ObjectCore


def put(cache: Cache, url: str, *lines: tuple[str, str], ttl: float = 120.0) -> ObjectCore:
    """An object with these headers."""
    return cache.insert(url, ttl=ttl, fields=lines)


def urls(cache: Cache) -> list[str]:
    cache.settle()
    return sorted(oc.objhead.digest.rstrip(b"\0").decode() for oc in cache.hash.all_objects())


def gauges() -> dict[str, int]:
    stats.registry.collect()
    return next((segment.snapshot() for segment in stats.registry.all() if segment.table.name == "XKEY"), {})


@pytest.fixture
def wanted(cache: Cache) -> Iterator[Cache]:
    source = cache.hash.keys.want("xkey")
    yield cache
    cache.clear()
    cache.hash.keys.unwant(source)
    assert gauges() == {}


@pytest.mark.parametrize(
    ("format", "text", "keys"),
    [
        ("words", "a b,c,, d\t e", ["a", "b", "c", "d", "e"]),
        ("words", " ,", []),
        ("commas", "a b, c ,,d", ["a b", "c", "d"]),
        ("strings", r'"a b", "c,\"d\\";x=1, e', ["a b", 'c,"d\\']),
    ],
)
def test_formats(format: Format, text: str, keys: list[str]) -> None:
    assert FORMATS[format](text) == keys


def test_a_purge_takes_what_has_a_key_and_nothing_else(wanted: Cache) -> None:
    put(wanted, "/a", ("xkey", "all one"))
    put(wanted, "/b", ("XKey", "all"), ("xkey", "two,three"))
    put(wanted, "/c", ("other", "all"))
    keys = wanted.hash.keys
    assert len(keys) == 4
    assert keys.purge("none ALL") == 0
    assert keys.purge("two three") == 2  # one object, counted for each
    assert urls(wanted) == ["/a", "/c"]
    assert keys.purge("all") == 1
    assert keys.purge("all") == 0
    assert urls(wanted) == ["/c"]
    assert len(keys) == 0


def test_a_purge_hides_objects_before_the_expiry_has_looked(wanted: Cache) -> None:
    put(wanted, "/a", ("xkey", "k"))
    assert wanted.hash.keys.purge("k") == 1
    assert wanted.hash.keys.purge("k") == 0


def test_objects_that_were_there_before_are_known(cache: Cache) -> None:
    put(cache, "/a", ("xkey", "k"))
    cache.settle()
    source = cache.hash.keys.want("XKEY")
    assert cache.hash.keys.purge("k") == 1
    cache.clear()
    cache.hash.keys.unwant(source)


def test_namespaces_and_headers_of_choice(wanted: Cache) -> None:
    keys = wanted.hash.keys
    tags = keys.want("Cache-Tag", "tags", "commas")
    put(wanted, "/a", ("xkey", "k"), ("cache-tag", "big sale, k2"))
    put(wanted, "/b", ("cache-tag", "k"))
    assert keys.purge("big sale", "tags") == 0
    assert keys.soften("big sale", clock.now(), namespace="tags", format="commas") == 1
    assert keys.purge("k") == 1
    assert urls(wanted) == ["/b"]
    assert keys.purge("k", "tags") == 1
    keys.unwant(tags)
    put(wanted, "/c", ("cache-tag", "k"))
    assert keys.purge("k", "tags") == 0


def test_a_soft_purge_shortens_and_never_lengthens(wanted: Cache) -> None:
    oc = put(wanted, "/a", ("xkey", "k"))
    keys = wanted.hash.keys
    now = clock.now()
    assert keys.soften("k", now, ttl=1000.0, grace=1000.0, keep=1000.0) == 1
    assert (oc.ttl, oc.grace, oc.keep) == (120.0, 10.0, 0.0)
    assert keys.soften("k", now, ttl=30.0, grace=5.0) == 1
    assert (oc.expires(), oc.grace) == (pytest.approx(now + 30), 5.0)
    assert keys.soften("k", now) == 1
    assert (oc.expires(), oc.grace) == (pytest.approx(now), 5.0)
    assert keys.soften("k", now + 1) == 0  # stale already
    assert math.isfinite(oc.when)


def test_counters(wanted: Cache) -> None:
    assert set(gauges().values()) == {0}
    put(wanted, "/a", ("xkey", "one two"))
    shown = gauges()
    assert shown["g_keys"] == 2
    parts = [shown[f"g_{name}_bytes"] for name in ("hashhead", "ochead", "oc")]
    assert all(parts)
    assert shown["g_bytes"] == sum(parts)
    wanted.hash.keys.purge("one")
    wanted.settle()
    assert set(gauges().values()) == {0}


def test_nobody_who_does_not_want_it_pays_for_it(cache: Cache) -> None:
    put(cache, "/a", ("xkey", "k"))
    assert cache.expiry._listeners == ()
    assert len(cache.hash.keys) == 0
    assert cache.hash.keys.purge("k") == 0
    cache.clear()


def test_objects_that_come_and_go_in_many_threads(wanted: Cache) -> None:
    keys = wanted.hash.keys
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(100):
                put_lock.acquire()
                put(wanted, f"/{number}/{turn}", ("xkey", f"all n{number} t{turn}"))
                put_lock.release()
                if turn % 7 == 0:
                    keys.purge(f"n{number}")
        except BaseException as error:
            failures.append(error)

    put_lock = threading.Lock()  # the parts of the test's cache are for one thread at a time, the index is not
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        keys.purge("t1 t2 t3")
        wanted.expiry.step()
    for thread in threads:
        thread.join()
    assert not failures
    keys.purge("all")
    wanted.settle()
    assert urls(wanted) == []
    assert len(keys) == 0
    assert keys._keys_of == {} and keys._entries == 0
