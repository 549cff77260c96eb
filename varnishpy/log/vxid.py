"""Transaction ids (VXID): one sequence shared by sessions, requests and fetches, handed out in chunks.

A worker keeps a private :class:`VxidChunk`, so that taking an id needs no lock. ``debug.xid`` restarts the sequence at
a given number and sets the chunk size (1: ids predictable for test scripts); chunks taken before are given up.
"""

from __future__ import annotations

import threading

DEFAULT_CHUNK = 32768
LIMIT_1 = (1 << 30) - 1  # ids in a VSLHEAD1 log have 30 bits
LIMIT_2 = 999_999_999_999_999  # VRT_INTEGER_MAX: fits a VCL INT


class _Sequence:
    """The shared sequence."""

    __slots__ = ("base", "chunk", "generation", "limit", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.base = 1
        self.chunk = DEFAULT_CHUNK
        self.generation = 0
        self.limit = LIMIT_1

    def take(self) -> tuple[int, int, int]:
        """Reserve a chunk: first id, number of ids, generation."""
        with self.lock:
            if self.base + self.chunk > self.limit:
                self.base = 1
            first = self.base
            self.base += self.chunk
            return first, self.chunk, self.generation


_sequence = _Sequence()


class VxidChunk:
    """Ids reserved for one thread; not thread safe."""

    __slots__ = ("_generation", "_left", "_next")

    def __init__(self) -> None:
        self._next = 0
        self._left = 0
        self._generation = -1

    def next(self) -> int:
        """The next id, never 0."""
        if not self._left or self._generation != _sequence.generation:
            self._next, self._left, self._generation = _sequence.take()
        self._left -= 1
        vxid = self._next
        self._next += 1
        return vxid


_shared = VxidChunk()
_shared_lock = threading.Lock()


def next_vxid() -> int:
    """An id for a caller without a chunk of its own. Thread safe."""
    with _shared_lock:
        return _shared.next()


def set_limit(layout: int) -> None:
    """Wrap ids where the layout's id field ends."""
    _sequence.limit = LIMIT_1 if layout == 1 else LIMIT_2


def debug_xid(xid: int | None = None, chunk: int = 1) -> tuple[int, int]:
    """``debug.xid [xid [chunk]]``: restart the sequence. Returns the next id to hand out and the chunk size.

    With layout 1 it is the id handed out last, as it was in the releases whose programs read that layout: a test
    program of those says 999 where a newer one says 1000.
    """
    with _sequence.lock:
        offset = 1 if _sequence.limit == LIMIT_1 else 0
        if xid is not None:
            _sequence.base = max(xid + offset, 1)
            _sequence.chunk = max(chunk, 1)
            _sequence.generation += 1
        return _sequence.base - offset, _sequence.chunk
