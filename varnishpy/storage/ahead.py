"""An object whose storage is charged ahead, a segment at a time, as the reference does it.

The reference asks its storage for a segment before it reads a body: for all that is still to come where a length was
announced, otherwise for ``fetch_chunksize``; half as much, and half of that, where there is no such room. What is left
of the last segment is given back when the body is complete. Here octets are kept as they arrive, so this is a matter of
accounts only: it decides how many objects fit, when a fetch fails for want of room, and what the storage's counters
say. It is used with ``feature=+cache_compat``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base.panic import present
from varnishpy.params import params
from varnishpy.storage.object import StoredObject
from varnishpy.storage.room import NoSpace
from varnishpy.storage.source import Piece

if TYPE_CHECKING:
    from varnishpy.storage.stevedore import Stevedore

_NOT_WORTH_IT: Final = 512  # octets at the end of a segment that are not given back


class AheadObject(StoredObject):
    """See the module text."""

    __slots__ = ("_attributes", "_expected", "_left", "_segments")

    def __init__(self, stevedore: Stevedore, size_hint: int = 0, fields: int = 0) -> None:
        self._segments: list[int] = []  # octets charged for the body
        self._left = 0  # of the last one
        self._expected = 0  # octets announced and not seen yet
        self._attributes = 0  # octets charged for attributes
        super().__init__(stevedore, size_hint, fields)

    def expect(self, length: int) -> None:
        if self._segments:
            return  # the fetch goes on after a pause
        self._expected = length
        while not self._segment():
            if not self._make_room():
                raise NoSpace("Could not get storage")

    def add_attributes(self, attrs: dict[str, bytes]) -> None:
        size = len(attrs.get("ESIDATA", b""))
        while size and not self.stevedore.charge(size):
            if not self._make_room():
                raise NoSpace("Could not allocate storage for esidata")
        self._attributes = size
        super().add_attributes(attrs)

    def _make_room(self) -> bool:
        return self.stevedore.make_room(present(self._growth, "only what grows needs room").budget)

    def _segment(self) -> bool:
        """Charge another segment; False: not even a small one fits."""
        size = min(self._expected or params.fetch_chunksize, params.fetch_maxchunksize)
        while not self.stevedore.charge(size):
            if size <= params.fetch_chunksize:
                return False
            size //= 2
        self._segments.append(size)
        self._left += size
        return True

    def _store(self, data: bytes) -> Piece | None:
        return data if self._take(len(data)) else None

    def _new_tail(self, size: int) -> memoryview | None:
        # what fills it is charged as the tail is sealed; all of it is at hand
        return memoryview(bytearray(size)) if self._take(size) else None

    def _take(self, size: int) -> bool:
        while self._left < size:
            if not self._segment():
                return False
        self._left -= size
        self._expected = max(0, self._expected - size)
        return True

    def _seal(self) -> None:
        growth = self._growth
        if growth is not None and growth.tail is not None:
            tail, fill = growth.tail, growth.fill
            self._left += len(tail) - fill
            self._pieces().append(bytes(tail[:fill]) if fill < len(tail) else tail)
            growth.tail = None
            growth.fill = 0

    def trim(self) -> None:
        self._seal()
        if self._segments and self._left >= _NOT_WORTH_IT:
            unused = min(self._left, self._segments[-1])
            self.stevedore.refund_part(unused)
            self._segments[-1] -= unused
            self._left = 0
            if not self._segments[-1]:
                self.stevedore.refund(self._segments.pop())

    def drop_before(self, index: int) -> None:
        count = min(index - self.dropped, len(self.chunks))
        if count > 0:
            gone = self.chunks[:count]
            self.chunks = self.chunks[count:]
            self.dropped += count
            self._give(sum(map(len, gone)))

    def _give(self, size: int) -> None:
        """Give octets of the first segments back."""
        while size and self._segments:
            first = self._segments[0]
            if size < first:
                self.stevedore.refund_part(size)
                self._segments[0] -= size
                return
            size -= first
            self.stevedore.refund(self._segments.pop(0))

    def slim(self) -> None:
        self._seal()
        self.dropped += len(self.chunks)
        growth = self._growth
        if growth is None:
            self.chunks = ()
        else:
            self.chunks = []
            growth.staged = None
        segments, self._segments = self._segments, []
        self._left = 0
        for size in segments:
            self.stevedore.refund(size)
        if self._attributes:
            self.stevedore.refund(self._attributes)
            self._attributes = 0
        self.attrs.pop("ESIDATA", None)
