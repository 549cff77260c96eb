"""An engine that is a cluster: three servers, slots that move under load, each command failing once, one frozen."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Setting, require_program
from tests.tier import faulty_proxy as faults
from tests.tier.cluster_process import COUNT, ClusterProcess, running_cluster
from tests.tier.faulty_proxy import FaultyProxy
from tests.tier.real_node import CHUNK, RealNode, fail_each, one_round
from varnishpy import stats
from varnishpy.tier import putting
from varnishpy.tier.breaker import State
from varnishpy.tier.cluster import SLOTS, slot_of
from varnishpy.tier.config import TierSpec
from varnishpy.tier.engine import EngineStore
from varnishpy.tier.errors import LeftAlone, TierError, TierTimeout
from varnishpy.tier.record import KEYS, Invalidation
from varnishpy.tier.store import Facts

fresh = itertools.count()  # each test has keys of its own


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyProxy]:
    with faults.faulty_proxy(COUNT) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """It tells its clients to use the proxy."""
    require_program("redis-server")
    directory = Path(tmp_path_factory.mktemp("c"))
    proxy.open([directory / str(number) / "engine.sock" for number in range(COUNT)])
    with running_cluster(directory, announced=proxy.ports) as made:
        yield made


@pytest.fixture
def spec(cluster: ClusterProcess) -> TierSpec:
    return TierSpec("valkey", "127.0.0.1", cluster.announced[0], prefix=f"t{next(fresh)}", cluster=True)


@pytest.fixture
def pair(spec: TierSpec, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RealNode]]:
    monkeypatch.setattr(putting, "CHUNK", CHUNK)
    monkeypatch.setattr(putting, "INLINE", 100)
    setting("tier_timeout", "2")
    setting("tier_breaker_errors", "1000000")
    nodes = [RealNode(spec, name) for name in ("first", "second")]
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def store(spec: TierSpec, counters: stats.Counters[stats.TierName], setting: Setting) -> Iterator[EngineStore]:
    setting("tier_timeout", "2")
    made = EngineStore(spec, counters)
    yield made
    made.close()


def digest_on(store: EngineStore, cluster: ClusterProcess, server: int) -> bytes:
    """A digest that belongs to that server."""
    for number in range(1000):
        digest = number.to_bytes(32, "big")
        if cluster.owner(slot_of(("GET", store._mark(digest)))) == server:
            return digest
    raise AssertionError("none of a thousand")


def log_slot(store: EngineStore) -> int:
    return slot_of(("XLEN", store._log_key))


def test_what_is_read_together_is_on_several_servers(store: EngineStore, cluster: ClusterProcess) -> None:
    tags = tuple(b"\0tag%d" % number for number in range(40))
    store.mark(Invalidation(KEYS, store.number(), tags=tags))
    for server in range(COUNT):
        digest = digest_on(store, cluster, server)
        store.write(digest, b"i" * 16, 0, [b"head", b"body"], 60)
        assert store.ask(digest).facts == Facts(1)
        assert store.read(digest, b"i" * 16, 0, 2, tags) == ([b"head", b"body"], [1] * 40)


def test_two_nodes_share_objects_and_purges(pair: list[RealNode]) -> None:
    one_round(pair, "/page")
    assert pair[1].counters.get("hit") >= 1 and not any(node.troubles() for node in pair)


def test_no_answer_is_wrong_at_any_step_of_a_slots_move(pair: list[RealNode], cluster: ClusterProcess) -> None:
    """The slot of the log, then one that has an object."""
    one_round(pair, "/before")
    page = pair[0].cache.env.hash.all_objects()
    digest = next(oc.objhead.digest for oc in page if oc.objhead is not None)
    store = pair[0].store
    moved = []
    for slot in (log_slot(store), slot_of(("GET", store._index(digest)))):
        before = cluster.owner(slot)
        for step in cluster.move(slot):
            one_round(pair, f"/{slot}/{step.replace(' ', '-')}")
            moved.append(step)
        assert cluster.owner(slot) != before
    assert sum(step.startswith("moved") for step in moved) >= 3, "the log and what belongs to it"
    for node in pair:
        assert node.followed()
    before = sum(node.troubles() for node in pair)
    one_round(pair, "/after")
    assert sum(node.troubles() for node in pair) == before


def test_slots_move_under_load(pair: list[RealNode], cluster: ClusterProcess) -> None:
    names = [engine.command("CLUSTER", "MYID").split(b"\r\n")[1].decode() for engine in cluster.engines]

    reports: list[str] = []

    def reshard() -> None:
        for source, target in ((0, 1), (1, 2), (2, 0)):
            first = f"127.0.0.1:{cluster.engines[0].port}"
            ends = ("--cluster-from", names[source], "--cluster-to", names[target])
            reports.append(cluster.cli("reshard", first, *ends, "--cluster-slots", "60"))

    thread = threading.Thread(target=reshard)
    thread.start()
    rounds = 0
    while thread.is_alive() or not rounds:
        one_round(pair, f"/load/{rounds}")
        rounds += 1
    thread.join()
    assert len(reports) == 3 and all("Moving slot" in report for report in reports)
    assert pair[0].counters.get("put") and pair[1].counters.get("hit")
    assert all(node.followed() for node in pair)


@pytest.mark.parametrize("name", ["cut", "hang"])
def test_each_command_fails_once(proxy: FaultyProxy, pair: list[RealNode], setting: Setting, name: str) -> None:
    if name == "hang":
        setting("tier_timeout", "0.05")
    fault = {"cut": faults.cut, "hang": faults.hang}[name]
    assert fail_each(proxy, pair, fault, name) > 40


def test_a_server_that_hangs_costs_its_own_part_only(
    cluster: ClusterProcess, store: EngineStore, counters: stats.Counters[stats.TierName], setting: Setting
) -> None:
    setting("tier_breaker_errors", "2")
    setting("tier_breaker_pause", "1h")
    other = next(number for number in range(COUNT) if number != cluster.owner(log_slot(store)))
    lost, kept = digest_on(store, cluster, other), digest_on(store, cluster, cluster.owner(log_slot(store)))
    store.ask(lost)
    setting("tier_timeout", "0.2")
    cluster.engines[other].freeze()
    try:
        with pytest.raises(TierTimeout):
            store.ask(lost)
        with pytest.raises(LeftAlone):  # the second failure may have been that of asking it for the map
            for _ in range(2):
                with suppress(TierTimeout):
                    store.ask(lost)
        assert store.ask(kept).facts == store.facts()
        assert store.state is State.OPEN and counters.get("opened") == 1
    finally:
        cluster.engines[other].thaw()


def test_an_engine_that_is_a_cluster_must_be_called_one(spec: TierSpec, store: EngineStore, setting: Setting) -> None:
    alone = EngineStore(TierSpec("valkey", spec.host, spec.port, prefix=spec.prefix), store._counters)
    with pytest.raises(TierError, match='needs the option "cluster"'):
        for number in range(50):
            alone.ask(number.to_bytes(32, "big"))
    alone.close()


def test_the_slot_of_a_command_is_that_of_its_first_key() -> None:
    assert 0 <= slot_of(("GET", "vp:k:x")) < SLOTS
    inside = {
        slot_of(("GET", "vp:g0:{d}:i")),
        slot_of(("SET", b"vp:{d}:l", b"x")),
        slot_of(("EVAL", "return 0", 2, "vp:{d}:m", "other", 4)),
        slot_of(("XREAD", "COUNT", 1, "BLOCK", 5, "STREAMS", "vp:{d}:x", "0-0")),
    }
    assert len(inside) == 1
