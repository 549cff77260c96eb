"""What stands in the engine, octet by octet: versioned, measured, and checked before it is believed.

Each value is *sealed*: ``vpt``, one octet kind, one octet version, length of what follows (8 octets), its CRC-32 (4
octets), then the payload. Numbers are big-endian. Strings are preceded by their length (4 octets). A value that is cut
short, too long, of another kind or version, or damaged is a `BadRecord`: the reader takes it for a miss.

An object is an entry in the *index* of its digest (`Variant`), a *head* (`Head`: first line, headers, attributes, and
the body if that is small), and the *chunks* of a larger body. Head and chunks are immutable; the object's random
ident, which is in their keys and in the values, ties them together.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from varnishpy.tier.errors import BadRecord

VERSION: Final = 1
IDENT: Final = 16  # octets of an object's ident
NONCE: Final = 8  # octets that tell one edition of an index from another
INDEX, HEAD, CHUNK, LOG = b"i", b"h", b"c", b"l"
_SEAL: Final = struct.Struct(">3s1sBQI")
_MAGIC: Final = b"vpt"
SEALED: Final = _SEAL.size  # octets in front of a payload
_VARIANT: Final = struct.Struct(">QddddIQI")
_NUMBER: Final = struct.Struct(">I")
_MOST: Final = 1 << 16  # entries that any list in a record may have
_DECIMALS: Final = struct.Struct(">d")


def seal(kind: bytes, *pieces: bytes | memoryview) -> bytes:
    """A value for the engine."""
    length = crc = 0
    for piece in pieces:
        length += len(piece)
        crc = zlib.crc32(piece, crc)
    return b"".join((_SEAL.pack(_MAGIC, kind, VERSION, length, crc), *pieces))


def unseal(kind: bytes, value: bytes) -> memoryview:
    """The payload of a sealed value.

    :raises BadRecord:
    """
    if len(value) < _SEAL.size:
        raise BadRecord("value is cut short")
    magic, found, version, length, crc = _SEAL.unpack_from(value)
    if magic != _MAGIC or found != kind:
        raise BadRecord("value is of another kind")
    if version != VERSION:
        raise BadRecord(f"value is of version {version}")
    payload = memoryview(value)[_SEAL.size :]
    if len(payload) != length:
        raise BadRecord("value has not the length it says")
    if zlib.crc32(payload) != crc:
        raise BadRecord("value is damaged")
    return payload


class _Reader:
    """Takes a payload apart from its front."""

    def __init__(self, payload: memoryview) -> None:
        self._payload = payload
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._payload):
            raise BadRecord("record is cut short")
        data = bytes(self._payload[self._at : end])
        self._at = end
        return data

    def number(self) -> int:
        return int(_NUMBER.unpack(self.take(4))[0])

    def count(self) -> int:
        """How many entries follow."""
        number = self.number()
        if number > _MOST:
            raise BadRecord("record has too many entries")
        return number

    def octets(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.octets().decode("latin-1")

    def line(self) -> str:
        """Text that may stand in the head of a message (RFC 9110 section 5.5)."""
        octets = self.octets()
        if b"\n" in octets or b"\r" in octets or b"\0" in octets:
            raise BadRecord("head has a line break or NUL in it")
        return octets.decode("latin-1")

    def seconds(self) -> float:
        value = float(_DECIMALS.unpack(self.take(8))[0])
        if not math.isfinite(value):
            raise BadRecord("record has a time that is none")
        return value

    def rest(self) -> bytes:
        return self.take(len(self._payload) - self._at)

    def end(self) -> None:
        if self._at != len(self._payload):
            raise BadRecord("record is longer than it should be")


def _number(value: int) -> bytes:
    return _NUMBER.pack(value)


def _octets(data: bytes) -> bytes:
    return _NUMBER.pack(len(data)) + data


def _text(text: str) -> bytes:
    return _octets(text.encode("latin-1"))


# -- the index ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """One object of a digest.

    :ivar position: number of the latest invalidation before its origin was asked; one with a higher number that names
        the digest or a tag has made the object invalid
    :ivar t_origin: seconds since the epoch by the engine's clock; ``ttl``, ``grace`` and ``keep`` count from it
    :ivar flags: `ObjectFlag`
    :ivar length: octets of the body, in ``chunks`` values beside the head (0: the head has it)
    :ivar vary: the spec of `varnishpy.cache.vary`, ``None`` without a Vary header
    :ivar tags: surrogate keys, each namespace, NUL, key
    """

    ident: bytes
    position: int
    t_origin: float
    ttl: float
    grace: float
    keep: float
    flags: int
    length: int
    chunks: int
    vary: bytes | None = None
    tags: tuple[bytes, ...] = ()

    @property
    def fresh_until(self) -> float:
        """When it becomes stale."""
        return self.t_origin + self.ttl

    @property
    def until(self) -> float:
        """When even a conditional fetch has no use for it."""
        return self.t_origin + self.ttl + self.grace + self.keep

    def encode(self) -> bytes:
        times = (self.t_origin, self.ttl, self.grace, self.keep)
        parts = [self.ident, _VARIANT.pack(self.position, *times, self.flags, self.length, self.chunks)]
        parts.append(_octets(self.vary or b""))
        parts.append(_number(len(self.tags)))
        parts += [_octets(tag) for tag in self.tags]
        return b"".join(parts)


def _read_variant(reader: _Reader) -> Variant:
    ident = reader.take(IDENT)
    position, t_origin, ttl, grace, keep, flags, length, chunks = _VARIANT.unpack(reader.take(_VARIANT.size))
    if not math.isfinite(t_origin + ttl + grace + keep):
        raise BadRecord("entry has a time that is none")
    vary = reader.octets() or None
    tags = tuple(reader.octets() for _ in range(reader.count()))
    return Variant(ident, position, t_origin, ttl, grace, keep, flags, length, chunks, vary, tags)


def encode_index(nonce: bytes, variants: Sequence[Variant]) -> bytes:
    """The index of a digest."""
    return seal(INDEX, nonce, _number(len(variants)), *(variant.encode() for variant in variants))


def decode_index(value: bytes) -> tuple[bytes, list[Variant]]:
    """Nonce and entries. :raises BadRecord:"""
    reader = _Reader(unseal(INDEX, value))
    nonce = reader.take(NONCE)
    variants = [_read_variant(reader) for _ in range(reader.count())]
    reader.end()
    return nonce, variants


# -- the object --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """First line, headers and attributes of a stored object, and its body if that is small."""

    proto: str
    status: int
    reason: str
    last_modified: float
    headers: tuple[tuple[str, str], ...] = ()
    attrs: dict[str, bytes] = field(default_factory=dict)
    body: bytes = b""

    def encode(self, ident: bytes) -> bytes:
        parts = [ident, _text(self.proto), _number(self.status), _text(self.reason)]
        parts += [_DECIMALS.pack(self.last_modified), _number(len(self.headers))]
        for name, value in self.headers:
            parts += [_text(name), _text(value)]
        parts.append(_number(len(self.attrs)))
        for name, octets in self.attrs.items():
            parts += [_text(name), _octets(octets)]
        return seal(HEAD, *parts, self.body)


def decode_head(ident: bytes, value: bytes) -> Head:
    """The head of the object of that ident. :raises BadRecord:"""
    reader = _Reader(unseal(HEAD, value))
    if reader.take(IDENT) != ident:
        raise BadRecord("head is another object's")
    proto, status, reason = reader.line(), reader.number(), reader.line()
    if not 100 <= status <= 65535:  # VCL may keep something in front of the three digits
        raise BadRecord(f"head has the status {status}")
    modified = reader.seconds()
    headers = tuple((reader.line(), reader.line()) for _ in range(reader.count()))
    count = reader.count()
    attrs = {reader.text(): reader.octets() for _ in range(count)}
    if len(attrs) != count:
        raise BadRecord("head has an attribute twice")
    return Head(proto, status, reason, modified, headers, attrs, reader.rest())


def encode_chunk(ident: bytes, number: int, pieces: Sequence[bytes | memoryview]) -> bytes:
    """A chunk of a body, counted from 1."""
    return seal(CHUNK, ident, _number(number), *pieces)


def decode_chunk(ident: bytes, number: int, value: bytes) -> memoryview:
    """The octets of that chunk. :raises BadRecord:"""
    payload = unseal(CHUNK, value)
    if payload[: IDENT + 4] != ident + _number(number):
        raise BadRecord("chunk is another object's")
    return payload[IDENT + 4 :]


# -- the log -----------------------------------------------------------------------------------------------------------

#: kinds of invalidation
PURGE, KEYS, BAN, ALL = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Invalidation:
    """A record of the log.

    :ivar number: its place in the order of all invalidations, taken before anything was marked
    :ivar node: who appended it
    :ivar moment: seconds since the epoch by the engine's clock
    :ivar digest: what a ``PURGE`` purges
    :ivar tags: the keys of ``KEYS``, each namespace, NUL, key
    :ivar words: the conditions of a ``BAN``, as the CLI takes them
    :ivar ttl: 0 as all three: the objects go; else each time is lowered to this, NaN leaves it as it is
    """

    kind: int
    number: int = 0
    node: str = ""
    moment: float = 0.0
    digest: bytes = b""
    tags: tuple[bytes, ...] = ()
    words: tuple[str, ...] = ()
    ttl: float = 0.0
    grace: float = 0.0
    keep: float = 0.0

    @property
    def is_hard(self) -> bool:
        """Do the objects go, rather than become stale?"""
        return self.ttl == 0.0 and self.grace == 0.0 and self.keep == 0.0

    def encode(self) -> bytes:
        times = struct.pack(">BQdddd", self.kind, self.number, self.moment, self.ttl, self.grace, self.keep)
        parts = [times, _text(self.node), _octets(self.digest), _number(len(self.tags))]
        parts += [_octets(tag) for tag in self.tags]
        parts.append(_number(len(self.words)))
        parts += [_text(word) for word in self.words]
        return seal(LOG, *parts)


def decode_invalidation(value: bytes) -> Invalidation:
    """A record of the log. :raises BadRecord:"""
    reader = _Reader(unseal(LOG, value))
    kind, number, moment, ttl, grace, keep = struct.unpack(">BQdddd", reader.take(41))
    if not math.isfinite(moment):
        raise BadRecord("record has a time that is none")
    if kind not in (PURGE, KEYS, BAN, ALL):
        raise BadRecord(f"no invalidation has the kind {kind}")
    node, digest = reader.text(), reader.octets()
    tags = tuple(reader.octets() for _ in range(reader.count()))
    words = tuple(reader.text() for _ in range(reader.count()))
    reader.end()
    return Invalidation(kind, number, node, moment, digest, tags, words, ttl, grace, keep)


def tag_of(namespace: str, key: str) -> bytes:
    """A surrogate key as it stands in records."""
    return namespace.encode("latin-1") + b"\0" + key.encode("latin-1")


def key_of(tag: bytes) -> tuple[str, str]:
    """Namespace and key of a tag."""
    namespace, _, key = tag.partition(b"\0")
    return namespace.decode("latin-1"), key.decode("latin-1")
