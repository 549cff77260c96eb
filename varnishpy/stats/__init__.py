"""Counters (VSC). ``stats.main`` is class MAIN; ``stats.new_segment("VBE", "boot.default")`` makes others.

Tasks count into a ``defaultdict(int)`` of their own (``wrk.stats["cache_hit"] += 1``) that ``stats.main.merge()`` adds
when they end; everything else calls ``inc``, ``dec``, ``set`` and ``get``.
"""

from __future__ import annotations

from varnishpy.stats.segments import Registry, Segment, StatsError
from varnishpy.stats.tables import CLASSES

registry = Registry()
#: MAIN exists from the start; the cache process registers it (``shm.ChildShm``), the manager does not
main = Segment(CLASSES["MAIN"], "", registry)

new_segment = registry.new
add_collector = registry.add_collector
remove_collector = registry.remove_collector

__all__ = [
    "CLASSES",
    "Registry",
    "Segment",
    "StatsError",
    "add_collector",
    "main",
    "new_segment",
    "registry",
    "remove_collector",
]
