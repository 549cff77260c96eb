"""Pools with small numbers, and parameters put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.params import table
from varnishpy.threads import Pool, PoolSet


@pytest.fixture(autouse=True)
def parameters() -> Iterator[None]:
    before = table.texts()
    table.load([("thread_pool_min", "10"), ("thread_pools", "1")])
    yield
    table.load(before)


@pytest.fixture
def pools() -> Iterator[PoolSet]:
    pool_set = PoolSet()
    pool_set.start()
    wait_for(lambda: all(pool.counts()["idle"] == 10 for pool in pool_set.pools))
    yield pool_set
    assert pool_set.stop(10)


@pytest.fixture
def pool(pools: PoolSet) -> Pool:
    return pools.any()


@pytest.fixture(autouse=True)
def _fresh_gauges() -> None:
    """Tests of other rooms that ran in this process may have left pools uncounted."""
    for name in ("threads", "pools"):
        stats.main.set(name, 0)
