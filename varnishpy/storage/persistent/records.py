"""What is kept of an object: a row of the index, and the *head*, which stands in the data file before the body.

The row has what is needed to find the object, to let it expire and to hold bans against it; it may be changed later.
The head has what the object is, and is never changed. Both say of each piece of the data file how long it is and what
its checksum is, so that nothing is ever served that is not what was written.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from varnishpy.http.message import Header, Message

_VERSION: Final = 1
_SPAN: Final = struct.Struct("<QQI")


class Span(NamedTuple):
    """A piece of the data file: where it begins, its octets, and their CRC-32."""

    start: int
    length: int
    checksum: int


#: a record as it comes from the index: at the start there are many, and few of them are looked at
Row = tuple[int, bytes, float, float, float, float, int, int, float, float, bytes]
DIGEST: Final = 1  # places in it
BAN: Final = 8
SPANS: Final = 10


class Record(NamedTuple):
    """A row of the index; times as in an object core, ``used`` and ``ban`` in wall-clock seconds.

    :ivar number: of the object in this storage; never used again
    :ivar ban: the time of the newest ban that the object was tested against
    :ivar spans: packed; the first is the head
    """

    number: int
    digest: bytes
    t_origin: float
    ttl: float
    grace: float
    keep: float
    flags: int
    xid: int
    ban: float
    used: float
    spans: bytes

    @property
    def when(self) -> float:
        """The moment after which nobody has a use for the object."""
        return self.t_origin + self.ttl + self.grace + self.keep


def pack_spans(spans: Iterable[Span]) -> bytes:
    """As they stand in the index."""
    return b"".join(_SPAN.pack(*span) for span in spans)


def unpack_spans(packed: bytes) -> list[Span]:
    """Undo `pack_spans`. Raises `HeadError` when that is not what it is."""
    if not packed or len(packed) % _SPAN.size:
        raise HeadError("a list of pieces has an impossible length")
    return [Span(*row) for row in _SPAN.iter_unpack(packed)]


def all_spans(packed: Iterable[bytes]) -> list[tuple[int, int]]:
    """Start and length of every piece in many lists, ascending. Raises `HeadError`."""
    joined = b"".join(packed)
    if len(joined) % _SPAN.size:
        raise HeadError("a list of pieces has an impossible length")
    found = [(start, length) for start, length, _ in _SPAN.iter_unpack(joined)]
    found.sort()
    return found


class HeadError(ValueError):
    """What was read is not what was written."""


class Head(NamedTuple):
    """What an object is; see `varnishpy.storage.object.StoredObject`."""

    headers: Message
    attrs: dict[str, bytes]
    flags: int
    last_modified: float
    length: int
    origin: str


def encode_head(
    headers: Message, attrs: dict[str, bytes], flags: int, last_modified: float, length: int, origin: str
) -> bytes:
    """The head of an object as octets."""
    lines = [[name, value] for _, name, value in headers.headers]
    values = {name: value.decode("latin-1") for name, value in attrs.items()}
    first = [headers.proto, headers.status, headers.reason]
    return json.dumps(
        [_VERSION, first, lines, values, flags, last_modified, length, origin], separators=(",", ":")
    ).encode()


def in_head(text: str) -> bytes:
    """How a text stands in an encoded head."""
    return json.dumps(text)[1:-1].encode()


def decode_head(octets: bytes) -> Head:
    """Undo `encode_head`.

    :raises HeadError: it was written by something else
    """
    try:
        version, (proto, status, reason), lines, values, flags, last_modified, length, origin = json.loads(octets)
        if version != _VERSION:
            raise HeadError(f"the head of an object is of version {version}")
        message = Message()
        message.proto, message.status, message.reason = str(proto), int(status), str(reason)
        headers: list[Header] = []
        for name, value in lines:
            name = sys.intern(name)  # all objects have the same few
            headers.append((sys.intern(name.lower()), name, value))
        message.headers = headers
        attrs = {name: value.encode("latin-1") for name, value in values.items()}
        return Head(message, attrs, int(flags), float(last_modified), int(length), str(origin))
    except (ValueError, TypeError, AttributeError) as error:
        raise HeadError(f"the head of an object cannot be read: {error}") from None
