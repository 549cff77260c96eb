"""Segments of shared memory, the reading side: finds what a daemon (varnishpy or varnishd) published in its directory.

``refresh()`` looks at both indexes again; it is cheap when nothing has changed. A segment stays usable after it left
the index (its memory is only gone when the last mapping is), but :meth:`SetReader.valid` is then false.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from varnishpy.base.workdir import owner
from varnishpy.shm.writer import CHILD_SET, INDEX, MANAGER_SET


class VsmError(Exception):
    """No running instance was found; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an index."""

    directory: Path
    file: str
    offset: int
    size: int
    category: str
    ident: str
    writer: tuple[int, int]  # process id and start of the writer


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    if "VSM_NOPID" in os.environ:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _map_file(path: Path, size: int) -> mmap.mmap:
    """The whole file, read-only, which has ``size`` octets at least. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, max(size, os.fstat(fd).st_size), prot=mmap.PROT_READ)
    except ValueError as error:  # the file is shorter than the index says
        raise OSError(f"{path.name}: {error}") from error
    finally:
        os.close(fd)


class _Index:
    """The index of one process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = (0, 0)
        self.entries: list[Entry] = []
        self._seen: tuple[int, int, int, int] | None = None

    def refresh(self) -> bool:
        """Read again if it changed; True if it did."""
        path = self.directory / INDEX
        try:
            state = path.stat()
            seen = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            if seen == self._seen:
                return False
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            changed = self._seen is not None
            self._seen = None
            self.entries = []
            self.writer = (0, 0)
            return changed
        self._seen = seen
        self._parse(text)
        return True

    def _parse(self, text: str) -> None:
        entries: dict[tuple[str, ...], Entry] = {}
        for line in text.splitlines():
            parts = line.split()
            if len(parts) == 3 and parts[0] == "#" and parts[1].isdigit() and parts[2].isdigit():
                self.writer = (int(parts[1]), int(parts[2]))
            elif len(parts) in (5, 6) and parts[0] == "+" and parts[2].isdigit() and parts[3].isdigit():
                ident = parts[5] if len(parts) == 6 else ""
                entry = Entry(self.directory, parts[1], int(parts[2]), int(parts[3]), parts[4], ident, self.writer)
                entries[tuple(parts[1:])] = entry
            elif parts and parts[0] == "-":
                entries.pop(tuple(parts[1:]), None)
        self.entries = list(entries.values())


class SetReader:
    """Both sets of the instance in ``workdir``."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self._manager = _Index(workdir / MANAGER_SET)
        self._child = _Index(workdir / CHILD_SET)
        self._maps: WeakValueDictionary[tuple[Path, str], mmap.mmap] = WeakValueDictionary()

    def __enter__(self) -> SetReader:
        """Look once. Raises VsmError if no instance runs there."""
        self.attach(0.0)
        return self

    def __exit__(self, *unused: object) -> None:
        """Nothing is held open."""

    def refresh(self) -> bool:
        """Look again; True if anything changed."""
        changed = self._manager.refresh()
        return self._child.refresh() or changed

    @property
    def manager_running(self) -> bool:
        """True if the process that wrote the manager's index lives."""
        return _alive(self._manager.writer[0])

    @property
    def child_running(self) -> bool:
        """True if there is a child's index and its writer lives."""
        return _alive(self._child.writer[0])

    def attach(
        self,
        patience: float | None = 5.0,
        progress: Callable[[str], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait until the instance runs.

        :param patience: seconds, None for ever
        :param progress: is given dots and a line end while waiting
        :raises VsmError: it does not run
        """
        deadline = None if patience is None else time.monotonic() + patience
        rounds = 0
        while not stopped():
            self.refresh()
            if self.manager_running:
                if progress is not None and rounds > 4:
                    progress("\n")
                return
            forbidden = self._forbidden()
            if forbidden or (deadline is not None and deadline <= time.monotonic()):
                if progress is not None and rounds > 4:
                    progress("\n")
                raise VsmError(forbidden or "Could not get hold of varnishd, is it running?")
            rounds += 1
            if progress is not None and not rounds % 4:
                progress(".")
            time.sleep(0.25)
        raise VsmError("Attach interrupted")

    def _forbidden(self) -> str:
        """Whose the instance is, if we may not look into it, which no wait changes; else empty."""
        try:
            with open(self.workdir / MANAGER_SET / INDEX, "rb"):
                return ""
        except PermissionError:
            pass
        except OSError:
            return ""  # there is none
        return f"Could not get hold of {self.workdir}: permission denied, it belongs to {owner(self.workdir)}"

    def find(self, category: str, ident: str | None = None) -> list[Entry]:
        """Entries of a class (and name), the manager's first."""
        return [
            entry
            for index in (self._manager, self._child)
            for entry in index.entries
            if entry.category == category and (ident is None or entry.ident == ident)
        ]

    def valid(self, entry: Entry) -> bool:
        """True if the entry was in its index at the last refresh and its writer is the same."""
        index = self._manager if entry.directory == self._manager.directory else self._child
        return index.writer == entry.writer and entry in index.entries

    def map(self, entry: Entry) -> memoryview:
        """The segment's memory, read-only. Those that share a file share its mapping. Raises OSError."""
        place = (entry.directory, entry.file)
        memory = self._maps.get(place)
        if memory is None or len(memory) < entry.offset + entry.size:
            memory = self._maps[place] = _map_file(entry.directory / entry.file, entry.offset + entry.size)
        return memoryview(memory)[entry.offset : entry.offset + entry.size]

    def read_text(self, category: str, ident: str) -> str | None:
        """The text of a segment such as Arg, up to its NUL; None if there is none."""
        for entry in self.find(category, ident):
            try:
                return bytes(self.map(entry)).split(b"\0", 1)[0].decode("utf-8", "replace")
            except OSError:
                continue
        return None
