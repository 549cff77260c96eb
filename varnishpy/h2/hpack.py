"""Header compression (RFC 7541): decoding on the ``hpack`` package, encoding of our own.

**Decoding.** A client sends the same header block over and over, as a handful of indices. Decoding and checking it
costs more than all the rest of a cached hit, so a session remembers, for whole blocks, what became of them. A block
that adds nothing to the dynamic table always means the same as long as nobody else changes the table: the memory is
dropped whenever the table changes.

**Encoding.** Responses are encoded by request threads, in any order, so they must not depend on shared state: only
the static table and literals are used, and fields that come again and again are kept in encoded form. The one thing
the protocol asks of an encoder that keeps no dynamic table is to say so when the client shrinks it (section 4.2):
the session thread puts `TABLE_SIZE_ZERO` in front of the next block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hpack.exceptions import HPACKError, InvalidTableIndexError, InvalidTableSizeError, OversizedHeaderListError
from hpack.hpack import Decoder as PackageDecoder
from hpack.table import HeaderTable

from varnishpy.http.message import Header

if TYPE_CHECKING:
    from varnishpy.h2.headers import HeaderBlock

__all__ = [
    "Decoder",
    "HPACKError",
    "InvalidTableIndexError",
    "InvalidTableSizeError",
    "OversizedHeaderListError",
    "encode_block",
    "encode_response",
]

DEFAULT_TABLE_SIZE: Final = 4096

TABLE_SIZE_ZERO: Final = b"\x20"

MEMO_BLOCKS: Final = 64  # header blocks a session remembers
MEMO_BLOCK_SIZE: Final = 1024  # octets; larger ones are rare and never the same
MEMO_LIST_SIZE: Final = 4096  # octets of what it means, or a few octets could make us keep a lot

# -- decoding --------------------------------------------------------------------------------------------------------


class _WatchedTable(HeaderTable):
    """A table that counts its changes."""

    def __init__(self) -> None:
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.__set__(self, newmax)  # type: ignore[attr-defined]


class Decoder:
    """The decompression state of one connection.

    :param table_size: our SETTINGS_HEADER_TABLE_SIZE
    :param list_limit: octets of a decoded list, counted as in RFC 9113 section 10.5.1, beyond which decoding stops
    and the connection is lost
    """

    __slots__ = ("_decoder", "_seen_changes", "_table", "_wanted_table_size", "memo", "repeatable")

    def __init__(self, table_size: int, list_limit: int) -> None:
        self._decoder = PackageDecoder(max_header_list_size=list_limit)
        self._table = _WatchedTable()
        self._decoder.header_table = self._table
        self._wanted_table_size = table_size
        # a smaller table than the default binds the client only once it has acknowledged our settings
        self._decoder.max_allowed_table_size = max(table_size, DEFAULT_TABLE_SIZE)
        self.memo: dict[bytes, HeaderBlock] = {}
        self._seen_changes = self._table.changes
        self.repeatable = False

    def acknowledged(self) -> None:
        """The client has acknowledged our settings."""
        self._decoder.max_allowed_table_size = self._wanted_table_size

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a block, in order.

        :raises OversizedHeaderListError: larger than ``list_limit``
        :raises HPACKError: not valid; like the other, the end of the connection
        """
        fields: list[tuple[bytes, bytes]] = self._decoder.decode(block, raw=True)  # type: ignore[assignment]
        changes = self._table.changes
        if changes != self._seen_changes:
            self._seen_changes = changes
            self.memo.clear()
            self.repeatable = False
        else:
            self.repeatable = True
        return fields

    def remember(self, block: bytes, meaning: HeaderBlock) -> None:
        """Keep what the block just decoded means, if decoding it again would give the same."""
        if self.repeatable and len(block) <= MEMO_BLOCK_SIZE:
            if len(self.memo) >= MEMO_BLOCKS:
                self.memo.clear()
            self.memo[block] = meaning


# -- encoding --------------------------------------------------------------------------------------------------------

_STATIC_NAMES: Final[dict[str, int]] = {}
_STATIC_FIELDS: Final[dict[tuple[str, str], int]] = {}
for _index, (_name, _value) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _STATIC_NAMES.setdefault(_name.decode(), _index)
    _STATIC_FIELDS[_name.decode(), _value.decode()] = _index

# fields whose value is new every time: keeping them would only push others out
_FLEETING: Final = frozenset(("age", "x-varnish", "date", "expires", "content-range", "set-cookie", "priority"))
# fields a client's cache of headers must not index (RFC 7541 section 7.1.3)
_SECRET: Final = frozenset(("set-cookie", "authorization", "proxy-authorization"))
# fields that belong to HTTP/1 connections (RFC 9113 section 8.2.2)
HOP_BY_HOP: Final = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))

# fields that say something of the others, or of the response
SPECIAL: Final = frozenset(("connection", "priority"))

_ILLEGAL: Final = re.compile(r"[\x00\r\n]")

KEPT_FIELDS: Final = 4096

_names: dict[str, bytes] = {}
_fields: dict[Header, bytes] = {}
_LENGTH: Final = [bytes((n,)) for n in range(127)]
_STATUS: Final[dict[int, bytes]] = {}


def encode_integer(value: int, bits: int, first: int = 0) -> bytes:
    """An integer with an N-bit prefix (RFC 7541 section 5.1), in the low bits of ``first``."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _name_prefix(lname: str) -> bytes:
    first = 0x10 if lname in _SECRET else 0x00
    index = _STATIC_NAMES.get(lname)
    if index is not None:
        prefix = encode_integer(index, 4, first)
    else:
        raw = lname.encode("latin-1")
        prefix = bytes((first,)) + encode_integer(len(raw), 7) + raw
    if len(_names) >= KEPT_FIELDS:
        _names.clear()
    _names[lname] = prefix
    return prefix


def _encode_field(header: Header) -> bytes:
    lname, _, value = header
    if lname in _FLEETING and value.isprintable() and value.isascii() and len(value) < 127:
        return b"%b%c%b" % (_names.get(lname) or _name_prefix(lname), len(value), value.encode())
    if lname in HOP_BY_HOP or _ILLEGAL.search(value):
        field = b""
    else:
        index = _STATIC_FIELDS.get((lname, value)) if value else None
        if index is not None:
            field = encode_integer(index, 7, 0x80)
        else:
            raw = value.encode("latin-1")
            n = len(raw)
            field = (_names.get(lname) or _name_prefix(lname)) + (_LENGTH[n] if n < 127 else encode_integer(n, 7)) + raw
    if lname not in _FLEETING:
        if len(_fields) >= KEPT_FIELDS:
            _fields.clear()
        _fields[header] = field
    return field


def _encode_status(status: int) -> bytes:
    text = f"{status % 1000:03d}"
    index = _STATIC_FIELDS.get((":status", text))
    if index is not None:
        return encode_integer(index, 7, 0x80)
    return encode_integer(_STATIC_NAMES[":status"], 4) + b"\x03" + text.encode()


for _code in range(100, 1000):
    _STATUS[_code] = _encode_status(_code)


def encode_block(headers: Iterable[Header]) -> bytes:
    """Fields without a pseudo-header: trailers."""
    fields = _fields
    out = []
    for header in headers:
        field = fields.get(header)
        out.append(_encode_field(header) if field is None else field)
    return b"".join(out)


def encode_stored(headers: list[Header]) -> bytes:
    """Fields that many responses begin with, for `encode_response`; empty if that will not do for them."""
    return b"" if any(header[0] in SPECIAL for header in headers) else encode_block(headers)


def encode_response(status: int, headers: list[Header], front: bytes = b"") -> bytes:
    """The header block of a response; fields of the HTTP/1 connection, and those it names, are left out.

    :param front: fields in front of these, already encoded. The headers must hold none that is `SPECIAL` then.
    """
    fields = _fields
    out = [_STATUS.get(status) or _encode_status(status), front]
    named = False
    for header in headers:
        field = None if header[0] in _FLEETING else fields.get(header)
        if field is None:
            field = _encode_field(header)
        if field:
            out.append(field)
        elif header[0] == "connection":
            named = True
    if named:
        return _encode_named(status, headers)
    return b"".join(out)


def _encode_named(status: int, headers: list[Header]) -> bytes:
    """A response with ``Connection``: without what that names (RFC 9110 section 7.6.1)."""
    names = set(HOP_BY_HOP)
    for lname, _, value in headers:
        if lname == "connection":
            names.update(part.strip(" \t").lower() for part in value.split(","))
    return encode_response(status, [header for header in headers if header[0] not in names])
