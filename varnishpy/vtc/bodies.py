"""Bodies made up for tests, and gzip."""

from __future__ import annotations

import random
import zlib

from .inflate import stop_bit


def synthetic(length: int, rng: random.Random | None = None) -> bytes:
    """``length`` octets of printable text in lines of 64, the last octet a newline; with ``rng`` random ones."""
    rows: list[bytes] = []
    first = 0x21
    made = 0
    span = 0x7E - 0x21
    while made < length:
        wanted = min(63, length - made)
        if rng is not None:
            rows.append(bytes(rng.randrange(95) + 0x20 for _ in range(wanted)))
        else:
            rows.append(bytes((first - 0x21 + at) % span + 0x21 for at in range(wanted)))
        made += wanted
        if made < length:
            rows.append(b"\n")
            made += 1
            first = 0x21 if first + 1 == 0x7E else first + 1
    body = b"".join(rows)
    return body[: length - 1] + b"\n"


def pattern(length: int) -> bytes:
    """The digits 0 to 7, repeated."""
    return (b"01234567" * (length // 8 + 1))[:length]


def gzip(data: bytes, level: int, fragment: bool = False) -> bytes:
    """A gzip member; with ``fragment`` made of several deflate blocks."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, 31, 9, zlib.Z_DEFAULT_STRATEGY)
    made: list[bytes] = []
    while fragment and len(data) > 3:
        part = len(data) // 3
        made.append(deflate.compress(data[:part]))
        made.append(deflate.flush(zlib.Z_BLOCK))
        data = data[part:]
    made.append(deflate.compress(data))
    made.append(deflate.flush(zlib.Z_FINISH))
    return b"".join(made)


def residual(member: bytes) -> int:
    """The bit of its octet (0 to 7) at which the deflate data of a gzip member ends: what ESI stitching cares about."""
    return stop_bit(member) & 7


def gunzip(data: bytes) -> bytes:
    """The content of one gzip member.  Raises zlib.error if it is damaged or cut short."""
    inflate = zlib.decompressobj(31)
    out = inflate.decompress(data)
    out += inflate.flush()
    if not inflate.eof:
        raise zlib.error("incomplete or truncated stream")
    return out
