"""Header compression (RFC 7541) with the control that tests need.

The ``hpack`` library chooses representations itself; a test chooses them: indexed, literal with or without
indexing, never indexed, Huffman or plain, right or wrong.  Only its Huffman code and static table are used.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

STATIC: tuple[tuple[bytes, bytes], ...] = tuple(HeaderTable.STATIC_TABLE)
ENTRY_OVERHEAD = 32
MAX_INTEGER = (1 << 32) - 1
_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


class HpackError(ValueError):
    """A header block that cannot be decoded, or an index that does not exist."""


class Indexing(IntEnum):
    """How a literal is to be treated by the peer's table: the first octet's pattern and the size of its prefix."""

    INC = 0x40
    NOT = 0x00
    NEVER = 0x10

    @property
    def prefix(self) -> int:
        return 6 if self is Indexing.INC else 4


@dataclass(frozen=True, slots=True)
class Field:
    name: bytes
    value: bytes


class DynamicTable:
    """One direction's table: newest entry first, bounded in octets."""

    __slots__ = ("_entries", "max_size", "size")

    def __init__(self, max_size: int) -> None:
        self._entries: deque[Field] = deque()
        self.max_size = max_size
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def resize(self, size: int) -> None:
        self.max_size = size
        self._evict(0)

    def _evict(self, room: int) -> None:
        while self._entries and self.size + room > self.max_size:
            gone = self._entries.pop()
            self.size -= len(gone.name) + len(gone.value) + ENTRY_OVERHEAD

    def push(self, field: Field) -> None:
        cost = len(field.name) + len(field.value) + ENTRY_OVERHEAD
        self._evict(cost)
        if self.size + cost <= self.max_size:
            self._entries.appendleft(field)
            self.size += cost

    def dynamic(self, index: int) -> Field | None:
        """Entry ``index`` (1 is the newest) of the dynamic part."""
        return self._entries[index - 1] if 1 <= index <= len(self._entries) else None

    def lookup(self, index: int) -> Field:
        """Entry ``index`` of static and dynamic table together.  Raises HpackError."""
        if 1 <= index <= len(STATIC):
            return Field(*STATIC[index - 1])
        found = self.dynamic(index - len(STATIC))
        if found is None:
            raise HpackError(f"no table entry {index}")
        return found


def encode_integer(value: int, prefix: int, pattern: int) -> bytes:
    """RFC 7541, section 5.1."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([pattern | value])
    out = bytearray([pattern | most])
    value -= most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_string(text: bytes, huffman: bool) -> bytes:
    """RFC 7541, section 5.2."""
    if huffman:
        text = _HUFFMAN.encode(text)
    return encode_integer(len(text), 7, 0x80 if huffman else 0) + text


class Encoder:
    """Makes a header block piece by piece, as told."""

    __slots__ = ("table",)

    def __init__(self, table: DynamicTable) -> None:
        self.table = table

    def indexed(self, index: int) -> bytes:
        """An index, which need not exist: provoking errors is what tests are for."""
        return encode_integer(index, 7, 0x80)

    def literal(
        self, name: bytes, value: bytes, how: Indexing = Indexing.NOT, huffman: tuple[bool, bool] = (False, False)
    ) -> bytes:
        if how is Indexing.INC:
            self.table.push(Field(name, value))
        return bytes([how]) + encode_string(name, huffman[0]) + encode_string(value, huffman[1])

    def literal_indexed(self, index: int, value: bytes, how: Indexing, huffman: bool) -> bytes:
        """A literal whose name is that of a table entry.  Raises HpackError if ours must keep it and cannot."""
        if how is Indexing.INC:
            self.table.push(Field(self.table.lookup(index).name, value))
        return encode_integer(index, how.prefix, how) + encode_string(value, huffman)


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def integer(self, prefix: int) -> int:
        most = (1 << prefix) - 1
        value = self.data[self.at] & most
        self.at += 1
        if value < most:
            return value
        shift = 0
        while True:
            if self.at >= len(self.data):
                raise HpackError("integer is cut short")
            octet = self.data[self.at]
            self.at += 1
            value += (octet & 0x7F) << shift
            if value > MAX_INTEGER:
                raise HpackError("integer is too large")
            shift += 7
            if not octet & 0x80:
                return value

    def string(self) -> bytes:
        if self.at >= len(self.data):
            raise HpackError("string is missing")
        huffman = self.data[self.at] & 0x80
        length = self.integer(7)
        if length > len(self.data) - self.at:
            raise HpackError("string is cut short")
        raw = self.data[self.at : self.at + length]
        self.at += length
        if not huffman:
            return raw
        try:
            return bytes(decode_huffman(raw))
        except Exception as error:
            raise HpackError(f"bad Huffman code: {error}") from None


def decode(block: bytes, table: DynamicTable) -> list[Field]:
    """The fields of a header block, ``table`` updated on the way.  Raises HpackError."""
    reader = _Reader(block)
    fields: list[Field] = []
    while reader.at < len(block):
        octet = block[reader.at]
        if octet & 0x80:
            fields.append(table.lookup(reader.integer(7)))
            continue
        if octet & 0xE0 == 0x20:
            table.resize(reader.integer(5))
            continue
        how = Indexing.INC if octet & 0x40 else Indexing.NEVER if octet & 0x10 else Indexing.NOT
        index = reader.integer(how.prefix)
        name = table.lookup(index).name if index else reader.string()
        field = Field(name, reader.string())
        if how is Indexing.INC:
            table.push(field)
        fields.append(field)
    return fields
