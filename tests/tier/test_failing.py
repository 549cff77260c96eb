"""The engine fails, in every way and at every command: clients get the right answers all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Setting
from tests.request.request_harness import Answer
from tests.tier import faulty_proxy as faults
from tests.tier.engine_process import EngineProcess
from tests.tier.faulty_proxy import FaultyProxy
from tests.tier.real_node import CHUNK, RealNode, fail_each, one_round
from varnishpy.cache.objcore import OC_DYING
from varnishpy.tier import putting
from varnishpy.tier.breaker import State
from varnishpy.tier.config import TierSpec


@pytest.fixture
def proxy(engine: EngineProcess) -> Iterator[FaultyProxy]:
    with faults.faulty_proxy() as made:
        made.open([engine.path])
        yield made


@pytest.fixture
def pair(proxy: FaultyProxy, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RealNode]]:
    monkeypatch.setattr(putting, "CHUNK", CHUNK)
    monkeypatch.setattr(putting, "INLINE", 100)
    setting("tier_timeout", "0.5")
    setting("tier_breaker_errors", "1000000")
    nodes = [RealNode(TierSpec("valkey", "127.0.0.1", proxy.ports[0]), name) for name in ("first", "second")]
    yield nodes
    for node in nodes:
        node.close()


#: an engine that is full answers with errors as well, and one that is killed cuts its answers
FAULTS: dict[str, Any] = {
    "error": faults.error(b"ERR no"),
    "moved": faults.error(b"MOVED 1 127.0.0.1:1"),
    "cut": faults.cut,
    "hang": faults.hang,
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_for_each_command_in_turn(
    proxy: FaultyProxy, pair: list[RealNode], setting: Setting, name: str
) -> None:
    if name == "hang":
        setting("tier_timeout", "0.05")
    assert fail_each(proxy, pair, FAULTS[name], name) > 40, "every command of a round has failed once"


def test_a_black_hole_costs_a_few_deadlines_and_then_nothing(
    engine: EngineProcess, pair: list[RealNode], setting: Setting
) -> None:
    setting("tier_breaker_errors", "3")
    setting("tier_breaker_pause", "1h")
    first = pair[0]
    one_round(pair, "/before")
    engine.freeze()
    headers = {"Cache-Control": "max-age=100"}
    for number in range(20):
        first.cache.origin.on(f"/page/{number}", Answer(b"page", headers=headers))
        assert first.get(f"/page/{number}") == (200, b"page")
    assert first.counters.get("timeout") == 3, "the breaker has opened"
    assert first.store.state is State.OPEN
    engine.thaw()


def test_the_engine_comes_back_empty_or_with_old_data(engine: EngineProcess, pair: list[RealNode]) -> None:
    first, second = pair
    one_round(pair, "/kept")
    assert b"OK" in engine.command("SAVE"), "what will be old data"
    one_round(pair, "/late")
    assert first.get("/kept", "PURGE")[0] == 200
    engine.kill()
    engine.start()
    for node in pair:
        for _ in range(3):
            node.tier.follower.round(0.0)
    for node in pair:
        node.cache.origin.on("/kept", Answer(b"newest", headers={"Cache-Control": "max-age=100"}))
        assert node.get("/kept") == (200, b"newest"), "what the old data still has was purged"
    assert first.counters.get("gaps") + second.counters.get("gaps") >= 1
    engine.kill()
    (engine.directory / "dump.rdb").unlink()
    engine.start()
    one_round(pair, "/afterwards")


@pytest.mark.parametrize("trusted", [False, True])
def test_a_node_that_missed_records_trusts_nothing_it_has(
    pair: list[RealNode], setting: Setting, trusted: bool
) -> None:
    """Records that are gone from the log may have been about anything (tier_gap_purge)."""
    setting("tier_gap_purge", "off" if trusted else "on")
    setting("tier_log_length", "100")
    first, second = pair
    one_round(pair, "/missed")
    assert second.get("/missed")[0] == 200
    asked = len(second.cache.origin.requests)
    before = second.counters.get("gaps")
    assert first.get("/missed", "PURGE")[0] == 200
    for number in range(110):
        assert first.get(f"/other/{number}", "PURGE")[0] == 200
    second.tier.follower.round(0.0)
    assert second.counters.get("gaps") == before + 1
    second.cache.origin.on("/missed", Answer(b"newest", headers={"Cache-Control": "max-age=100"}))
    answer = second.get("/missed")
    assert (len(second.cache.origin.requests) == asked) == trusted
    assert (answer == (200, b"newest")) == (not trusted)


def test_a_node_that_cannot_read_the_log_stops_trusting_what_it_has(
    engine: EngineProcess, pair: list[RealNode], setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pair[0]
    one_round(pair, "/trusted")
    asked = len(first.cache.origin.requests)
    assert first.get("/trusted")[0] == 200
    assert len(first.cache.origin.requests) == asked, "a hit"
    engine.kill()
    first.tier.follower.round(0.0)
    assert not first.tier.follower.blind
    first.tier.follower.heard -= 60.0  # as if a minute had passed
    first.tier.follower.round(0.0)
    assert first.tier.follower.blind and first.counters.get("blind") == 1
    objects = [oc for oc in first.cache.env.hash.all_objects() if not oc.flags & OC_DYING]
    assert objects and all(oc.expires() <= time.time() for oc in objects), "all is stale"
    first.cache.origin.on("/fresh", Answer(b"x", headers={"Cache-Control": "max-age=1000"}))
    assert first.get("/fresh") == (200, b"x")
    newest = max(oc.expires() for oc in first.cache.env.hash.all_objects() if not oc.flags & OC_DYING)
    assert newest <= time.time() + 10.0, "tier_max_lag from now on"
    engine.start()
    for _ in range(4):
        first.tier.follower.round(0.0)
    assert not first.tier.follower.blind
