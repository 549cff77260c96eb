"""Threads of the child: worker pools with their herders, and the waiter for idle descriptors."""

from __future__ import annotations

from varnishpy.threads.pool import Pool, Priority
from varnishpy.threads.poolset import PoolSet
from varnishpy.threads.waiter import Waiter, WaitEvent
from varnishpy.threads.watch import Watch, Watched
from varnishpy.threads.worker import Subject, Task, TaskInfo, Worker, current_worker

__all__ = [
    "Pool",
    "PoolSet",
    "Priority",
    "Subject",
    "Task",
    "TaskInfo",
    "WaitEvent",
    "Waiter",
    "Watch",
    "Watched",
    "Worker",
    "current_worker",
]
