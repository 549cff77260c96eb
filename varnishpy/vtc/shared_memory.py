"""A running daemon's shared memory as tests use it: its log followed record by record, its counters by pattern."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from varnishpy.log.cursor import Chunk, LogError, RingCursor
from varnishpy.log.record import Record
from varnishpy.log.tags import Tag
from varnishpy.shm.counters import CounterReader, Point
from varnishpy.shm.reader import SetReader

_MAIN = "MAIN."


class LogTail:
    """Follows a daemon's log over restarts of its child."""

    def __init__(self, workdir: Path) -> None:
        self._reader = SetReader(workdir)
        self._cursor: RingCursor | None = None
        self.problem = ""

    def open(self, tail: bool) -> bool:
        """Find the log; False (``problem`` says why) if there is none yet."""
        self._reader.refresh()
        entries = self._reader.find("Log")
        if not entries:
            self.problem = "No VSL chunk found (child not started ?)"
            return False
        entry = entries[0]
        try:
            self._cursor = RingCursor(self._reader.map(entry), tail, lambda: self._reader.valid(entry))
        except (LogError, OSError) as error:
            self.problem = str(error)
            return False
        return True

    @property
    def is_open(self) -> bool:
        return self._cursor is not None

    def refresh(self) -> None:
        """Look whether the log is still the daemon's."""
        self._reader.refresh()

    def next(self) -> Chunk | None:
        """The next chunk, None if there is none yet.  Raises LogError, after which ``open`` may succeed again."""
        assert self._cursor is not None
        try:
            return self._cursor.next()
        except LogError:
            self._cursor = None
            raise

    def records(self) -> Iterator[Record]:
        """All records there are now.  Raises LogError."""
        while (chunk := self.next()) is not None:
            yield from chunk.records


def show(record: Record) -> str:
    """A record as the log of a test shows it."""
    text = f"[{record.data.hex()}]" if record.binary else record.text
    return f"{record.vxid:10d} {record.name:<15} {record.type_letter} {text}"


IGNORED_TAGS = frozenset({int(tag) for tag in Tag if tag.name == "Witness"})
"""Tags that expectations do not see."""


class Counters:
    """A daemon's counters, by pattern."""

    def __init__(self, workdir: Path) -> None:
        self._reader = CounterReader(SetReader(workdir))

    def refresh(self) -> None:
        self._reader.refresh()

    def points(self) -> Iterator[Point]:
        """Counters that are numbers."""
        for point in self._reader.points():
            if point.kind != "bitmap" or point.format != "bitmap":
                yield point

    def find(self, pattern: str) -> int | None:
        """The value of the first counter whose name matches; ``MAIN.`` may be left out.  None if there is none."""
        for point in self._reader.points():
            name = point.name
            if "." not in pattern:
                if not name.startswith(_MAIN):
                    continue
                name = name[len(_MAIN) :]
            if fnmatchcase(name, pattern):
                return point.value
        return None

    def wait_for(self, pattern: str, seconds: float, pause: float) -> int | None:
        """As ``find``, waiting so long for one to appear."""
        until = time.monotonic() + seconds
        while True:
            self.refresh()
            value = self.find(pattern)
            if value is not None or time.monotonic() >= until:
                return value
            time.sleep(pause)
