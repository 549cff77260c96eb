from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict

import pytest

from tests.builders import records_of_all_tags
from tests.cache.cache_parts import HFM, Cache
from varnishpy.cache.hash import Lookup
from varnishpy.log.tags import Tag
from varnishpy.params import table
from varnishpy.request.request import Request


def waiters(cache: Cache, count: int, **headers: str) -> list[Request]:
    found = [cache.request(**headers) for _ in range(count)]
    for req in found:
        assert cache.lookup(req)[0] is Lookup.BUSY
        assert req.wrk is None
    return found


def test_one_fetch_serves_all_who_wait_exponentially(cache: Cache) -> None:
    first = cache.request()
    _, _, busy = cache.lookup(first)
    assert busy is not None
    waiting = waiters(cache, 100)
    assert cache.wrk.stats.busy_sleep == 100
    cache.fetch(first, busy)
    woken = cache.transport.woken
    assert woken == waiting[:3]  # rush_exponent
    served = 0
    while served < len(woken):
        req = woken[served]
        served += 1
        before = len(woken)
        found, oc, none = cache.lookup(req)
        assert (found, oc, none) == (Lookup.HIT, busy, None)
        assert len(woken) - before <= 3
        assert req.waiting_on is None
        cache.deref(oc)
    assert woken == waiting
    assert cache.wrk.stats.busy_wakeup == 100
    assert busy.hits == 100
    cache.clear()


def test_the_object_counts_as_fresh_for_those_who_waited(cache: Cache) -> None:
    first = cache.request()
    _, _, busy = cache.lookup(first)
    assert busy is not None
    [req] = waiters(cache, 1)
    cache.fetch(first, busy, ttl=0.0)
    found, oc, _ = cache.lookup(req)
    assert (found, oc) == (Lookup.HIT, busy)
    cache.deref(oc)
    cache.clear()


def test_a_failed_fetch_wakes_one_to_try_himself(cache: Cache) -> None:
    _, _, busy = cache.lookup(cache.request())
    assert busy is not None
    waiting = waiters(cache, 5)
    cache.fail(busy)
    assert cache.transport.woken == waiting[:1]
    found, _, second = cache.lookup(waiting[0])
    assert found is Lookup.MISS
    assert len(cache.transport.woken) == 1
    assert second is not None
    cache.fetch(waiting[0], second)
    assert cache.transport.woken == waiting[:4]
    for req in waiting[1:]:
        found, oc, _ = cache.lookup(req)
        assert (found, oc) == (Lookup.HIT, second)
        cache.deref(oc)
    cache.clear()


def test_hit_for_miss_lets_all_who_wait_go_their_own_way(cache: Cache) -> None:
    first = cache.request()
    _, _, busy = cache.lookup(first)
    assert busy is not None
    waiting = waiters(cache, 20)
    cache.fetch(first, busy, flags=HFM)
    for number in range(20):
        found, marker, own = cache.lookup(cache.transport.woken[number])
        assert found is Lookup.HITMISS
        cache.deref(marker)
        assert own is not None
        cache.hash.withdraw(cache.wrk, own)
    assert cache.transport.woken == waiting
    cache.clear()


def test_who_waits_for_another_variant_looks_again(cache: Cache) -> None:
    first = cache.request(Foo="1")
    _, _, busy = cache.lookup(first)
    assert busy is not None
    same = waiters(cache, 4, Foo="1")
    others = waiters(cache, 4, Foo="2")
    cache.fetch(first, busy, vary="Foo")
    fetches = []
    hits = 0
    done = 0
    while done < len(cache.transport.woken):
        req = cache.transport.woken[done]
        done += 1
        found, oc, own = cache.lookup(req)
        if found is Lookup.MISS:
            assert own is not None
            fetches.append(req)
            assert req in others
            cache.fetch(req, own, vary="Foo")
        elif found is Lookup.HIT:
            hits += 1
            cache.deref(oc)
    assert len(fetches) == 1
    assert hits == len(same) + len(others) - 1
    cache.clear()


def test_a_generation_that_has_looked_is_not_woken_again(cache: Cache) -> None:
    first = cache.request(Foo="1")
    _, _, busy = cache.lookup(first)
    assert busy is not None
    [early] = waiters(cache, 1)
    table.set("rush_exponent", "1")
    cache.fetch(first, busy, vary="Foo")  # closes the generation: early is woken
    late = cache.request(Foo="3")
    _, _, own = cache.lookup(late)
    waiters(cache, 1, Foo="3")
    woken = len(cache.transport.woken)
    early.http.set("Foo", "1")
    found, oc, _ = cache.lookup(early)  # hits the first object, which does not wake the late one
    assert found is Lookup.HIT
    assert len(cache.transport.woken) == woken
    cache.deref(oc)
    assert own is not None


def test_debugging_the_waiting_list(cache: Cache) -> None:
    table.set("debug", "+waitinglist")
    try:
        with records_of_all_tags() as records:
            _, _, busy = cache.lookup(cache.request())
            waiters(cache, 1)
            assert busy is not None
            cache.fail(busy)
    finally:
        table.set("debug", "-waitinglist")
    texts = [text.partition(" <")[0] for text in records.texts(Tag.Debug)]
    assert texts == ["on waiting list", "off waiting list"]


def test_walking_away(cache: Cache) -> None:
    _, _, busy = cache.lookup(cache.request())
    assert busy is not None
    one, two, three = waiters(cache, 3)
    assert cache.hash.walk_away(two)
    assert two.waiting_on is None
    assert not cache.hash.walk_away(two)
    table.set("rush_exponent", "1")
    cache.fetch(cache.request(), busy)
    assert cache.transport.woken == [one]
    # one was woken, and looks up although its client has gone: the wakeup must not be lost
    assert not cache.hash.walk_away(one)
    found, oc, _ = cache.lookup(one)
    assert found is Lookup.HIT
    assert cache.transport.woken == [one, three]
    cache.deref(oc)
    found, oc, _ = cache.lookup(three)
    assert found is Lookup.HIT
    cache.deref(oc)
    cache.clear()


def test_the_last_who_waits_is_never_forgotten(cache: Cache) -> None:
    """The fetch fails, the one who was woken finds his client gone and gives up: the next must be woken."""
    _, _, busy = cache.lookup(cache.request())
    assert busy is not None
    one, two = waiters(cache, 2)
    cache.fail(busy)
    assert cache.transport.woken == [one]
    found, _, again = cache.lookup(one)
    assert found is Lookup.MISS and again is not None
    cache.hash.withdraw(cache.wrk, again)
    assert cache.transport.woken == [one, two]
    assert cache.lookup(two)[0] is Lookup.MISS


@pytest.mark.timeout(30)
def test_many_threads_one_fetch_at_a_time(request: pytest.FixtureRequest) -> None:
    """Threads look up, wait, fetch, fail, purge at random; nobody is lost, nothing leaks, counts balance."""
    cache = Cache()
    rng_lock = threading.Lock()
    outcome: defaultdict[str, int] = defaultdict(int)
    finished = threading.Semaphore(0)
    queue: list[Request] = []
    ready = threading.Condition()

    class Pool:
        def reembark(self, req: Request) -> None:
            with ready:
                queue.append(req)
                ready.notify()

    cache.transport = Pool()  # type: ignore[assignment]
    total = 3000
    fetching: defaultdict[bytes, int] = defaultdict(int)

    def serve(req: Request, number: int) -> None:
        wrk = cache.wrk
        found, oc, busy = cache.lookup(req)
        if found is Lookup.BUSY:
            return
        if busy is not None:
            with rng_lock:
                fetching[req.digest] += 1
                if fetching[req.digest] != 1:
                    outcome["two fetches of one object at a time"] += 1
            os.sched_yield()  # let others meet the busy object
            with rng_lock:
                fetching[req.digest] -= 1
            if number % 7 == 0:
                cache.fail(busy)
            elif number % 11 == 0:
                cache.hash.withdraw(wrk, busy)
            else:
                cache.fetch(req, busy, ttl=1000.0)
        if oc is not None:
            cache.deref(oc)
        if number % 13 == 0:
            cache.hash.purge(wrk, req.digest, req.t_req)
        with rng_lock:
            outcome[found.name] += 1
        finished.release()

    def work(seed: int) -> None:
        number = seed
        while True:
            with ready:
                while not queue:
                    ready.wait()
                req = queue.pop()
            if req is None:
                return
            number = (number * 1103515245 + 12345) % 2147483648
            serve(req, number >> 8)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for number in range(total):
        Pool().reembark(cache.request(f"/{number % 3}"))
    for _ in range(total):
        assert finished.acquire(timeout=20), f"requests lost: {dict(outcome)}"
    for _ in threads:
        Pool().reembark(None)  # type: ignore[arg-type]
    for thread in threads:
        thread.join(10)
    assert "two fetches of one object at a time" not in outcome
    assert sum(outcome.values()) == total
    assert outcome["HIT"] > 0
    while cache.expiry.pending():
        cache.settle()
    cache.clear()


def test_who_must_settle_does_so_without_the_lock_before_it_waits(cache: Cache) -> None:
    first = cache.request()
    _, _, busy = cache.lookup(first)
    assert busy is not None
    settled: list[bool] = []

    def settle() -> None:
        assert req.wrk is cache.wrk  # it is not on the list, and could be answered meanwhile
        settled.append(busy.objhead.lock.acquire(blocking=False))
        busy.objhead.lock.release()

    req = cache.request()
    req.before_wait = settle
    assert cache.lookup(req)[0] is Lookup.BUSY
    assert settled == [True]
    assert (req.wrk, req.before_wait) == (None, None)
    assert cache.wrk.stats.busy_sleep == 1
    cache.fetch(first, busy)
    assert cache.transport.woken == [req]
    cache.deref(cache.lookup(req)[1])
    cache.clear()


def test_who_finds_the_object_there_when_it_has_settled_does_not_wait(cache: Cache) -> None:
    first = cache.request()
    _, _, busy = cache.lookup(first)
    assert busy is not None
    req = cache.request()
    req.before_wait = lambda: cache.fetch(first, busy)
    found, oc, _ = cache.lookup(req)
    assert (found, oc) == (Lookup.HIT, busy)
    assert cache.wrk.stats.busy_sleep == 0
    cache.deref(oc)
    cache.clear()
