"""Who counts for the process in counters of its own: a worker, or a thread that stands in for one."""

from __future__ import annotations

from varnishpy.stats.task_counters import TaskCounters


class Counting:
    """Base of both. A class and no Protocol: rooms that only count read ``wrk.stats`` on the way of every hit."""

    __slots__ = ("stats",)

    def __init__(self) -> None:
        self.stats = TaskCounters()
