"""Counters (VSC). ``stats.main`` is class MAIN; ``stats.new_segment(stats.VBE, "boot.default")`` makes others.

Tasks count in slots of their own (``wrk.stats.cache_hit += 1``) that ``stats.main.merge()`` adds when they end;
everything else calls ``inc``, ``dec``, ``set`` and ``get``. The type checker knows every name (``tools/genviews``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from varnishpy.stats.collected import Collected
from varnishpy.stats.columns import CounterClass
from varnishpy.stats.counting import Counting
from varnishpy.stats.lineage import of_backend
from varnishpy.stats.names import (
    DebugName,
    MainName,
    MempoolName,
    MgtName,
    SmaName,
    SmfName,
    SmpName,
    TierName,
    VbeName,
    VcpName,
    WaiterName,
    XkeyName,
)
from varnishpy.stats.segments import Counters, Registry, Segment, StatsError
from varnishpy.stats.tables import CLASSES, DEBUG, MAIN, MEMPOOL, MGT, SMA, SMF, SMP, TIER, VBE, VCP, WAITER, XKEY
from varnishpy.stats.task_counters import TaskCounters

Name = TypeVar("Name", bound=str)

registry = Registry()
registry.lineage[VBE] = of_backend
#: MAIN exists from the start; the cache process registers it (``shm.ChildShm``), the manager does not
main = Counters(MAIN, "", registry)

new_segment = registry.new
add_collector = registry.add_collector
remove_collector = registry.remove_collector


def collected(table: CounterClass[Name], ident: str, fill: Callable[[Counters[Name]], None]) -> Collected[Name]:
    """Make a segment that ``fill`` sets whenever counters are published or read, and now; until it is closed."""
    return Collected(registry, table, ident, fill)


__all__ = [
    "CLASSES",
    "DEBUG",
    "MAIN",
    "MEMPOOL",
    "MGT",
    "SMA",
    "SMF",
    "SMP",
    "TIER",
    "VBE",
    "VCP",
    "WAITER",
    "XKEY",
    "Collected",
    "Counters",
    "Counting",
    "DebugName",
    "MainName",
    "MempoolName",
    "MgtName",
    "Registry",
    "Segment",
    "SmaName",
    "SmfName",
    "SmpName",
    "StatsError",
    "TaskCounters",
    "TierName",
    "VbeName",
    "VcpName",
    "WaiterName",
    "XkeyName",
    "add_collector",
    "collected",
    "main",
    "new_segment",
    "registry",
    "remove_collector",
]
