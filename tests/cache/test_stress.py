"""Everything at once.

Lookups, fetches that fail, waiting, purges, bans, eviction and expiry, with thread switches everywhere.
"""

from __future__ import annotations

import functools
import queue
import random
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.builders import make_worker
from tests.cache.cache_parts import HFM, HFP, Cache, counted
from tests.waiting import wait_for
from varnishpy.cache.hash import Lookup
from varnishpy.cache.objcore import ObjectCore
from varnishpy.params import table
from varnishpy.request.request import Request
from varnishpy.storage.file import FileStevedore
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.objectsource import open_body
from varnishpy.storage.room import StorageError
from varnishpy.storage.source import END, SourceError
from varnishpy.threads import Worker

REQUESTS = 500
PARAMETERS = {"ban_lurker_age": "0.01", "lru_interval": "0", "ban_lurker_sleep": "0.001"}


class Storm:
    """A cache under load, and what became of each request."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.tasks: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.outcome: Counter[str] = Counter()
        self.errors: list[object] = []
        self.lock = threading.Lock()
        self.done = threading.Semaphore(0)
        cache.transport = self  # type: ignore[assignment]

    def reembark(self, req: Request) -> None:
        self.tasks.put(req)

    @staticmethod
    def body(url: str, size: int) -> bytes:
        return (url.encode() * size)[:size]

    def work(self, seed: int) -> None:
        rng = random.Random(seed)
        wrk = make_worker()
        try:
            while (req := self.tasks.get()) is not None:
                self.serve(req, rng, wrk)
        except BaseException as exc:
            self.errors.append(exc)
            raise
        finally:
            with self.lock:
                for name, value in counted(wrk.stats).items():
                    setattr(self.cache.wrk.stats, name, getattr(self.cache.wrk.stats, name) + value)

    def serve(self, req: Request, rng: random.Random, wrk: Worker) -> None:
        cache = self.cache
        found, oc, busy = cache.hash.lookup(wrk, req, req.digest)
        if found is Lookup.BUSY:
            return
        if busy is not None:
            self.fetch(req, busy, rng, wrk)
        if oc is not None:
            if found in (Lookup.HIT, Lookup.HIT_GRACE):
                self.read(req, oc, rng, wrk)
            cache.hash.deref(wrk, oc)
        self.trouble(req, rng, wrk)
        self.finish(found.name)

    def finish(self, outcome: str) -> None:
        with self.lock:
            self.outcome[outcome] += 1
        self.done.release()

    def fetch(self, req: Request, busy: ObjectCore, rng: random.Random, wrk: Worker) -> None:
        cache = self.cache
        dice = rng.random()
        if dice < 0.1:
            cache.hash.withdraw(wrk, busy)
            return
        if dice < 0.2:
            cache.fail(busy)
            return
        try:
            cache.fetch(
                req,
                busy,
                ttl=rng.choice((0.001, 0.05, 100.0)),
                grace=rng.choice((0.0, 0.01)),
                flags=rng.choice((0, 0, 0, 0, HFM, HFP)),
                vary=rng.choice((None, "Foo")),
                finish=False,
            )
            assert busy.boc is not None
            data = self.body(req.http.url, rng.randrange(1, 200_000))
            at = 0
            while at < len(data):
                size = rng.choice((10, 1000, 5000, 40_000))
                busy.boc.extend(data[at : at + size])
                at += size
            cache.finish(busy)
        except StorageError:
            cache.hash.kill(busy)
            cache.fail(busy)

    def read(self, req: Request, oc: ObjectCore, rng: random.Random, wrk: Worker) -> None:
        cache = self.cache
        boc = cache.hash.ref_boc(oc)
        assert oc.stobj is not None
        source = open_body(oc.stobj, boc, transient=oc.is_transient)
        got = bytearray()
        try:
            while (piece := source.pull_wait(rng.choice((100, 10_000, 100_000)), lambda: 10.0)) is not END:
                assert isinstance(piece, (bytes, memoryview))
                got += piece
            if len(got) != oc.stobj.length:
                self.errors.append(f"{len(got)} of {oc.stobj.length} octets")
        except SourceError:
            pass  # its fetch failed
        if got != self.body(req.http.url, len(got)):
            self.errors.append(f"the body of {req.http.url} is another's")
        source.close()
        if boc is not None:
            cache.hash.deref_boc(wrk, oc)

    def trouble(self, req: Request, rng: random.Random, wrk: Worker) -> None:
        cache = self.cache
        dice = rng.random()
        if dice < 0.01:
            cache.hash.purge(wrk, req.digest, req.t_req)
        elif dice < 0.02:
            cache.hash.purge(wrk, req.digest, req.t_req, 0.0, 0.01, 0.0)
        elif dice < 0.03:
            cache.bans.ban_string(f"req.url == {req.http.url}")
        elif dice < 0.04:
            cache.bans.ban_string(f"obj.http.foo == {dice}")
        elif dice < 0.045:
            cache.bans.ban_string("obj.status == 200 && obj.age > 5ms")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["malloc", "file"])
def test_nothing_is_lost_and_nothing_is_left(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    for name, value in PARAMETERS.items():
        table.set(name, value)
        request.addfinalizer(functools.partial(table.reset, name))
    cache = Cache()
    cache.stevedore = MallocStevedore("t0", 1 << 20)
    if kind == "file":
        cache.stevedore = FileStevedore("t0", str(tmp_path), "1m")
    cache.stevedore.open()
    cache.stevedore.lru.reclaimer = cache.hash
    cache.expiry.start()
    cache.bans.start()
    storm = Storm(cache)
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=storm.work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    rng = random.Random(7)
    for _ in range(REQUESTS):
        storm.tasks.put(cache.request(f"/{rng.randrange(12)}", Foo=str(rng.randrange(3))))
    finished = sum(storm.done.acquire(timeout=20) for _ in range(REQUESTS) if not storm.errors)
    for _ in threads:
        storm.tasks.put(None)
    for thread in threads:
        thread.join(10)
    assert storm.errors == []
    assert finished == REQUESTS
    assert storm.outcome["HIT"] > 0
    assert storm.outcome["MISS"] > 0

    cache.bans.stop()
    for oc in cache.hash.all_objects():
        cache.hash.ref(oc)
        cache.hash.kill(oc)
        cache.hash.deref(cache.wrk, oc)
    wait_for(lambda: not cache.hash.all_objects(), "the expiry's thread to be done")
    cache.expiry.stop()
    cache.clear()
    cache.stevedore.close()
