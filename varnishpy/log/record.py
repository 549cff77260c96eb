"""Log records as readers see them: the binary form of both layouts, and how programs print them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from varnishpy.log.tags import FILE_NUMBERS, FROM_FILE, TAGS, TagFlag, legacy_name, name_of

#: octets before the payload, by layout
HEADER_SIZE = {1: 8, 2: 12}


@dataclass(frozen=True, slots=True)
class Record:
    """One record. ``tag`` is our number (negative: a tag only the old layout has, by its number there)."""

    tag: int
    vxid: int
    client: bool
    backend: bool
    data: bytes

    @property
    def name(self) -> str:
        """The tag's name."""
        return name_of(self.tag) if self.tag >= 0 else legacy_name(-self.tag) or f"Unknown-{-self.tag}"

    @property
    def binary(self) -> bool:
        """True if the payload is octets, not text."""
        info = TAGS.get(self.tag)
        return info is not None and bool(info.flags & TagFlag.BINARY)

    @property
    def text(self) -> str:
        """The payload as text, without its closing NUL (binary ones: every octet)."""
        if self.binary:
            return str(self.data, "latin-1")
        end = self.data.find(b"\0")
        return str(self.data if end < 0 else self.data[:end], "latin-1")

    @property
    def type_letter(self) -> str:
        """``c``, ``b`` or ``-``."""
        return "c" if self.client else "b" if self.backend else "-"

    def display(self) -> str:
        """The payload as varnishlog prints it: binary ones in hexadecimal, doubtful ones quoted."""
        info = TAGS.get(self.tag)
        if info is not None and info.flags & TagFlag.BINARY:
            return f"[{self.data.hex()}]"
        if info is not None and info.flags & TagFlag.UNSAFE:
            return quote_unsafe(self.data)
        return self.text


def quote_unsafe(data: bytes) -> str:
    """The octets in double quotes, as varnishlog prints them: what is no printable ASCII in hexadecimal after ``%``."""
    return '"' + "".join(chr(c) if 32 <= c < 127 else f"%{c:02x}" for c in data) + '"'


def decode(layout: int, word0: int, ident: int, data: bytes) -> Record:
    """Build a record from its words."""
    number = word0 >> 24
    tag = FROM_FILE[layout][number] or -number
    if layout == 1:
        return Record(tag, ident & 0x3FFFFFFF, bool(ident & 1 << 30), bool(ident & 1 << 31), data)
    return Record(tag, ident & (1 << 51) - 1, bool(ident & 1 << 62), bool(ident & 1 << 63), data)


def parse_records(data: bytes | memoryview, layout: int) -> Iterator[Record]:
    """The records of a batch. Raises ValueError when their lengths do not add up."""
    size = HEADER_SIZE[layout]
    position = 0
    while position < len(data):
        word0 = int.from_bytes(data[position : position + 4], sys.byteorder)
        length = word0 & 0xFFFF
        start = position + size
        if start + length > len(data):
            raise ValueError("log record reaches beyond its batch")
        ident = int.from_bytes(data[position + 4 : start], sys.byteorder)
        yield decode(layout, word0, ident, bytes(data[start : start + length]))
        position = start + (length + 3 & ~3)


def encode(record: Record, layout: int) -> bytes:
    """The binary form of a record, padded; the reverse of :func:`parse_records`."""
    number = FILE_NUMBERS[layout][record.tag] if record.tag >= 0 else -record.tag
    length = len(record.data)
    word0 = number << 24 | (0 if layout == 1 else 1 << 16) | length
    mark = 2 if record.backend else 1 if record.client else 0
    if layout == 1:
        ident = (record.vxid & 0x3FFFFFFF | mark << 30).to_bytes(4, sys.byteorder)
    else:
        ident = (record.vxid & (1 << 51) - 1 | mark << 62).to_bytes(8, sys.byteorder)
    return word0.to_bytes(4, sys.byteorder) + ident + record.data + b"\0" * (-length & 3)
