"""The data file of a persistent storage: bodies and heads in extents of one large file.

Who needs room takes a `Run`; the writer's thread fills it with `DataFile.write`; readers look at it through the
kernel's page cache (`DataFile.window`), so a body that is served is neither read into memory nor copied. The file is
as long as the storage is large, but has holes where nothing was written yet. It is written by pwrite(2), never through
the map: a full disk is then an error that can be handled, not the end of the process.

A run is in use while something *holds* it: the object that it belongs to, and the window, which lives as long as
anybody sends from it. The window is a ctypes array laid over the map; its finalizer runs wherever the last view of it
dies, under whatever lock, hence takes none: appending to a deque is atomic, and the next who needs room looks there.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import weakref
import zlib
from collections import deque
from pathlib import Path
from typing import Final

from varnishpy.base.locks import make_lock
from varnishpy.storage.extents import Extents
from varnishpy.storage.persistent.records import Span
from varnishpy.storage.source import Piece

GRANULE: Final = 512
_MAGIC: Final = b"varnishpy persistent storage 1\n\0"
_LABEL: Final = 16  # octets behind the magic number that are the same in the index


class DataDamaged(Exception):
    """The file is not what it should be; the text says why."""


class Run:
    """An extent in use; ``length`` octets of it are written, or will be, ``checksum`` is of those that are."""

    __slots__ = ("checksum", "holds", "length", "size", "start", "window")

    def __init__(self, start: int, size: int, length: int = 0, checksum: int = 0) -> None:
        self.start = start
        self.size = size
        self.length = length
        self.checksum = checksum
        self.holds = 1
        self.window: memoryview | None = None

    @property
    def span(self) -> Span:
        """As the index knows it."""
        return Span(self.start, self.length, self.checksum)


class DataFile:
    """See the module text.

    :param path: made if it is not there
    :param size: octets
    :raises OSError: it cannot be had
    :raises DataDamaged: it is something else
    """

    def __init__(self, path: Path, size: int) -> None:
        self._lock = make_lock("smp")
        self._freed: deque[Run] = deque()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(self._fd).st_size
            if not before:
                os.pwrite(self._fd, _MAGIC + os.urandom(_LABEL), 0)
                os.fsync(self._fd)  # before an index has the label
            first = os.pread(self._fd, len(_MAGIC) + _LABEL, 0)
            if len(first) < len(_MAGIC) + _LABEL or not first.startswith(_MAGIC):
                raise DataDamaged("it is no data file of this version")
            self.label = first[len(_MAGIC) :]
            self.size = max(size - size % GRANULE, 4 * GRANULE)
            self.readable = before  # what was there before: no object can lie beyond
            if before < self.size:
                os.ftruncate(self._fd, self.size)
            self._map: mmap.mmap | None = mmap.mmap(self._fd, self.size)
            self._map.madvise(mmap.MADV_RANDOM)
        except BaseException:
            os.close(self._fd)
            raise
        self._extents = Extents(0, GRANULE)
        self.used = 0
        self.given_back = 0
        self.allocations = 0

    def lay_out(self, taken: list[tuple[int, int]]) -> None:
        """Tell which parts are in use, before anything else is done.

        :param taken: start and length of each, ascending
        :raises DataDamaged: two of them overlap, or one lies outside
        """
        end = GRANULE  # the first one is the file's own
        gaps: list[tuple[int, int]] = []
        used = 0
        for start, length in taken:
            size = -(-length // GRANULE) * GRANULE or GRANULE
            if start < end or start % GRANULE or start + size > self.size:
                raise DataDamaged(f"two pieces lie at {start}, or one lies outside")
            if start > end:
                gaps.append((end, start))
            end = start + size
            used += size
        if end < self.size:
            gaps.append((end, self.size))
        with self._lock:
            self._extents = Extents.with_gaps(self.size, GRANULE, gaps, len(taken))
            self.used, self.allocations = used, len(taken)

    def shorten(self) -> None:
        """Cut off what lies beyond our size; nothing there is in use any more. Raises `OSError`."""
        if self.readable > self.size:
            os.ftruncate(self._fd, self.size)

    # -- room ----------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Take back what was let go of; our lock is held."""
        freed = self._freed
        while freed:
            run = freed.popleft()
            run.holds -= 1
            if not run.holds:
                self._extents.free(run.start, run.size)
                self.used -= run.size
                self.given_back += run.size
                self.allocations -= 1

    def take(self, size: int, wanted: int = 0) -> Run | None:
        """Room for so many octets, better for ``wanted``; ``None``: there is none in one stretch."""
        with self._lock:
            self._reap()
            for octets in (max(size, wanted), size):
                taken = _round_up(octets)
                start = self._extents.allocate(taken)
                if start is not None:
                    self.used += taken
                    self.allocations += 1
                    return Run(start, taken)
        return None

    def shrink(self, run: Run) -> None:
        """Give back what a run has beyond its length; nobody has a window of it yet."""
        size = _round_up(run.length)
        with self._lock:
            if size < run.size:
                self._extents.free_end(run.start + size, run.size - size)
                self.used -= run.size - size
                self.given_back += run.size - size
                run.size = size

    def adopt(self, span: Span) -> Run:
        """The run of a piece that was there at the start."""
        return Run(span.start, _round_up(span.length), span.length, span.checksum)

    def let_go(self, run: Run) -> None:
        """The object that it belongs to is gone. Any thread, any lock."""
        run.window = None
        self._freed.append(run)

    def free_span(self, span: Span) -> None:
        """Give back a piece that was there at the start and that nobody has looked at."""
        self._freed.append(self.adopt(span))

    @property
    def space(self) -> int:
        """Octets not in use."""
        return self.size - GRANULE - self.used

    def count(self) -> tuple[int, int, int]:
        """Octets in use, octets given back since the start, allocations."""
        with self._lock:
            self._reap()
            return self.used, self.given_back, self.allocations

    # -- octets --------------------------------------------------------------------------------------------------------

    def write(self, run: Run, offset: int, octets: Piece) -> None:
        """Fill a part of a run; parts come in order. Raises `OSError`."""
        done = 0
        while done < len(octets):
            done += os.pwrite(self._fd, memoryview(octets)[done:], run.start + offset + done)
        run.checksum = zlib.crc32(octets, run.checksum)

    def sync(self) -> None:
        """What was written is on the disk when this returns. Raises `OSError`."""
        os.fdatasync(self._fd)

    def read(self, span: Span) -> bytes | None:
        """A piece as it was written; ``None``: it is not that any more, or cannot be read."""
        try:
            octets = os.pread(self._fd, span.length, span.start)
        except OSError:
            return None
        return octets if len(octets) == span.length and zlib.crc32(octets) == span.checksum else None

    def window(self, run: Run) -> memoryview | None:
        """A view of a run, all of whose views keep it from being written anew; ``None``: it is in use no more.

        It has the length of the run's extent, so that views of what is written later can be had from it.
        """
        window = run.window
        if window is None:
            with self._lock:
                if not run.holds or self._map is None:
                    return None
                array = (ctypes.c_ubyte * run.size).from_buffer(self._map, run.start)
                run.holds += 1
            weakref.finalize(array, self._freed.append, run).atexit = False
            window = run.window = memoryview(array).cast("B")
        return window

    def find(self, span: Span, texts: list[bytes]) -> bool:
        """Does one of the texts stand in a piece?"""
        mapping = self._map
        if mapping is None:
            return False
        end = span.start + span.length
        return any(mapping.find(text, span.start, end) >= 0 for text in texts)

    def close(self) -> None:
        """Give the file back; views still being sent keep the map alive, and then it closes itself."""
        with self._lock:
            self._extents = Extents(0, GRANULE)
            mapping, self._map = self._map, None
        if mapping is not None:
            with contextlib.suppress(BufferError):
                mapping.close()
        os.close(self._fd)


def _round_up(size: int) -> int:
    return -(-size // GRANULE) * GRANULE or GRANULE
