"""The journal: what must not come back, written at once.

An object that was purged, banned or replaced and a ban that was made must not be forgotten by a process that dies a
moment later. The index, whose commits wait for the disk, is too slow for the thread that does it. So a line goes into a
file here first: one write(2) into the kernel's memory, which outlives the process. The writer brings the same into the
index soon after, and begins a new file when the old one has grown. What is found at the start is applied again, which
does no harm, for it is applied as a whole and in order.

Each line carries a checksum: a power cut may leave part of one, or blocks of a file without those before them.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Final

from varnishpy.storage.persistent.index import BanRow, Changes

_ENOUGH: Final = 256 << 10  # octets after which a new file is begun

Line = list[object]  # a letter, and what it takes


def gone(number: int) -> Line:
    """No lookup finds the object any more."""
    return ["gone", number]


def times(number: int, t_origin: float, ttl: float, grace: float, keep: float) -> Line:
    """The object has other times now."""
    return ["times", number, t_origin, ttl, grace, keep]


def ban(row: BanRow) -> Line:
    """There is a new ban."""
    return ["ban", *row]


def ban_gone(time: float) -> Line:
    """Everything was tested against a ban."""
    return ["ban_gone", time]


class Replay:
    """What journals say: changes for the index, the highest number in use, and how many lines were not whole."""

    __slots__ = ("broken", "changes", "highest")

    def __init__(self) -> None:
        self.changes = Changes()
        self.highest = 0
        self.broken = 0

    def take(self, line: bytes) -> None:
        """Apply a line, or count it as broken."""
        checksum, _, text = line.partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError
            self._apply(*json.loads(text))
        except (ValueError, TypeError):
            self.broken += 1

    def _apply(self, what: str, *rest: object) -> None:
        changes = self.changes
        if what == "gone":
            (number,) = rest
            changes.gone.append(_whole(number))
            self.highest = max(self.highest, changes.gone[-1])
        elif what == "times":
            number, *moments = rest
            t_origin, ttl, grace, keep = map(_real, moments)
            changes.times.append((t_origin, ttl, grace, keep, _whole(number)))
            self.highest = max(self.highest, changes.times[-1][-1])
        elif what == "ban":
            time, moment, words = rest
            if not isinstance(words, list):
                raise TypeError(words)
            changes.bans.append((_real(time), _real(moment), [str(word) for word in words]))
        elif what == "ban_gone":
            (time,) = rest
            changes.bans_gone.append(_real(time))
        else:
            raise ValueError(what)


class Journal:
    """The files ``journal.N`` of a directory. The caller does the locking.

    :raises OSError: a file cannot be made
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = max((_number(path) for path in self._paths()), default=0)
        self._size = 0
        self._fd = -1
        self._begin()

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("journal.[0-9]*"), key=_number)

    def _begin(self) -> None:
        path = self._directory / f"journal.{self._number + 1}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._number += 1
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, 0

    def replay(self) -> Replay:
        """What the files before ours say. Raises `OSError`."""
        found = Replay()
        for path in self._paths():
            if _number(path) < self._number:
                for line in path.read_bytes().split(b"\n"):
                    if line:
                        found.take(line)
        return found

    def write(self, line: Line) -> None:
        """Add a line; it outlives this process when this returns. Raises `OSError`."""
        text = json.dumps(line, separators=(",", ":")).encode()
        octets = b"%08x %s\n" % (zlib.crc32(text), text)
        done = os.write(self._fd, octets)
        self._size += done
        if done < len(octets):  # the next line is not to be part of this one
            with contextlib.suppress(OSError):
                os.write(self._fd, b"\n")
            raise OSError("the journal took only part of a line")

    def turn(self) -> int:
        """Begin a new file if this one is large; the number of the first file that is still needed."""
        if self._size >= _ENOUGH:
            self._begin()
        return self._number

    def forget(self, number: int) -> None:
        """What is in files before that number is in the index."""
        for path in self._paths():
            if _number(path) < number:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _real(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def _number(path: Path) -> int:
    suffix = path.suffix[1:]
    return int(suffix) if suffix.isdecimal() else 0
