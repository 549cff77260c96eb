"""What storage needs of an object core, which belongs to the room above.

`ObjectCore` is a `Core`, so that the compiler reads its attributes where they lie.

Core, head, stored object and timer refer to each other only while the object is in the cache; whoever takes it out
takes these references away. So, compiled, they are not known to Python's garbage collector (``acyclic``), which would
stop everybody for a second to walk through a million objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.base.compiled import mypyc_attr

if TYPE_CHECKING:
    from varnishpy.storage.object import StoredObject


@mypyc_attr(acyclic=True)
class Core:
    """See the module text. Who makes one sets every attribute.

    ``t_origin`` is wall-clock seconds; ``ttl``, ``grace`` and ``keep`` are durations from it on.

    :ivar last_lru: wall-clock time of its last move in the list of its stevedore; 0.0 while it is not on it
    :ivar lru_next: in that list, used later; ``None`` while it is not on it
    :ivar lru_prev: used earlier
    :ivar origin: the backend that it came from, by its name in VCL
    :ivar xid: of the fetch that made it
    """

    __slots__ = (
        *("flags", "grace", "keep", "last_lru", "lru_next", "lru_prev", "origin", "refcount", "stobj", "t_origin"),
        *("ttl", "xid"),
    )

    refcount: int
    flags: int
    xid: int
    last_lru: float
    t_origin: float
    ttl: float
    grace: float
    keep: float
    origin: str
    stobj: StoredObject | None
    lru_next: Core | None
    lru_prev: Core | None

    def adopt(self, stobj: StoredObject) -> None:
        """Take a new stored object; called by the stevedore. An older one must have been freed."""
        raise NotImplementedError

    @property
    def digest(self) -> bytes:
        """Under which it is found."""
        raise NotImplementedError

    @property
    def ban_time(self) -> float:
        """When the newest ban was made that it was tested against."""
        raise NotImplementedError
