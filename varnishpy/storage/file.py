"""Storage in a file: ``-s file,path[,size[,granularity[,advice]]]``.

The file is mapped, and bodies are copied into extents of it, so that the kernel pages them out and in. It holds nothing
that survives a restart.

A piece is a view of a ctypes array laid over its extent. Whoever sends the piece keeps the array alive; when its last
view is gone, a finalizer puts the extent on a queue, and the next allocation takes it from there. So an extent is never
written anew under a view that is still being sent. The finalizer runs wherever the last view dies, under whatever lock,
hence takes none: appending to a deque is atomic.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import stat
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable

from varnishpy import stats
from varnishpy.base.locks import make_lock
from varnishpy.base.units import UnitError, parse_bytes
from varnishpy.storage.extents import Extents
from varnishpy.storage.figures import publish
from varnishpy.storage.room import StorageError
from varnishpy.storage.source import Piece
from varnishpy.storage.stevedore import Stevedore

MINIMUM_PAGES = 128

_ADVICE = {"normal": "MADV_NORMAL", "random": "MADV_RANDOM", "sequential": "MADV_SEQUENTIAL"}


class FileStevedore(Stevedore):
    """See the module text.

    :param path: a file, which is created if need be, or a directory to make a nameless one in
    :param size: as on the command line; may be empty where the file exists and has a size
    :param granularity: octets; raised to the block size of the file system
    :param advice: ``normal``, ``random`` or ``sequential``, for madvise(2)
    :raises ValueError: wrong arguments, with the text for the user
    """

    def __init__(self, ident: str, path: str, size: str = "", granularity: str = "", advice: str = "") -> None:
        super().__init__(ident, "file")
        if not path:
            raise ValueError("(-sfile) path is mandatory")
        self.path = path
        self._size_text = size
        self._granularity = mmap.PAGESIZE
        if granularity:
            try:
                self._granularity = parse_bytes(granularity)
            except UnitError as exc:
                raise ValueError(f'(-sfile) granularity "{granularity}": {exc}') from None
            if self._granularity < 1 or self._granularity & (self._granularity - 1):
                raise ValueError(f'(-sfile) granularity "{granularity}": must be a power of two')
        if advice and advice not in _ADVICE:
            raise ValueError(f'(-s file) invalid advice: "{advice}"')
        self._advice = getattr(mmap, _ADVICE[advice or "random"], None)
        self._lock = make_lock("smf")
        self._freed: deque[tuple[int, int]] = deque()
        self._map: mmap.mmap | None = None
        self._extents = Extents(0, self._granularity)
        self._used = 0
        self._requests = 0
        self._failures = 0
        self._given_back = 0
        self._segment: stats.Collected[stats.SmfName] | None = None

    # -- opening ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Can the file be had, and is the size right? For the manager, before a child is started.

        :raises ValueError: with the text for the user
        """
        fd, created = self._open_file()
        try:
            self._file_size(fd)
        except ValueError:
            if created:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
            raise
        finally:
            os.close(fd)

    def _open_file(self) -> tuple[int, bool]:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), True
        except OSError:
            pass  # it exists, or cannot be made: what it is decides
        try:
            mode = os.stat(self.path).st_mode
        except OSError:
            raise ValueError(f'(-sfile) "{self.path}" does not exist and could not be created') from None
        if stat.S_ISDIR(mode):
            try:
                fd, name = tempfile.mkstemp(prefix="varnishpy.", dir=self.path)
            except OSError as exc:
                raise ValueError(f'(-sfile) "{self.path}" mkstemp failed ({exc.strerror})') from None
            os.unlink(name)
            return fd, False
        if not stat.S_ISREG(mode):
            raise ValueError(f'(-sfile) "{self.path}" is neither file nor directory')
        try:
            return os.open(self.path, os.O_RDWR | os.O_CLOEXEC), False
        except OSError as exc:
            raise ValueError(f'(-sfile) "{self.path}" could not open ({exc.strerror})') from None

    def _file_size(self, fd: int) -> int:
        fs = os.fstatvfs(fd)
        self._granularity = max(self._granularity, fs.f_bsize)
        current = os.fstat(fd).st_size
        if not self._size_text:
            if not current:
                raise ValueError("(-sfile) no size specified")
            size = current
        else:
            try:
                size = parse_bytes(self._size_text)
            except UnitError as exc:
                raise ValueError(f'(-sfile) size "{self._size_text}": {exc}') from None
            if size < 1 << 20:
                raise ValueError(
                    f'(-sfile) size "{self._size_text}": too small, did you forget to specify M or G?'
                )  # fmt: skip
            if size > fs.f_frsize * fs.f_blocks:
                raise ValueError(f'(-sfile) size "{self._size_text}": larger than file system')
        return size - size % self._granularity

    def open(self) -> None:
        try:
            fd, _ = self._open_file()
        except ValueError as exc:
            raise StorageError(str(exc)) from None
        try:
            size = self._file_size(fd)
            if size < MINIMUM_PAGES * mmap.PAGESIZE:
                least = MINIMUM_PAGES * mmap.PAGESIZE / (1 << 20)
                raise StorageError(f"-sfile too small for this architecture, minimum size is {least:g} MB")
            os.ftruncate(fd, size)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(fd, 0, size)
                except OSError as refused:
                    raise StorageError(f"(-sfile) allocation error: {refused.strerror}") from None
            self._map = mmap.mmap(fd, size)
        except ValueError as exc:
            raise StorageError(str(exc)) from None
        finally:
            os.close(fd)
        if self._advice is not None:
            self._map.madvise(self._advice)
        self._extents = Extents(size, self._granularity)
        self._segment = stats.collected(stats.SMF, self.ident, self._fill)

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
        with self._lock:
            self._extents = Extents(0, self._granularity)
            mapping, self._map = self._map, None
        if mapping is not None:
            with contextlib.suppress(
                BufferError
            ):  # views still being sent keep the map alive, and then it closes itself
                mapping.close()

    # -- pieces ----------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Take back what finalizers reported; our lock is held."""
        while self._freed:
            start, size = self._freed.popleft()  # nobody else takes from it
            self._extents.free(start, size)
            self._used -= size
            self._given_back += size

    def _allocate(self, size: int) -> memoryview | None:
        with self._lock:
            mapping = self._map
            if mapping is None:
                return None
            self._requests += 1
            self._reap()
            taken = self._extents.round_up(size)
            start = self._extents.allocate(taken)
            if start is None:
                self._failures += 1
                return None
            self._used += taken
            array = (ctypes.c_ubyte * size).from_buffer(mapping, start)
        weakref.finalize(array, self._freed.append, (start, taken)).atexit = False
        return memoryview(array).cast("B")

    def _fill(self, counters: stats.Counters[stats.SmfName]) -> None:
        with self._lock:
            self._reap()
            extents = self._extents
            used, freed, requests, failures = self._used, self._given_back, self._requests, self._failures
            allocations, small, large = extents.used_count, extents.small_free, extents.large_free
        publish(counters, requests=requests, failures=failures, used=used, freed=freed, allocations=allocations)
        counters.set("g_space", extents.size - used)
        counters.set("g_smf", allocations + small + large)
        counters.set("g_smf_frag", small)
        counters.set("g_smf_large", large)

    def keep(self, data: bytes) -> Piece | None:
        piece = self._allocate(len(data))
        if piece is not None:
            piece[:] = data
        return piece

    def buffer(self, size: int) -> memoryview | None:
        return self._allocate(size)

    def trim(self, piece: memoryview, used: int) -> Piece:
        extents = self._extents
        if extents.round_up(used) < extents.round_up(len(piece)):
            smaller = self.keep(bytes(piece[:used]))
            if smaller is not None:
                return smaller
        return piece[:used]

    def release(self, pieces: Iterable[Piece]) -> None:
        """Nothing to do: an extent is free when its last view is gone."""

    @property
    def used_space(self) -> int:
        with self._lock:
            self._reap()
            return self._used

    @property
    def free_space(self) -> int:
        with self._lock:
            self._reap()
            return self._extents.size - self._used
