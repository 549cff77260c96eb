"""Stevedores: where objects live, and how room is found for them.

A stevedore hands out *pieces* of storage. `Stevedore.keep` stores octets that have arrived (malloc keeps the very
``bytes`` object, nothing is copied), `Stevedore.buffer` gives an empty piece to be filled. When there is no room, the
caller asks `make_room`, which throws away the least recently used object that nobody uses; each new object may do so
``nuke_limit`` times.

The LRU list belongs to a stevedore, the objects on it belong to the cache above. So that this room need not know that
one, the cache registers itself as the `Reclaimer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from varnishpy import stats
from varnishpy.storage.core import Core
from varnishpy.storage.lru import Lru
from varnishpy.storage.object import StoredObject
from varnishpy.storage.prepared import Prepared, PreparedHeads
from varnishpy.storage.room import OBJECT_OVERHEAD, NukeBudget
from varnishpy.storage.source import Piece


class Stevedore:
    """Base of all storage.

    :param ident: its name: ``s0``, or as given on the command line
    :param kind: the method: ``malloc``, ``file``, ...
    """

    def __init__(self, ident: str, kind: str) -> None:
        self.ident = ident
        self.name = kind
        self.vcl_name = f"storage.{ident}"
        self.lru = Lru()
        self._prepared = PreparedHeads()
        #: of so many octets of a body, how many this storage takes at once (all: ``None``); may raise `NoSpace`
        self.portion: Callable[[StoredObject, int], int] | None = None
        #: may a body go on growing? False: not now, the callback is called when it may; ``None``: always
        self.pace: Callable[[Callable[[], None]], bool] | None = None

    def __str__(self) -> str:
        return self.vcl_name

    def check(self) -> None:
        """Everything that can be known to be wrong before a child is started. For the manager; raises `ValueError`."""

    # -- what every method implements ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """What may take long and comes before `open`, when the cache process has just begun."""

    def open(self) -> None:
        """Get ready for service; once, in the cache process. Raises `StorageError`."""

    def close(self) -> None:
        """Give files and counters back."""

    def keep(self, data: bytes) -> Piece | None:
        """Store octets: the piece that holds them, or ``None`` when there is no room."""
        raise NotImplementedError

    def buffer(self, size: int) -> memoryview | None:
        """A writable piece of exactly that size, or ``None`` when there is no room."""
        raise NotImplementedError

    def trim(self, piece: memoryview, used: int) -> Piece:
        """Give the unused end of a `buffer` back; returns the piece that remains."""
        raise NotImplementedError

    def release(self, pieces: Iterable[Piece]) -> None:
        """Give pieces back. Views of them that are still being sent stay valid."""
        raise NotImplementedError

    def charge(self, size: int) -> bool:
        """Reserve room for an object's header and fixed parts; False when there is none."""
        return True

    def refund(self, size: int) -> None:
        """Undo `charge`."""

    def refund_part(self, size: int) -> None:
        """Give some of what was charged back; the rest is still to be given back."""

    @property
    def used_space(self) -> int:
        """Octets in use."""
        return 0

    @property
    def free_space(self) -> int:
        """Octets left; 0 where there is no limit that could be told."""
        return 0

    @property
    def happy(self) -> bool:
        """Can new objects be stored?"""
        return True

    # -- objects ---------------------------------------------------------------------------------------------------

    def object_cost(self, size: int, fields: int) -> int:
        """What an object is charged with besides its body, with so many octets in so many headers."""
        return OBJECT_OVERHEAD + size

    def make_object(self, size_hint: int, fields: int) -> StoredObject:
        """An object that nobody knows yet. :raises NoSpace:"""
        return StoredObject(self, size_hint, fields)

    def new_object(self, oc: Core, size_hint: int = 0, fields: int = 0) -> StoredObject:
        """Make an object and hang it on an object core, and on its busy object control.

        :param size_hint: octets of headers and attributes
        :param fields: how many headers those are
        :raises NoSpace: not even the headers fit
        """
        stobj = self.make_object(size_hint, fields)
        oc.adopt(stobj)
        stats.main.inc("n_object")
        return stobj

    def completed(self, oc: Core, now: float, lasting: bool) -> None:
        """An object's fetch is over, and nothing will change the object any more.

        :param lasting: it may be delivered again
        """
        stobj = oc.stobj
        if lasting and stobj is not None:
            stobj.settle()
        self.lru.add(oc, now)

    def was_hit(self, stobj: StoredObject, prepared: Prepared) -> None:
        """An object was delivered from the cache, and may soon be again."""
        self._prepared.keep(stobj, prepared, len(self.lru))

    def forget(self, stobj: StoredObject) -> None:
        """No lookup finds the object any more: it must not come back, if objects of this storage ever do."""

    def rearmed(self, oc: Core) -> None:
        """An object has other times now."""

    # -- making room -----------------------------------------------------------------------------------------------

    def make_room(self, budget: NukeBudget) -> bool:
        """Throw one object away, at the expense of a budget; False when there is none left to throw or to spend."""
        if not budget.spend():
            return False
        return self.lru.nuke_one()

    def new_buffer(self, size: int) -> memoryview | None:
        """A buffer outside any object (request bodies of HTTP/2), making room if need be; give it to `release`."""
        budget = NukeBudget()
        while True:
            piece = self.buffer(size)
            if piece is not None:
                return piece
            if not self.make_room(budget):
                return None
