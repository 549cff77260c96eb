"""Reading a log: cursors over the ring in shared memory and over files that ``log -w`` wrote.

A cursor hands out *chunks*: the records of one batch, or a single record, copied out of the ring. After the copy it
looks again at how far the writer has come, so what it returns was not overwritten meanwhile.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from varnishpy.log.record import HEADER_SIZE, Record, parse_records
from varnishpy.log.ring import END_MARKER, HEAD_SIZE, MARKERS, SEGMENTS, WRAP_MARKER
from varnishpy.log.tags import BATCH

#: how a file of records begins, by layout
FILE_IDS = {1: b"VSL\0", 2: b"VSL2"}


class LogError(Exception):
    """The log cannot be read; the message is for the user."""


class LogOverrun(LogError):
    """The reader was too slow: records it wanted are overwritten."""


class LogGone(LogError):
    """The log's process has gone, or started anew."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that were written together; ``batch``: they are (part of) one transaction."""

    records: list[Record]
    batch: bool


class RingCursor:
    """Follows the ring in ``memory``.

    :param tail: start at the newest record, else as far back as is safe
    :param valid: tells whether the segment is still the one in the index
    """

    def __init__(self, memory: memoryview, tail: bool = True, valid: Callable[[], bool] | None = None) -> None:
        marker = bytes(memory[:8])
        layouts = {text: layout for layout, text in MARKERS.items()}
        if marker not in layouts:
            raise LogError("Not a VSL chunk")
        self.layout = layouts[marker]
        (self._segsize,) = struct.unpack_from("=q", memory, 8)
        self._end = self._segsize * SEGMENTS
        if self._segsize <= 0 or HEAD_SIZE + self._end * 4 > len(memory):
            raise LogError("Not a VSL chunk")
        self._log = memory[HEAD_SIZE : HEAD_SIZE + self._end * 4]
        self._words = self._log.cast("I")
        self._segment_word = memory[16:20].cast("I")
        self._offsets = memory[24:88].cast("q")
        self._overhead = HEADER_SIZE[self.layout] // 4
        self._valid = valid
        self._ptr = 0
        self._segment = 0
        self._reset(tail)

    def _reset(self, tail: bool) -> None:
        segment = self._segment_word[0]
        if not tail:
            # five segments back: even if the writer moves on at once, a whole one is left to read
            segment = segment - (SEGMENTS - 3) & 0xFFFFFFFF
            while self._offsets[segment % SEGMENTS] < 0 and segment % SEGMENTS:
                segment = segment + 1 & 0xFFFFFFFF
        self._segment = segment
        self._ptr = max(self._offsets[segment % SEGMENTS], 0)
        if tail:
            while self._advance(parse=False) is not None:
                pass

    def next(self) -> Chunk | None:
        """The next chunk, or None if there is none yet. Raises LogOverrun or LogGone."""
        return self._advance(parse=True)

    def _distance(self) -> int:
        return self._segment_word[0] - self._segment & 0xFFFFFFFF

    def _too_slow(self) -> LogError:
        if self._valid is not None and not self._valid():
            return LogGone("Log abandoned (vsl)")
        return LogOverrun("Log overrun")

    def _advance(self, parse: bool) -> Chunk | None:
        words = self._words
        while True:
            if self._distance() >= SEGMENTS - 2:
                raise self._too_slow()
            word = words[self._ptr]
            if word in (END_MARKER, 0):
                if self._valid is not None and not self._valid():
                    raise LogGone("Log abandoned (vsl)")
                return None
            if word != WRAP_MARKER:
                break
            self._ptr = 0
            self._segment = (self._segment // SEGMENTS + 1) * SEGMENTS & 0xFFFFFFFF
        batch = word >> 24 == BATCH
        start = self._ptr
        length = words[start + 1] if batch else word & 0xFFFF
        end = start + self._overhead + (length + 3) // 4
        if end >= self._end:
            raise self._too_slow()
        data = bytes(self._log[(start + self._overhead if batch else start) * 4 : end * 4]) if parse else b""
        if self._distance() >= SEGMENTS - 2:
            raise self._too_slow()
        self._ptr = end
        while end // self._segsize > self._segment % SEGMENTS:
            self._segment += 1
        if not parse:
            return Chunk([], batch)
        try:
            return Chunk(list(parse_records(data, self.layout)), batch)
        except ValueError:
            raise self._too_slow() from None


class FileCursor:
    """Reads a file of records from its beginning."""

    def __init__(self, file: BinaryIO) -> None:
        head = file.read(4)
        layouts = {text: layout for layout, text in FILE_IDS.items()}
        if head not in layouts:
            raise LogError("Not a VSL file")
        self.layout = layouts[head]
        self._file = file

    def next(self) -> Chunk | None:
        """The next record as a chunk of its own; None at the end."""
        size = HEADER_SIZE[self.layout]
        while True:
            head = self._file.read(size)
            if len(head) < size:
                return None
            word = int.from_bytes(head[:4], sys.byteorder)
            if word >> 24 != BATCH:
                break
        length = word & 0xFFFF
        body = self._file.read((length + 3) & ~3)
        if len(body) < length:
            return None
        return Chunk(list(parse_records(head + body, self.layout)), False)
