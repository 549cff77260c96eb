"""Object heads: all objects of one hash key, and the requests that wait for one of them.

The head's lock guards its list, the counts and flags of its object cores, and its waiting list. It may be the lock of
other heads too, so nobody takes two. A head with neither objects nor waiting requests is *dead*: it has been taken out
of the hash under its lock, and a lookup that finds it asks again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from varnishpy.base.compiled import mypyc_attr
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


@mypyc_attr(acyclic=True)
class ObjectHead:
    """See the module text. ``generation`` numbers the waiting list.

    An object that wakes waiters closes a generation.

    :param lock: shared with other heads; one of its own if not given
    :ivar objcs: newest first, but for those still being fetched; replaced, never changed
    """

    __slots__ = ("dead", "digest", "generation", "lock", "objcs", "private", "waiting")

    def __init__(self, digest: bytes, private: bool = False, lock: threading.Lock | None = None) -> None:
        self.digest = digest
        self.private = private  # heads of passes: shared by many object cores, never looked up, never dead
        self.lock = make_lock("objhdr") if lock is None else lock
        self.objcs: tuple[ObjectCore, ...] = ()
        self.waiting: OrderedDict[WaitEntry, None] | None = None
        self.generation = 1
        self.dead = False

    def add_first(self, oc: ObjectCore) -> None:
        """Put an object core in front of all others; the lock is held."""
        self.objcs = (oc, *[other for other in self.objcs if other is not oc])

    def take_out(self, oc: ObjectCore) -> None:
        """Forget an object core; the lock is held."""
        self.objcs = tuple([other for other in self.objcs if other is not oc])


class HeadLocks:
    """The locks of all heads that lookups find: one for each would take a tenth of what a small object takes."""

    def __init__(self) -> None:
        self._locks = [make_lock("objhdr") for _ in range(256)]

    def new_head(self, digest: bytes) -> ObjectHead:
        """A head that nobody sees yet."""
        return ObjectHead(digest, lock=self._locks[digest[0]])
