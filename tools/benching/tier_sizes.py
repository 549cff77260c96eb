"""``tools/tier-figures --sizes``: what large things cost in the tier: keys, variants, bodies, a great many objects.

Memory is that which the engine says it uses, and the resident memory of a node's cache process.
"""

from __future__ import annotations

import http.client
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.e2e.harness import Exchange, Origin
from tests.tier.engine_process import EngineProcess, running_engine
from tests.tier.node_harness import Node, running_node
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.params import table
from varnishpy.tier.config import TierSpec
from varnishpy.tier.engine import EngineStore
from varnishpy.tier.record import IDENT, KEYS, NONCE, Invalidation, Variant, encode_index, tag_of

MIB = 1 << 20
LARGE = 50_000_000  # octets
SPACED = 0.02  # seconds between requests while the engine is a black hole

Ask = Callable[..., bytes]


def resident(node: Node) -> float:
    """MiB of a node's cache process."""
    return float(psutil.Process(node.cache.child_pid).memory_info().rss) / MIB


def asker(node: Node) -> Ask:
    """Ask a node over one connection; a body of 50 MB takes its time."""
    connection = http.client.HTTPConnection("127.0.0.1", node.cache.port, timeout=120)

    def ask(path: str, method: str = "GET", **headers: str) -> bytes:
        connection.request(method, path, headers={"Host": "site", **headers})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, response.status
        return body

    return ask


def stored(node: Node, count: int) -> None:
    """Wait until it has stored so many objects since it was started, or given them up."""
    names = ("put", "put_failed", "dropped")
    wait_for(lambda: sum(node.counter(name) for name in names) >= count, "objects to be stored", 120.0)


def keys(engine: EngineProcess, origin: Origin, a: Node, b: Node, count: int) -> None:
    """So many keys on one set of objects, a hundred on each; all purged at once."""
    number_of = count // 100
    for number in range(number_of):
        mine = " ".join(f"key{number * 100 + key}" for key in range(100))

        @origin.page(f"/keys/{number}")
        def page(exchange: Exchange, mine: str = mine) -> None:
            exchange.answer(b"x" * 100, cache_control="max-age=1000", xkey=mine)

    before, already = engine.memory(), a.counter("put")
    first, second = asker(a), asker(b)
    for number in range(number_of):
        first(f"/keys/{number}")
    stored(a, already + number_of)
    for number in range(number_of):
        second(f"/keys/{number}")
    after = engine.memory()
    store = EngineStore(TierSpec("valkey", path=str(engine.path)), stats.new_segment(stats.TIER, "sizes"))
    began = time.perf_counter()
    store.mark(Invalidation(KEYS, store.number(), tags=tuple(tag_of("", f"key{number}") for number in range(count))))
    took = time.perf_counter() - began
    store.close()
    print(f"{count} keys on {number_of} objects: {(after - before) / MIB:.1f} MiB in the engine, all marked in "
          f"{took * 1e3:.0f} ms, {(engine.memory() - after) / MIB:.1f} MiB of marks")  # fmt: skip


def variants(engine: EngineProcess, origin: Origin, a: Node, b: Node, count: int) -> None:
    """A page that varies on what each visitor has another of."""

    @origin.page("/varies")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"x" * 1000, cache_control="max-age=1000", vary="Visitor")

    before, resident_before, already = engine.memory(), resident(a), a.counter("put")
    first, second = asker(a), asker(b)
    began = time.perf_counter()
    for number in range(count):
        first("/varies", visitor=str(number))
    took = time.perf_counter() - began
    stored(a, already + count)
    hits = b.counter("hit")
    kept = 32  # tier_variants; who asks for others stores them, and they push these out
    for number in range(count - kept, count):
        second("/varies", visitor=str(number))
    print(f"{count} variants of one page: {(engine.memory() - before) / MIB:.2f} MiB in the engine, "
          f"{resident(a) - resident_before:.1f} MiB in the node, {took * 1e3 / count:.2f} ms each; "
          f"another node finds {b.counter('hit') - hits} of the last {kept}")  # fmt: skip


def large(engine: EngineProcess, origin: Origin, a: Node, b: Node) -> None:
    """A body of 50 MB, on its way to the engine and back."""
    body = os.urandom(LARGE)

    @origin.page("/large")
    def page(exchange: Exchange) -> None:
        exchange.answer(body, cache_control="max-age=1000")

    for node in (a, b):
        node.cache.cli("param.set", "tier_max_object", "64m")
    before, figures, already = engine.memory(), [resident(a), resident(b)], a.counter("put")
    began = time.perf_counter()
    assert asker(a)("/large") == body
    from_origin = time.perf_counter() - began
    stored(a, already + 1)
    took = time.perf_counter() - began
    began = time.perf_counter()
    assert asker(b)("/large") == body
    from_tier = time.perf_counter() - began
    assert origin.hits["/large"] == 1
    print(f"a body of 50 MB: {from_origin:.2f} s from the origin, stored {took - from_origin:.2f} s later, "
          f"{from_tier:.2f} s from the tier; {(engine.memory() - before) / MIB:.0f} MiB in the engine, nodes "
          f"{resident(a) - figures[0]:+.0f} and {resident(b) - figures[1]:+.0f} MiB")  # fmt: skip


def entries(engine: EngineProcess, count: int) -> None:
    """So many objects' index entries, and how long one of them takes to be asked for."""
    table.set("tier_timeout", "10")  # of this process
    store = EngineStore(TierSpec("valkey", path=str(engine.path)), stats.new_segment(stats.TIER, "sizes"))
    now = store.time()
    before = engine.memory()
    began = time.perf_counter()
    for start in range(0, count, 1000):
        commands = []
        for number in range(start, min(start + 1000, count)):
            variant = Variant(bytes(IDENT), 0, now, 3600.0, 10.0, 0.0, 0, 1000, 0, None, (b"\0shoes",))
            name = store._index(number.to_bytes(32, "big"))
            commands.append(("SET", name, encode_index(bytes(NONCE), [variant]), "PX", 3_600_000))
        store._many(commands)
    took = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(0, count, count // 1000):
        assert store.ask(number.to_bytes(32, "big")).index is not None
    asked = (time.perf_counter() - began) / 1000
    store.close()
    print(f"{count} index entries: {(engine.memory() - before) / MIB:.0f} MiB in the engine "
          f"({(engine.memory() - before) / count:.0f} octets each), written in {took:.0f} s; one is asked for in "
          f"{asked * 1e3:.2f} ms")  # fmt: skip


def hole(engine: EngineProcess, origin: Origin, a: Node, seconds: float) -> None:
    """The engine accepts and never answers: what that adds to misses, and to hits."""

    def page(exchange: Exchange) -> None:
        exchange.answer(b"x" * 1000, cache_control="max-age=1000")

    origin.pages.update({f"/hole/{number}": page for number in range(20_000)})
    ask = asker(a)
    number = 0

    def measure(length: float) -> tuple[list[float], list[float]]:
        nonlocal number
        misses, hits = [], []
        end = time.monotonic() + length
        while time.monotonic() < end:
            for times in (misses, hits):
                began = time.perf_counter()
                ask(f"/hole/{number}")
                times.append((time.perf_counter() - began) * 1e3)
            number += 1
            time.sleep(SPACED)
        return misses, hits

    def shown(times: list[float]) -> str:
        ordered = sorted(times)
        most = [ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.99, 1.0)]
        return "median {:.2f}, 99 % {:.2f}, most {:.2f} ms".format(*most)

    before = measure(5.0)
    engine.freeze()
    during = measure(seconds)
    timeouts = a.counter("timeout")
    engine.thaw()
    wait_for(lambda: a.status()["breaker"] == "closed", "the breaker to close")
    print(f"a black hole of {seconds:.0f} s, {len(during[0])} misses and as many hits, {timeouts} deadlines met:")
    for name, figures in (("misses before", before[0]), ("misses during", during[0]),
                          ("hits before", before[1]), ("hits during", during[1])):  # fmt: skip
        print(f"  {name:14s} {shown(figures)}")
    print(f"  on average a miss took {statistics.mean(during[0]) - statistics.mean(before[0]):+.2f} ms longer")


def main(place: Path, seconds: float, count: int) -> int:
    """All of it, each with an engine of its own."""
    origin = Origin()
    options = ("-p", "tier_timeout=0.05")
    with running_engine(place / "e") as engine:
        address = str(engine.path)
        with running_node(place / "a", origin, address) as a, running_node(place / "b", origin, address) as b:
            keys(engine, origin, a, b, 10_000)
            variants(engine, origin, a, b, 2000)
            large(engine, origin, a, b)
    with (
        running_engine(place / "h") as engine,
        running_node(place / "c", origin, f"127.0.0.1:{engine.port}", *options) as a,
    ):
        hole(engine, origin, a, seconds)
    with running_engine(place / "m") as engine:  # last: it changes a parameter of this process
        entries(engine, count)
    origin.close()
    return 0
