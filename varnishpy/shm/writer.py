"""Segments of shared memory that other programs find by an index (VSM), the writing side.

A process has one set: a directory with files of segments and the text file ``_.index``. The index opens with the line
``# pid seconds``, by which readers tell whether the writer lives and is still the same; ``+`` and ``-`` lines follow,
each ``file offset length class ident``. A line is appended in one write, so a reader never sees half of one. When
removals pile up, the index is written anew and put in place by rename, which readers notice by its inode.

Small segments share files, called clusters: each mapping costs a descriptor on either side and at least a page, and
there may be thousands of backends with counters. A cluster has a line of its own, without class, before those of its
segments, whose offset is never 0. What is freed in it is not given out again, so that no reader sees another segment's
numbers; the file goes when nothing in it is left.

A removed segment leaves the index at once; its file stays for a while (cooling off), for readers that have just read
the index and are about to open it. Where the disk does not take the line, `sweep` brings the index up to date later.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

INDEX = "_.index"
MANAGER_SET = "_.vsm_mgt"
CHILD_SET = "_.vsm_child"


class ShmError(OSError):
    """Shared memory could not be had; the message names the file."""


CLUSTER_SIZE = 32 << 10  # octets of a file that small segments share
_SMALL = CLUSTER_SIZE // 4  # larger ones have a file of their own
_FIRST = 16  # place of a cluster's first segment


class SharedSegment:
    """One segment: ``view`` is its memory, zeroed when new; ``offset`` its place in the file, octets."""

    __slots__ = ("_cluster", "_writer", "category", "file", "ident", "offset", "size", "view")

    def __init__(
        self,
        writer: SetWriter,
        memory: _File,
        offset: int,
        size: int,
        category: str,
        ident: str,
        cluster: _Cluster | None = None,
    ) -> None:
        self._writer = writer
        self._cluster = cluster
        self.file = memory.name
        self.offset = offset
        self.size = size
        self.category = category
        self.ident = ident
        self.view = memory.view[offset : offset + size]

    def line(self, sign: str) -> str:
        """The index line of the segment."""
        return f"{sign} {self.file} {self.offset} {self.size} {self.category} {self.ident}".rstrip() + "\n"

    def free(self) -> None:
        """Take the segment out of the index; its memory stays valid for whoever has it mapped."""
        self._writer.free(self)


@dataclass(slots=True)
class _File:
    """A file that was made and mapped."""

    name: str
    view: memoryview


@dataclass(slots=True, eq=False)
class _Cluster:
    """A file that small segments share."""

    file: _File
    used: int = _FIRST  # octets
    live: int = 0  # segments in the index

    def line(self, sign: str) -> str:
        """The index line, by which readers know that the file is shared."""
        return f"{sign} {self.file.name} 0 {CLUSTER_SIZE}\n"


class SetWriter:
    """The segments of one process in ``directory``, which must exist. Thread safe.

    :param cooldown: seconds a removed segment's file is kept (``vsm_free_cooldown``)
    :param share: small segments may share files. Not in the manager's set, of few segments: the C programs abort where
        its first entry is a cluster
    """

    def __init__(self, directory: Path, mode: int = 0o640, cooldown: float = 60.0, share: bool = True) -> None:
        self.directory = directory
        self.cooldown = cooldown
        self._mode = mode
        self._share = share
        self._lock = threading.Lock()
        self._entries: dict[SharedSegment | _Cluster, None] = {}  # in the index's order: a cluster before what is in it
        self._current: _Cluster | None = None  # the one with room left
        self._removals = 0
        self._cooling: list[tuple[float, str]] = []
        self._head = f"# {os.getpid()} {int(time.time())}\n"
        self._closed = False
        self._behind = False  # the index on disk is not what it should be
        self._write_index()

    def allocate(self, category: str, size: int, ident: str) -> SharedSegment:
        """A new zeroed segment of ``size`` octets, listed in the index when this returns. Raises ShmError.

        Blanks in the ident, which the index cannot hold, become underscores.
        """
        ident = "_".join(ident.split())
        size = max(size + 7 & ~7, 8)
        with self._lock:
            if not self._share or size > _SMALL:
                file = self._make(category, size)
                segment = SharedSegment(self, file, 0, size, category, ident)
                self._list(segment, file)
                return segment
            cluster = self._room(size)
            segment = SharedSegment(self, cluster.file, cluster.used, size, category, ident, cluster)
            self._list(segment)
            cluster.used += size
            cluster.live += 1
        return segment

    def _make(self, category: str, size: int) -> _File:
        """A new file of that size, zeroed and mapped. Raises ShmError."""
        name = f"_.{category}.{secrets.token_hex(8)}"
        path = self.directory / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
            try:
                # reserve the blocks now: a full disk must be an error here, not SIGBUS at the first write
                os.posix_fallocate(fd, 0, size + mmap.PAGESIZE - 1 & -mmap.PAGESIZE)
                return _File(name, memoryview(mmap.mmap(fd, size)))
            except BaseException:
                os.unlink(path)
                raise
            finally:
                os.close(fd)
        except OSError as error:
            raise ShmError(
                error.errno, f"cannot make shared memory of {size} octets: {error.strerror}", str(path)
            ) from error

    def _room(self, size: int) -> _Cluster:
        """A cluster with that many octets left. The lock is held. Raises ShmError."""
        full = self._current
        if full is not None and full.used + size <= CLUSTER_SIZE:
            return full
        file = self._make("Cluster", CLUSTER_SIZE)
        cluster = _Cluster(file)
        self._list(cluster, file)
        self._current = cluster
        if full is not None and not full.live:
            self._unlist(full, full.file.name)
        return cluster

    def _list(self, entry: SharedSegment | _Cluster, file: _File | None = None) -> None:
        """Add to the index; ``file`` is removed if that fails. The lock is held. Raises ShmError."""
        try:
            self._append(entry.line("+"))
        except OSError as error:
            if file is not None:
                os.unlink(self.directory / file.name)
            raise ShmError(error.errno, f"cannot write the index: {error.strerror}", str(self.directory)) from error
        self._entries[entry] = None

    def _unlist(self, entry: SharedSegment | _Cluster, file: str | None) -> None:
        """Take out of the index; ``file`` cools off. The lock is held. Never fails."""
        del self._entries[entry]
        if file is not None:
            self._cooling.append((time.monotonic() + self.cooldown, file))
        if self._closed:
            return
        try:
            if self._removals < 10 or self._removals * 2 < len(self._entries):
                self._append(entry.line("-"))
                self._removals += 1
            else:
                self._write_index()
        except OSError:
            self._behind = True

    def add_text(self, category: str, ident: str, text: str) -> SharedSegment:
        """A segment that holds a NUL-terminated text, e.g. class Arg."""
        data = text.encode() + b"\0"
        segment = self.allocate(category, len(data), ident)
        segment.view[: len(data)] = data
        return segment

    def free(self, segment: SharedSegment) -> None:
        """See :meth:`SharedSegment.free`. A segment freed before is ignored. Never fails."""
        cluster = segment._cluster
        with self._lock:
            if segment not in self._entries:
                return
            self._unlist(segment, segment.file if cluster is None else None)
            if cluster is not None:
                cluster.live -= 1
                if not cluster.live and cluster is not self._current:
                    self._unlist(cluster, cluster.file.name)

    def sweep(self, everything: bool = False) -> None:
        """Remove files that have cooled off, and write the index if it could not be written before."""
        if self._behind:
            with self._lock, contextlib.suppress(OSError):  # the next sweep tries again
                if not self._closed:
                    self._write_index()
        if not self._cooling:
            return
        now = time.monotonic()
        with self._lock:
            due = [file for when, file in self._cooling if everything or when <= now]
            self._cooling = [entry for entry in self._cooling if not (everything or entry[0] <= now)]
        for file in due:
            (self.directory / file).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove index and files: readers see that the set has gone."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            (self.directory / INDEX).unlink(missing_ok=True)
            for entry in self._entries:
                name = entry.file.name if isinstance(entry, _Cluster) else entry.file
                (self.directory / name).unlink(missing_ok=True)
            self._entries.clear()
        self.sweep(everything=True)

    def segments(self) -> list[SharedSegment]:
        """The segments in the index."""
        with self._lock:
            return [entry for entry in self._entries if isinstance(entry, SharedSegment)]

    def _append(self, line: str) -> None:
        if self._behind:
            self._write_index()
        fd = os.open(self.directory / INDEX, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            data = line.encode()
            written = os.write(fd, data)
        finally:
            os.close(fd)
        if written < len(data):  # half a line must not stay
            self._behind = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write_index(self) -> None:
        text = self._head + "".join(entry.line("+") for entry in self._entries)
        temporary = self.directory / f"{INDEX}.{secrets.token_hex(8)}"
        try:
            with open(temporary, "xb", buffering=0, opener=self._open) as file:
                left = memoryview(text.encode())
                while left:
                    left = left[file.write(left) or 0 :]
            os.rename(temporary, self.directory / INDEX)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._removals = 0
        self._behind = False

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags, self._mode)
