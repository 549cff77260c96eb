"""Object heads: all objects of one hash key, and the requests that wait for one of them.

The head's lock guards its list, the counts and flags of its object cores, and its waiting list. A head with neither
objects nor waiting requests is *dead*: it has been taken out of the hash under its lock, and a lookup that finds it
asks again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from varnishpy.base.locks import make_lock

if TYPE_CHECKING:
    from varnishpy.cache.asking import Asking
    from varnishpy.cache.objcore import ObjectCore


class WaitEntry:
    """A request on a waiting list; ``req.waiting_on`` while it waits, and until it has looked up again."""

    __slots__ = ("generation", "head", "req")

    def __init__(self, req: Asking, head: ObjectHead, generation: int) -> None:
        self.req = req
        self.head = head
        self.generation = generation


class ObjectHead:
    """See the module text. ``generation`` numbers the waiting list.

    An object that wakes waiters closes a generation.
    """

    __slots__ = ("dead", "digest", "generation", "lock", "objcs", "private", "waiting")

    def __init__(self, digest: bytes, private: bool = False) -> None:
        self.digest = digest
        self.private = private  # heads of passes: shared by many object cores, never looked up, never dead
        self.lock = make_lock("objhdr")
        self.objcs: list[ObjectCore] = []
        self.waiting: OrderedDict[WaitEntry, None] | None = None
        self.generation = 1
        self.dead = False
