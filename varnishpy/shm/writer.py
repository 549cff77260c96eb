"""Segments of shared memory that other programs find by an index (VSM), the writing side.

A process has one set: a directory with a file per segment and the text file ``_.index``. The index opens with the
line ``# pid seconds``, by which readers tell whether the writer lives and is still the same; ``+`` and ``-`` lines
follow, each ``file offset length class ident``. A line is appended in one write, so a reader never sees half of one.
When removals pile up, the index is written anew and put in place by rename, which readers notice by its inode.

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
from pathlib import Path

INDEX = "_.index"
MANAGER_SET = "_.vsm_mgt"
CHILD_SET = "_.vsm_child"


class ShmError(OSError):
    """Shared memory could not be had; the message names the file."""


class SharedSegment:
    """One segment: ``view`` is its memory, zeroed when new."""

    __slots__ = ("_writer", "category", "file", "ident", "size", "view")

    def __init__(self, writer: SetWriter, file: str, size: int, category: str, ident: str, view: memoryview) -> None:
        self._writer = writer
        self.file = file
        self.size = size
        self.category = category
        self.ident = ident
        self.view = view

    def line(self, sign: str) -> str:
        """The index line of the segment."""
        return f"{sign} {self.file} 0 {self.size} {self.category} {self.ident}".rstrip() + "\n"

    def free(self) -> None:
        """Take the segment out of the index; its memory stays valid for whoever has it mapped."""
        self._writer.free(self)


class SetWriter:
    """The segments of one process in ``directory``, which must exist. Thread safe.

    :param cooldown: seconds a removed segment's file is kept (``vsm_free_cooldown``)
    """

    def __init__(self, directory: Path, mode: int = 0o640, cooldown: float = 60.0) -> None:
        self.directory = directory
        self.cooldown = cooldown
        self._mode = mode
        self._lock = threading.Lock()
        self._segments: list[SharedSegment] = []
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
        name = f"_.{category}.{secrets.token_hex(8)}"
        path = self.directory / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
            try:
                # reserve the blocks now: a full disk must be an error here, not SIGBUS at the first write
                os.posix_fallocate(fd, 0, size + mmap.PAGESIZE - 1 & -mmap.PAGESIZE)
                memory = mmap.mmap(fd, size)
            except BaseException:
                os.unlink(path)
                raise
            finally:
                os.close(fd)
        except OSError as error:
            raise ShmError(
                error.errno, f"cannot make shared memory of {size} octets: {error.strerror}", str(path)
            ) from error
        segment = SharedSegment(self, name, size, category, ident, memoryview(memory))
        with self._lock:
            try:
                self._append(segment.line("+"))
            except OSError as error:
                os.unlink(path)
                raise ShmError(error.errno, f"cannot write the index: {error.strerror}", str(path)) from error
            self._segments.append(segment)
        return segment

    def add_text(self, category: str, ident: str, text: str) -> SharedSegment:
        """A segment that holds a NUL-terminated text, e.g. class Arg."""
        data = text.encode() + b"\0"
        segment = self.allocate(category, len(data), ident)
        segment.view[: len(data)] = data
        return segment

    def free(self, segment: SharedSegment) -> None:
        """See :meth:`SharedSegment.free`. A segment freed before is ignored. Never fails."""
        with self._lock:
            if segment not in self._segments:
                return
            self._segments.remove(segment)
            self._cooling.append((time.monotonic() + self.cooldown, segment.file))
            if self._closed:
                return
            try:
                if self._removals < 10 or self._removals * 2 < len(self._segments):
                    self._append(segment.line("-"))
                    self._removals += 1
                else:
                    self._write_index()
            except OSError:
                self._behind = True

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
            for segment in self._segments:
                (self.directory / segment.file).unlink(missing_ok=True)
            self._segments.clear()
        self.sweep(everything=True)

    def segments(self) -> list[SharedSegment]:
        """The segments in the index."""
        with self._lock:
            return list(self._segments)

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
        text = self._head + "".join(segment.line("+") for segment in self._segments)
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
