"""The log in shared memory: a ring of records that any number of processes may read while this one writes.

Layout (all in the byte order and word size of the machine, as the C programs see it)::

    0   marker       "VSLHEAD1" or "VSLHEAD2"
    8   segsize      32-bit words in one of the eight segments
    16  segment_n    number of the segment being written; its low three bits are the segment's place
    24  offset[8]    for each segment, the word at which its first record begins (-1: never written)
    88  log          8 * segsize words of records

A reader walks from record to record. At the word where the next record will begin stands the end marker, and a record's
first word is the last thing written of it, so a reader sees either the end marker or a whole record; the end marker
after it is in place before. Where the ring starts over stands the wrap marker. Writers never look at readers: one that
falls more than six segments behind learns so from ``segment_n``, which advances before the memory is reused.

A batch is a record of tag 255 whose second word is the length in octets of the records that follow it.
"""

from __future__ import annotations

import struct
import threading
from typing import Final

from varnishpy.log.record import HEADER_SIZE
from varnishpy.log.tags import BATCH, RESERVED

SEGMENTS: Final = 8
HEAD_SIZE: Final = 88
END_MARKER: Final = RESERVED << 24 | 0x454545
WRAP_MARKER: Final = RESERVED << 24 | 0x575757
MARKERS: Final = {1: b"VSLHEAD1", 2: b"VSLHEAD2"}
MINIMUM_SPACE: Final = 64 * 1024

_HEAD: Final = struct.Struct("=8sqI4x8q")
_BATCH_WORD: Final = BATCH << 24


class LogRing:
    """The writer of a ring, in the memory given. Thread safe; a sink for ``tasklog.set_sink``."""

    def __init__(self, memory: memoryview, layout: int) -> None:
        """Lay an empty ring into ``memory``. Raises ValueError if it is too small."""
        if layout not in MARKERS:
            raise ValueError(f"vsl_layout must be 1 or 2, not {layout}")
        if len(memory) < MINIMUM_SPACE:
            raise ValueError(f"a log needs {MINIMUM_SPACE} octets of memory or more, not {len(memory)}")
        self.layout = layout
        self._overhead = HEADER_SIZE[layout] // 4
        self._segsize = (len(memory) - HEAD_SIZE) // 4 // SEGMENTS
        self._end = self._segsize * SEGMENTS
        self._memory = memory
        self._log = memory[HEAD_SIZE : HEAD_SIZE + self._end * 4]
        # one store per word: readers must never see half a word
        self._words = self._log.cast("I")
        self._segment_word = memory[16:20].cast("I")
        self._offsets = memory[24:88].cast("q")
        self._ptr = 0
        # the number overflows at the first wrap, so that a reader which cannot cope is found out early
        self._segment_n = 2**32 - SEGMENTS
        self._lock = threading.Lock()
        self.records = self.writes = self.flushes = self.contended = self.cycles = self.octets = 0
        self._words[0] = END_MARKER
        _HEAD.pack_into(memory, 0, b"\0" * 8, self._segsize, self._segment_n, 0, *([-1] * (SEGMENTS - 1)))
        memory[:8] = MARKERS[layout]

    def write_batch(self, data: bytes, records: int, overflow: bool, ahead: bytes = b"") -> None:
        """Append the records of one transaction, which ``data`` holds in the ring's layout; see `tasklog.Sink`."""
        if len(data) + len(ahead) > self._segsize * 2:
            if ahead:
                self.write_record(ahead)
            for piece in self._pieces(data):
                self._write(piece, True, 1, False, b"")
            return
        self._write(data, True, records, overflow, ahead)

    def write_record(self, data: bytes) -> None:
        """Append a single record."""
        self._write(b"", False, 0, False, data)

    def _pieces(self, data: bytes) -> list[bytes]:
        """Every record of an oversized batch by itself: vsl_buffer is larger than half a segment of the log."""
        pieces = []
        position = 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 2], "little")
            end = position + self._overhead * 4 + (length + 3 & ~3)
            pieces.append(data[position:end])
            position = end
        return pieces

    def _write(self, data: bytes, batch: bool, records: int, overflow: bool, single: bytes) -> None:
        """Append a single record, if there is one, and a batch, if there is one: readers see both or neither."""
        lock = self._lock
        waited = not lock.acquire(False)
        if waited:
            lock.acquire()
        try:
            words = self._words
            alone = len(single) // 4
            need = alone
            if batch:
                need += len(data) // 4 + self._overhead
            if self._ptr + need >= self._end:
                self._wrap()
            ptr = self._ptr
            end = ptr + need
            words[end] = END_MARKER
            segment = self._segment_n
            if end // self._segsize > segment % SEGMENTS:
                while end // self._segsize > segment % SEGMENTS:
                    segment += 1
                    self._offsets[segment % SEGMENTS] = end
                self._segment_n = segment
                self._segment_word[0] = segment
            if batch:
                at = ptr + alone
                words[at + 1] = len(data)
                start = (at + self._overhead) * 4
                self._log[start : end * 4] = data
                words[at] = _BATCH_WORD
                self.records += records
            if alone:
                self._log[ptr * 4 + 4 : (ptr + alone) * 4] = single[4:]
                words[ptr] = int.from_bytes(single[:4], "little")
                self.records += 1
            self._ptr = end
            self.writes += 1
            self.octets += need * 4
            if overflow:
                self.flushes += 1
            if waited:
                self.contended += 1
        finally:
            lock.release()

    def _wrap(self) -> None:
        """Start over at the front; the caller holds the lock."""
        segment = (self._segment_n // SEGMENTS + 1) * SEGMENTS % 2**32
        self._offsets[0] = 0
        self._words[0] = END_MARKER
        if self._ptr:
            self._words[self._ptr] = WRAP_MARKER
        self._ptr = 0
        self._segment_n = segment
        self._segment_word[0] = segment
        self.cycles += 1

    def counters(self) -> dict[str, int]:
        """What MAIN.shm_* show."""
        return {
            "shm_records": self.records, "shm_writes": self.writes, "shm_flushes": self.flushes,
            "shm_cont": self.contended, "shm_cycles": self.cycles, "shm_bytes": self.octets,
        }  # fmt: skip
