"""The ``ESIDATA`` attribute: what to do with the stored body of an ESI object, piece after piece.

It is a sequence of instructions, each an octet of code and a fixed part, includes followed by two strings:

* ``VERBATIM`` length crc plain: deliver so many stored octets. In a gzipped object these are deflate blocks that
  stand on their own; crc and plain are checksum and size of what they unpack to. In a plain object both are 0.
* ``SKIP`` length: leave so many stored octets out.
* ``INCLUDE`` flags host url: deliver another object here.

A first octet tells whether the object is gzipped. The format lives in memory only and may change at any time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_HEAD: Final = struct.Struct(">B")
_VERBATIM: Final = struct.Struct(">BQIQ")
_SKIP: Final = struct.Struct(">BQ")
_INCLUDE: Final = struct.Struct(">BBII")

_CODE_VERBATIM: Final = 1
_CODE_SKIP: Final = 2
_CODE_INCLUDE: Final = 3
_CONTINUE: Final = 1


@dataclass(slots=True, frozen=True)
class Verbatim:
    """Deliver ``length`` stored octets."""

    length: int
    crc: int = 0
    plain: int = 0


@dataclass(slots=True, frozen=True)
class Skip:
    """Leave ``length`` stored octets out."""

    length: int


@dataclass(slots=True, frozen=True)
class Include:
    """Deliver the object at ``url`` here; ``host`` is empty for the same host as the including object."""

    host: str
    url: str
    on_error_continue: bool = False


Instruction = Verbatim | Skip | Include


class Encoder:
    """Writes ``ESIDATA``."""

    __slots__ = ("_data", "count")

    def __init__(self, gzipped: bool) -> None:
        self._data = bytearray(_HEAD.pack(1 if gzipped else 0))
        self.count = 0

    def add(self, instruction: Instruction) -> None:
        """Append an instruction; empty ones are dropped."""
        match instruction:
            case Verbatim(length, crc, plain):
                if not length:
                    return
                self._data += _VERBATIM.pack(_CODE_VERBATIM, length, crc, plain)
            case Skip(length):
                if not length:
                    return
                self._data += _SKIP.pack(_CODE_SKIP, length)
            case Include(host, url, on_error_continue):
                host_octets = host.encode("latin-1")
                url_octets = url.encode("latin-1")
                flags = _CONTINUE if on_error_continue else 0
                self._data += _INCLUDE.pack(_CODE_INCLUDE, flags, len(host_octets), len(url_octets))
                self._data += host_octets + url_octets
        self.count += 1

    def data(self) -> bytes:
        """All of it."""
        return bytes(self._data)


def decode(data: bytes) -> tuple[bool, list[Instruction]]:
    """Is the object gzipped, and its instructions."""
    gzipped = bool(data[0])
    found: list[Instruction] = []
    at = 1
    while at < len(data):
        match data[at]:
            case 1:
                _, length, crc, plain = _VERBATIM.unpack_from(data, at)
                at += _VERBATIM.size
                found.append(Verbatim(length, crc, plain))
            case 2:
                _, length = _SKIP.unpack_from(data, at)
                at += _SKIP.size
                found.append(Skip(length))
            case 3:
                _, flags, host_length, url_length = _INCLUDE.unpack_from(data, at)
                at += _INCLUDE.size
                host = data[at : at + host_length].decode("latin-1")
                at += host_length
                url = data[at : at + url_length].decode("latin-1")
                at += url_length
                found.append(Include(host, url, bool(flags & _CONTINUE)))
            case code:
                raise ValueError(f"ESIDATA holds code {code}")
    return gzipped, found
