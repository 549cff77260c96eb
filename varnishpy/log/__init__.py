"""The log (VSL): tags, per-transaction buffers, the ring in shared memory, and what reads it.

``log.vsl(tag, vxid, text)`` writes a single record, ``log.TaskLog`` gathers those of a transaction, ``log.next_vxid()``
hands out ids (a worker keeps a :class:`VxidChunk` of its own). ``log.memory.captured()`` collects records in tests.
"""

from __future__ import annotations

from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import BACKEND, CLIENT, SESSION, Records, TaskLog, configure, is_masked, set_sink, vsl
from varnishpy.log.vxid import VxidChunk, debug_xid, next_vxid

__all__ = [
    "BACKEND",
    "CLIENT",
    "SESSION",
    "Records",
    "Tag",
    "TaskLog",
    "VxidChunk",
    "configure",
    "debug_xid",
    "is_masked",
    "next_vxid",
    "set_sink",
    "vsl",
]
