"""Three nodes, one engine: what one has fetched the others need not, and what one purges is gone on all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.harness import Exchange, Origin
from tests.tier.engine_process import EngineProcess, running_engine
from tests.tier.node_harness import Node, running_node
from tests.waiting import wait_for

DIED = 0x40  # the status of a manager whose child has died of a signal

Trio = tuple[Node, Node, Node]


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.close()
    assert not made.errors


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    require_program("redis-server")
    with running_engine(Path(tmp_path_factory.mktemp("e"))) as engine:
        yield engine


@pytest.fixture(scope="module")
def trio(site: Origin, shared_engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    place = tmp_path_factory.mktemp("n")
    engine = str(shared_engine.path)
    with (
        running_node(place / "a", site, engine) as a,
        running_node(place / "b", site, f"127.0.0.1:{shared_engine.port}") as b,
        running_node(place / "c", site, f"{engine},wait=all", "-p", "tier_wait=2") as c,
    ):
        yield a, b, c


def puts(node: Node, count: int) -> None:
    """Wait until a node has stored that many more than it had."""
    wait_for(lambda: node.counter("put") >= count, "the object to be stored")


def fetched(node: Node, path: str, **headers: str) -> None:
    """Have a node fetch and store a page."""
    before = node.counter("put")
    assert node.get(path, **headers).status == 200
    puts(node, before + 1)


def test_an_object_fetched_by_one_is_answered_by_the_others(trio: Trio, site: Origin) -> None:
    a, b, c = trio

    @site.page("/one")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"one body", cache_control="max-age=100", etag='"1"', x_from="origin")

    fetched(a, "/one")
    for node in (b, c):
        response = node.get("/one")
        assert (response.status, response.body) == (200, b"one body")
        assert response.headers["etag"] == '"1"' and response.headers["x-from"] == "origin"
        assert node.counter("hit") >= 1
        assert node.get("/one").is_hit
    assert site.hits["/one"] == 1


def test_a_purge_on_one_is_a_purge_on_all(trio: Trio, site: Origin) -> None:
    a, b, c = trio
    version = [1]

    @site.page("/purged")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"version %d" % version[0], cache_control="max-age=100")

    fetched(a, "/purged")
    assert {node.get("/purged").body for node in trio} == {b"version 1"}
    version[0] = 2
    answer = c.get("/purged", "PURGE")  # which waits for all
    assert answer.status == 200
    assert [node.get("/purged").body for node in trio] == [b"version 2"] * 3


def test_a_ban_on_one_is_a_ban_on_all_and_on_what_is_stored(trio: Trio, site: Origin) -> None:
    a, b, c = trio
    version = [1]

    @site.page("/banned")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"version %d" % version[0], cache_control="max-age=100", x_kind="banned")

    fetched(a, "/banned")
    assert b.get("/banned").body == b"version 1"
    version[0] = 2
    a.cache.cli("ban", "obj.http.x-kind", "==", "banned")
    assert a.get("/banned").body == b"version 2"
    wait_for(lambda: b.get("/banned").body == b"version 2", "the ban to be applied")
    assert c.get("/banned").body == b"version 2", "it never had it: the object of the engine is banned as well"


@pytest.mark.parametrize("how", ["xkey_purge", "xkey_soft"])
def test_a_key_purged_on_one_is_purged_on_all(trio: Trio, site: Origin, how: str) -> None:
    a, b, c = trio
    version = [1]
    path = f"/keyed/{how}"

    @site.page(path)
    def page(exchange: Exchange) -> None:
        exchange.answer(b"version %d" % version[0], cache_control="max-age=100", xkey=f"shoes{how} hats")

    fetched(a, path)
    assert b.get(path).body == b"version 1"
    version[0] = 2
    assert a.get("/", **{how: f"shoes{how}"}).status == 200
    assert c.get(path).body == b"version 2"
    for node in (a, b):
        wait_for(lambda node=node: node.get(path).body == b"version 2", "the purge to be applied")  # type: ignore[misc]


def test_variants_are_stored_side_by_side(trio: Trio, site: Origin) -> None:
    a, b, c = trio

    @site.page("/varies")
    def page(exchange: Exchange) -> None:
        exchange.answer(exchange.headers["lang"].encode(), cache_control="max-age=100", vary="Lang")

    fetched(a, "/varies", lang="de")
    fetched(b, "/varies", lang="en")
    assert [c.get("/varies", lang=lang).body for lang in ("de", "en")] == [b"de", b"en"]
    assert a.get("/varies", lang="en").body == b"en"
    assert site.hits["/varies"] == 2


def test_age_counts_from_the_origin_on(trio: Trio, site: Origin) -> None:
    a, b, _ = trio

    @site.page("/aged")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"old", cache_control="max-age=100", age="40")

    fetched(a, "/aged")
    assert int(b.get("/aged").headers["age"]) >= 40
    assert site.hits["/aged"] == 1


def test_a_large_body_comes_whole(trio: Trio, site: Origin) -> None:
    a, b, _ = trio
    body = os.urandom(1 << 20) * 3 + b"end"

    @site.page("/large")
    def page(exchange: Exchange) -> None:
        exchange.answer(body, cache_control="max-age=100")

    fetched(a, "/large")
    assert b.get("/large").body == body
    assert site.hits["/large"] == 1


NEVER = {
    "set-cookie": {"set_cookie": "a=b"},
    "private": {"cache_control": "private, max-age=100"},
    "vcl": {"keep_to_yourself": "1"},
    "no-store": {"cache_control": "no-store, max-age=100"},
    "pass": {"cache_control": "no-cache"},
}


@pytest.mark.parametrize("name", NEVER)
def test_what_is_never_stored(trio: Trio, site: Origin, name: str) -> None:
    a, b, _ = trio
    path = f"/never/{name}"
    headers = {"cache_control": "max-age=100", **NEVER[name]}

    @site.page(path)
    def page(exchange: Exchange) -> None:
        exchange.answer(b"mine", **headers)

    a.get(path)
    fetched(a, "/one", always_miss="1")  # behind it in the queue
    b.get(path)
    assert site.hits[path] == 2


def test_a_body_that_is_too_large_is_not_stored(trio: Trio, site: Origin) -> None:
    a, b, _ = trio

    @site.page("/too-large")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"x" * 2000, cache_control="max-age=100")

    a.cache.cli("param.set", "tier_max_object", "1999b")
    a.get("/too-large")
    a.cache.cli("param.reset", "tier_max_object")
    fetched(a, "/one", always_miss="1")
    b.get("/too-large")
    assert site.hits["/too-large"] == 2


def test_authorization_is_for_vcl_to_judge(trio: Trio, site: Origin) -> None:
    a, b, _ = trio

    @site.page("/auth")
    def own(exchange: Exchange) -> None:
        exchange.answer(b"secret", cache_control="max-age=100")

    @site.page("/auth/shared")
    def shared(exchange: Exchange) -> None:
        exchange.answer(b"for all", cache_control="max-age=100", share="1")

    # the program hashes what has Authorization as well
    assert a.get("/auth", authorization="x").headers["told-tier"] == "false"
    fetched(a, "/auth/shared", authorization="x")
    b.get("/auth", authorization="x")
    assert b.get("/auth/shared", authorization="x").headers["told-tier"] == "true"
    assert (site.hits["/auth"], site.hits["/auth/shared"]) == (2, 1)


def test_one_node_fetches_for_all_that_wait(trio: Trio, site: Origin) -> None:
    """Node c has tier_wait: a lease of another node holds it back until the object is there."""
    a, _, c = trio
    c.cache.cli("param.set", "tier_wait", "10")
    a.cache.cli("param.set", "tier_wait", "10")
    try:

        @site.page("/leased")
        def page(exchange: Exchange) -> None:
            # while the origin answers a, c asks as well
            thread.start()
            wait_for(lambda: c.counter("waited") > waited, "c to wait")
            exchange.answer(b"once", cache_control="max-age=100")

        import threading

        waited = c.counter("waited")
        bodies: list[bytes] = []
        thread = threading.Thread(target=lambda: bodies.append(c.get("/leased").body))
        assert a.get("/leased").body == b"once"
        thread.join(20)
        assert bodies == [b"once"] and site.hits["/leased"] == 1
    finally:
        a.cache.cli("param.set", "tier_wait", "0")
        c.cache.cli("param.set", "tier_wait", "0")


def test_the_log_tells_of_it(trio: Trio, site: Origin, shared_engine: EngineProcess) -> None:
    a, b, _ = trio
    status = b.status()
    assert status["breaker"] == "closed" and not status["blind"] and status["pending"] == 0
    assert len(status["nodes"]) == 3
    text = b.cache.cli("tier.status")
    assert "breaker        closed" in text and "* " in text
    assert b'"nodes"' in b.cache.stats_page("/tier")


def test_killing_a_node_loses_nothing_for_the_others(
    trio: Trio, site: Origin, shared_engine: EngineProcess, tmp_path: Path
) -> None:
    _, b, c = trio

    @site.page("/orphan")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"stays", cache_control="max-age=100")

    with running_node(tmp_path / "d", site, str(shared_engine.path), status=DIED) as d:
        fetched(d, "/orphan")
        pid = d.cache.child_pid
        os.kill(pid, signal.SIGKILL)
        assert [node.get("/orphan").body for node in (b, c)] == [b"stays"] * 2
        assert site.hits["/orphan"] == 1
        assert c.get("/orphan", "PURGE").status == 202, "a node that lived a moment ago has not reported it"
        wait_for(lambda: d.cache.child_pid not in (0, pid), "a new child")
