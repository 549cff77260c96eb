"""What the tier has and is stale: in grace it is delivered and revalidated, beyond that a request is conditional."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.request.request_harness import Answer, Cache
from tests.tier.memory_store import MemoryStore
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.tier.clockwork import Clockwork
from varnishpy.tier.node import Tier

VCL = """
sub vcl_recv {
    if (req.method == "PURGE") { return (purge); }
    if (req.http.no-grace) { set req.grace = 0s; }
    return (hash);
}
sub vcl_backend_response { set beresp.ttl = 10s; set beresp.grace = 100s; set beresp.keep = 1000s; }
"""
PAGE = Answer(b"first", headers={"ETag": '"1"', "X-Edition": "1"})
SAME = Answer(status=304, headers={"ETag": '"1"', "X-Edition": "2"})


class Node:
    """A cache in front of its own origin, so that it can be told who was asked."""

    def __init__(self, name: str, store: MemoryStore) -> None:
        self.cache = Cache()
        self.cache.vcl(VCL)
        self.counters = stats.new_segment(stats.TIER, f"stale.{name}")
        times = Clockwork(clock.now, clock.now)
        self.tier = Tier(store, self.cache.env.hash, self.counters, name=name, times=times, settle=0.0)
        self.cache.env.tier = self.tier
        self.cache.env.hash.spreading = self.tier.invalidator

    def asked(self) -> list[str | None]:
        """With which If-None-Match the origin was asked, each time."""
        return [request.get("if-none-match") for request in self.cache.origin.requests]

    def edition(self, **headers: str) -> tuple[bytes, str]:
        """Body and edition of the page."""
        client = self.cache.get("/", headers={name.replace("_", "-"): value for name, value in headers.items()})
        assert client.status == 200, client.status
        return client.body, client.headers["x-edition"]

    def revalidated(self) -> bool:
        """Ask again: a busy pool may have had no thread for the background."""
        return self.edition() == (b"first", "2")

    def settled(self) -> bool:
        """Has every fetch come to its end, and been stored?"""
        self.tier.writer.work_off()
        return all(oc.boc is None for oc in self.cache.env.hash.all_objects())


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    """The first has fetched and stored a page; some time has passed (tests say more of it)."""
    store = MemoryStore(clock.now)
    nodes = Node("first", store), Node("second", store)
    ahead = clock.travel(0.0)
    for node in nodes:
        node.tier.follower.round(0.0)
        node.cache.origin.on("/", PAGE if node is nodes[0] else SAME)
    assert nodes[0].edition() == (b"first", "1")
    wait_for(nodes[0].settled)
    assert nodes[0].counters.get("put") == 1
    yield nodes
    clock.travel(ahead - clock.travel(0.0))
    for node in nodes:
        node.counters.destroy()
        node.cache.stop()


def refreshed(node: Node) -> bool:
    return node.settled() and node.counters.get("put") == 1


def test_in_grace_it_is_delivered_and_revalidated_in_the_background(pair: tuple[Node, Node]) -> None:
    first, second = pair
    clock.travel(20.0)
    assert second.edition() == (b"first", "1"), "stale"
    wait_for(second.revalidated)
    assert second.asked() == ['"1"'], "once, and only whether it has changed"
    wait_for(lambda: refreshed(second), "the page to be stored anew")
    assert first.edition() == (b"first", "1"), "its own is stale as well"
    wait_for(first.revalidated)
    assert first.asked() == [None], "for it the tier has what the other has revalidated"


def test_who_takes_nothing_stale_waits_for_the_origin(pair: tuple[Node, Node]) -> None:
    _, second = pair
    clock.travel(20.0)
    assert second.edition(no_grace="1") == (b"first", "2")
    assert second.asked() == ['"1"'] and second.counters.get("stale") == 1


def test_beyond_grace_the_origin_is_asked_whether_it_has_changed(pair: tuple[Node, Node]) -> None:
    first, second = pair
    clock.travel(500.0)
    assert second.edition() == (b"first", "2")
    assert second.asked() == ['"1"'] and second.counters.get("stale") == 1
    wait_for(lambda: refreshed(second), "the page to be stored anew")
    assert first.edition() == (b"first", "2"), "from the tier, not from its own origin"
    assert first.asked() == [None]
    wait_for(lambda: len(second.cache.env.hash.all_objects()) == 1, "the old one to be freed")


def test_beyond_grace_a_page_that_has_changed_replaces_it(pair: tuple[Node, Node]) -> None:
    _, second = pair
    second.cache.origin.on("/", Answer(b"second", headers={"ETag": '"2"', "X-Edition": "2"}))
    clock.travel(500.0)
    assert second.edition() == (b"second", "2")
    assert second.asked() == ['"1"']
    wait_for(lambda: refreshed(second), "the page to be stored")


def test_beyond_keep_there_is_nothing(pair: tuple[Node, Node]) -> None:
    _, second = pair
    second.cache.origin.on("/", PAGE)
    clock.travel(2000.0)
    assert second.edition() == (b"first", "1")
    assert second.asked() == [None] and second.counters.get("stale") == 0


@pytest.mark.parametrize("seconds", [20.0, 500.0])
def test_what_was_purged_is_not_used_stale_either(pair: tuple[Node, Node], seconds: float) -> None:
    first, second = pair
    second.cache.origin.on("/", Answer(b"second", headers={"X-Edition": "2"}))
    assert first.cache.get("/", method="PURGE").status == 200
    clock.travel(seconds)
    assert second.edition() == (b"second", "2")
    assert second.asked() == [None]


def test_those_who_wait_get_it_too(pair: tuple[Node, Node]) -> None:
    """They wait on one busy object, of which the tier has one in grace; one of them revalidates it."""
    _, second = pair
    clock.travel(20.0)
    clients = [second.cache.start("/") for _ in range(5)]
    assert [client.wait().body for client in clients] == [b"first"] * 5
    wait_for(second.revalidated)
    assert second.asked() == ['"1"']
