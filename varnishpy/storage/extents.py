"""Which parts of a storage file are free: an allocator of extents.

First fit among small sizes by size class, then among the large ones by address; freed extents merge with free
neighbours. Offsets and sizes are multiples of the granularity. The caller does the locking.
"""

from __future__ import annotations

from bisect import bisect_left, insort

_CLASSES = 33  # the last class holds everything larger: with pages of 4 kB, 128 kB and up


class Extents:
    """Free extents of a space of ``size`` octets."""

    __slots__ = ("_by_end", "_by_start", "_classes", "granularity", "size", "used_count")

    def __init__(self, size: int, granularity: int) -> None:
        self.size = size
        self.granularity = granularity
        self.used_count = 0
        self._by_start: dict[int, int] = {}  # free extents: start -> end
        self._by_end: dict[int, int] = {}
        self._classes: list[list[int]] = [[] for _ in range(_CLASSES)]  # starts, ascending
        if size:
            self._insert(0, size)

    @classmethod
    def with_gaps(cls, size: int, granularity: int, gaps: list[tuple[int, int]], used_count: int) -> Extents:
        """A space that is in use but for gaps (start and end each, ascending), by so many allocations."""
        made = cls(0, granularity)
        made.size = size
        made.used_count = used_count
        for start, end in gaps:
            made._by_start[start] = end
            made._by_end[end] = start
            made._classes[made._class(end - start)].append(start)
        return made

    def _class(self, size: int) -> int:
        return min(size // self.granularity, _CLASSES - 1)

    def _insert(self, start: int, end: int) -> None:
        self._by_start[start] = end
        self._by_end[end] = start
        insort(self._classes[self._class(end - start)], start)

    def _remove(self, start: int, end: int) -> None:
        del self._by_start[start]
        del self._by_end[end]
        starts = self._classes[self._class(end - start)]
        del starts[bisect_left(starts, start)]

    def round_up(self, size: int) -> int:
        """The octets an allocation of ``size`` takes."""
        return -(-size // self.granularity) * self.granularity

    def allocate(self, size: int) -> int | None:
        """The offset of ``size`` octets (already rounded up), or ``None``."""
        for starts in self._classes[self._class(size) : -1]:
            if starts:
                return self._carve(starts[0], size)
        for start in self._classes[-1]:
            if self._by_start[start] - start >= size:
                return self._carve(start, size)
        return None

    def _carve(self, start: int, size: int) -> int:
        end = self._by_start[start]
        self._remove(start, end)
        if start + size < end:
            self._insert(start + size, end)
        self.used_count += 1
        return start

    def free(self, start: int, size: int) -> None:
        """Give an allocation back."""
        self.free_end(start, size)
        self.used_count -= 1

    def free_end(self, start: int, size: int) -> None:
        """Give the end of an allocation back, and keep the rest."""
        end = start + size
        after = self._by_start.get(end)
        if after is not None:
            self._remove(end, after)
            end = after
        before = self._by_end.get(start)
        if before is not None:
            self._remove(before, start)
            start = before
        self._insert(start, end)

    @property
    def small_free(self) -> int:
        """Free extents below the size of the last class."""
        return sum(len(starts) for starts in self._classes[:-1])

    @property
    def large_free(self) -> int:
        """Free extents of the last class."""
        return len(self._classes[-1])
