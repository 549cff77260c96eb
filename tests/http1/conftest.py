"""Fixtures of the HTTP/1 tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http1.h1_harness import Harness
from varnishpy.log import configure
from varnishpy.log.memory import captured
from varnishpy.params import table
from varnishpy.threads import PoolSet, Waiter


@pytest.fixture
def harness() -> Iterator[Harness]:
    names = {"thread_pools": "1", "thread_pool_min": "8"}
    for name, value in names.items():
        table.set(name, value)
    configure(masked=bytes(256))  # show all, Debug too
    waiter = Waiter("test")
    waiter.start()
    pools = PoolSet()
    pools.start()
    with captured() as log:
        made = Harness(pools, waiter, log)
        try:
            yield made
        finally:
            for peer in made.peers:
                peer.sock.close()
            assert pools.stop(5)
            waiter.stop()
            configure()
            for name in names:
                table.reset(name)
