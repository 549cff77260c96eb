"""How many I/O vectors HTTP/1 takes: what ``http1_iovs`` and ``workspace_thread`` allow, and what a head needs.

As the reference counts: two for each of the three words of the first line and for each field, one for the empty line. A
head that needs more than there are goes out before its body, and is counted (``http1_iovs_flush``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from varnishpy.base.workspace import Workspace

IOV_MAX: Final = 1024
"""The most that one system call takes (sysconf(3) on Linux)."""
_FIRST_AND_LAST: Final = 7
_PER_FIELD: Final = 2
_WRITER: Final = 128  # octets of workspace_thread that the reference's own bookkeeping takes
_VECTOR: Final = 16  # octets of one struct iovec


def room(ws: Workspace, most: int = IOV_MAX) -> int:
    """How many vectors there are: those for which ``ws`` (workspace_thread) has room, and no more than ``most``."""
    return min((ws.free - _WRITER) // _VECTOR, most)


def flushes(fields: int, vectors: int) -> int:
    """How often all vectors are in use before a head of so many fields is written."""
    needed = _FIRST_AND_LAST + _PER_FIELD * fields
    return needed // vectors if vectors > 0 else needed
