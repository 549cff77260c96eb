"""Storage on the heap: ``-s malloc[,size]``.

Octets are kept as the ``bytes`` objects they arrived in, and charged by their length. An object is charged with what it
takes besides: itself, its core and head, its places in lists, and its headers. So the size given is, roughly, the
memory that is used; for objects of 1 KB it is some two and a half times that of their bodies. With
``feature=+cache_compat`` an object is charged with what the reference spends on it, and when it does (`ahead`), so that
as many fit as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from varnishpy import stats
from varnishpy.base.locks import make_lock
from varnishpy.params import params
from varnishpy.storage.ahead import AheadObject
from varnishpy.storage.figures import publish
from varnishpy.storage.object import StoredObject
from varnishpy.storage.room import OBJECT_OVERHEAD
from varnishpy.storage.source import Piece
from varnishpy.storage.stevedore import Stevedore

# Measured on CPython 3.11 by the growth of processes (tools/storage-cost, tools/many-objects): octets for each object,
# for each of its headers, and how often a header's text is kept, in eighths: once at rest, and three times with one
# object in eight for log and delivery (storage/prepared.py)
_OBJECT: Final = 1200
_FIELD: Final = 20
_TEXT_EIGHTHS: Final = 11
_UNLIMITED: Final = 10**15 - 1  # the largest number of VCL, so that a program can write it down


class MallocStevedore(Stevedore):
    """See the module text.

    :param limit: most octets to hold, 0 for no limit
    """

    def __init__(self, ident: str, limit: int = 0, kind: str = "malloc") -> None:
        super().__init__(ident, kind)
        self.limit = limit
        self._lock = make_lock("sma")
        self._as_reference: bool = params.feature.cache_compat
        self._used = 0
        self._allocations = 0
        self._requests = 0
        self._failures = 0
        self._freed = 0
        self._segment: stats.Collected[stats.SmaName] | None = None

    def open(self) -> None:
        self._segment = stats.collected(stats.SMA, self.ident, self._fill)

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()

    def _fill(self, counters: stats.Counters[stats.SmaName]) -> None:
        """Counters are read far more rarely than they change."""
        with self._lock:
            used, allocations, freed = self._used, self._allocations, self._freed
            requests, failures = self._requests, self._failures
        publish(counters, requests=requests, failures=failures, used=used, freed=freed, allocations=allocations)
        if self.limit:
            counters.set("g_space", self.limit - used)

    def object_cost(self, size: int, fields: int) -> int:
        if self._as_reference:
            return OBJECT_OVERHEAD + size
        return _OBJECT + _FIELD * fields + size * _TEXT_EIGHTHS // 8

    def charge(self, size: int) -> bool:
        with self._lock:
            self._requests += 1
            if self.limit and self._used + size > self.limit:
                self._failures += 1
                return False
            self._used += size
            self._allocations += 1
            return True

    def refund(self, size: int) -> None:
        self._give(size, 1)

    def refund_part(self, size: int) -> None:
        self._give(size, 0)

    def make_object(self, size_hint: int, fields: int) -> StoredObject:
        return (AheadObject if self._as_reference else StoredObject)(self, size_hint, fields)

    def _give(self, size: int, allocations: int) -> None:
        with self._lock:
            self._used -= size
            self._freed += size
            self._allocations -= allocations

    def keep(self, data: bytes) -> Piece | None:
        return data if self.charge(len(data)) else None

    def buffer(self, size: int) -> memoryview | None:
        return memoryview(bytearray(size)) if self.charge(size) else None

    def trim(self, piece: memoryview, used: int) -> Piece:
        self._give(len(piece) - used, 0)
        return bytes(piece[:used])

    def release(self, pieces: Iterable[Piece]) -> None:
        size = count = 0
        for piece in pieces:
            # a view is a buffer filled to its end, or a part of one: the whole buffer was charged
            size += len(piece.obj) if isinstance(piece, memoryview) else len(piece)  # type: ignore[arg-type]
            count += 1
        if count:
            self._give(size, count)

    @property
    def stored_ever(self) -> int:
        """Octets that were ever stored."""
        return self._used + self._freed

    @property
    def used_space(self) -> int:
        return self._used

    @property
    def free_space(self) -> int:
        return self.limit - self._used if self.limit else _UNLIMITED - self._used
