"""Faults of the system at will: the shim (`shim.c`) compiled, and the file through which it is told what to do."""

from __future__ import annotations

import errno
import mmap
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CALLS: Final = (
    *("clock", "recv", "send", "accept", "connect", "socket"),
    *("thread", "eventfd", "epoll", "write", "open"),
)
"""In the order of the shim's enum."""

SHORT: Final = "short"
_SLOT: Final = struct.Struct("iiIIq")
_SLOTS: Final = 128
_SOURCE: Final = Path(__file__).with_name("shim.c")


class NoCompiler(Exception):
    """There is no C compiler, or it does not like the shim; the text is what it said."""


class Shim:
    """The shim for one cache. Rates are failures in a million calls.

    :param directory: where the library and the file go
    :raises NoCompiler:
    """

    def __init__(self, directory: Path) -> None:
        self._library = directory / "shim.so"
        try:
            subprocess.run(
                ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise NoCompiler("there is no C compiler (cc)") from None
        except subprocess.CalledProcessError as error:
            raise NoCompiler(error.stderr) from None
        self._path = directory / "faults"
        self._path.write_bytes(bytes(_SLOT.size * _SLOTS))
        with open(self._path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._set: list[str] = []  # what stands in the slots, from the second on

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with to have such faults."""
        return {"LD_PRELOAD": str(self._library), "VARNISHPY_FAULTS": str(self._path)}

    def spare(self, pid: int) -> None:
        """A process that has no faults: the manager."""
        ahead = _SLOT.unpack_from(self._map)[4]
        _SLOT.pack_into(self._map, 0, 0, 0, 0, pid, ahead)

    def set_clock(self, ahead: int) -> None:
        """Set the clock of the wall, in seconds ahead of what it is."""
        pid = _SLOT.unpack_from(self._map)[3]
        _SLOT.pack_into(self._map, 0, 0, 0, 0, pid, ahead)

    def set(self, rates: Mapping[str, int]) -> None:
        """From now on calls fail so: ``{"send ECONNRESET": 1000, "recv short": 50000}``; nothing else does."""
        self.calm()
        self._set = list(rates)
        for number, (name, rate) in enumerate(rates.items(), 1):
            call, _, how = name.partition(" ")
            code = 0 if how == SHORT else int(getattr(errno, how))
            _SLOT.pack_into(self._map, number * _SLOT.size, CALLS.index(call), code, rate, 0, 0)

    def calm(self) -> None:
        """No more faults; the counts stay until the next `set`."""
        for number in range(1, _SLOTS):
            call, code, _, spare, count = _SLOT.unpack_from(self._map, number * _SLOT.size)
            _SLOT.pack_into(self._map, number * _SLOT.size, call, code, 0, spare, count)

    def counts(self) -> dict[str, int]:
        """How often each fault has happened since it was `set`."""
        rows = [_SLOT.unpack_from(self._map, number * _SLOT.size) for number in range(1, len(self._set) + 1)]
        return {name: row[4] for name, row in zip(self._set, rows, strict=True)}
