"""The latencies that workers count outlive them."""

from __future__ import annotations

import threading

from varnishpy.stats.latency import OF_HIT
from varnishpy.threads.pool import Priority
from varnishpy.threads.poolset import PoolSet
from varnishpy.threads.worker import Worker


def test_workers_that_end_leave_their_counts() -> None:
    pools = PoolSet()
    pools.start()
    done = threading.Semaphore(0)

    def task(wrk: Worker) -> None:
        wrk.latencies.observe(OF_HIT, "b", 0.01)
        done.release()

    try:
        for _ in range(20):
            assert pools.any().schedule(task, Priority.REQ)
        for _ in range(20):
            assert done.acquire(timeout=20)
        counted = [sum(pools.latencies().rows[OF_HIT]["b"].counts)]
    finally:
        assert pools.stop(20)
    counted.append(sum(pools.latencies().rows[OF_HIT]["b"].counts))
    assert counted == [20, 20]
