"""An engine for the tests that need one; they are skipped where there is no redis-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tier.engine_process import EngineProcess, running_engine
from varnishpy import stats
from varnishpy.tier.config import TierSpec
from varnishpy.tier.engine import EngineStore


@pytest.fixture
def engine(short_tmp: Path) -> Iterator[EngineProcess]:
    with running_engine(short_tmp / "engine") as made:
        yield made


@pytest.fixture
def counters() -> Iterator[stats.Counters[stats.TierName]]:
    made = stats.new_segment(stats.TIER, "test")
    yield made
    made.destroy()


@pytest.fixture
def store(engine: EngineProcess, counters: stats.Counters[stats.TierName]) -> Iterator[EngineStore]:
    made = EngineStore(TierSpec("valkey", path=str(engine.path)), counters)
    yield made
    made.close()
