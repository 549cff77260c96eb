"""Storage for tests: ``-s debug[,lessspace|maxspace=SIZE][,failevery=N][,dinit=TIME][,dopen=TIME][,SIZE]``.

It is storage on the heap that gives less than it is asked for: always one octet less (*lessspace*), so that bodies come
in more pieces, or nothing any more once an object is of a certain size (*maxspace*); or it refuses each Nth request for
room (*failevery*). It can be slow to start.
"""

from __future__ import annotations

import itertools
import time

from varnishpy.base.units import UnitError, parse_bytes, parse_duration
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.object import StoredObject
from varnishpy.storage.room import NoSpace


class DebugStevedore(MallocStevedore):
    """See the module text.

    :param options: those of ``-s debug`` but for the size
    :raises ValueError: with the text for the user
    """

    def __init__(self, ident: str, limit: int, options: list[str]) -> None:
        super().__init__(ident, limit, "debug")
        self._most = -1  # octets of an object; -1: no limit
        self._less = False
        self._fail_every = 0  # 0: none
        self._asked = itertools.count(1)
        self._init_delay = self._open_delay = 0.0
        for option in options:
            self._take(option)
        if self._less or self._most >= 0:
            self.portion = self._portion

    def _take(self, option: str) -> None:
        name, _, value = option.partition("=")
        if name in ("lessspace", "maxspace") and (self._less or self._most >= 0):
            raise ValueError("-sdebug conflicting options")
        try:
            if name == "lessspace":
                self._less = True
            elif name == "maxspace":
                self._most = parse_bytes(value)
            elif name == "failevery":
                self._fail_every = int(value)
            elif name == "dinit":
                self._init_delay = parse_duration(value)
            else:
                self._open_delay = parse_duration(value)
        except UnitError as error:
            raise ValueError(str(error) if name == "maxspace" else f"(-sdebug) {option}: {error}") from None
        except ValueError:
            raise ValueError(f"(-sdebug) {option}: not a number") from None

    def prepare(self) -> None:
        time.sleep(self._init_delay)

    def open(self) -> None:
        super().open()
        time.sleep(self._open_delay)

    def charge(self, size: int) -> bool:
        if self._fail_every and not next(self._asked) % self._fail_every:
            with self._lock:
                self._requests += 1
                self._failures += 1
            return False
        return super().charge(size)

    def _portion(self, stobj: StoredObject, size: int) -> int:
        if self._most < 0:
            return size - 1 if size > 2 else size
        left = self._most - stobj.length
        if left <= 0:
            raise NoSpace("Could not get storage", f"-sdebug: max_size={self._most} reached")
        return min(size, left)
