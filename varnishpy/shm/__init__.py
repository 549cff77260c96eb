"""Shared memory (VSM): segments and their index on disk, as Varnish's own programs read them."""

from __future__ import annotations

from varnishpy.shm.process import ChildShm, ManagerShm
from varnishpy.shm.writer import SetWriter, SharedSegment, ShmError

__all__ = ["ChildShm", "ManagerShm", "SetWriter", "SharedSegment", "ShmError"]
