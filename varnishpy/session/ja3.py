"""JA3: a fingerprint of TLS clients, made of the numbers in their ClientHello (RFC 8446 section 4.1.2).

``version,ciphers,extensions,groups,point formats``, each a list joined by ``-``, without the values that RFC 8701
(GREASE) scatters among them. This is the text; who wants the customary hash takes its MD5.
"""

from __future__ import annotations

from typing import Final

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SUPPORTED_GROUPS: Final = 10
_EC_POINT_FORMATS: Final = 11
LONGEST: Final = 16 * 1024  # of a ClientHello that is looked at; those of browsers have some 2 KB


def fingerprint(octets: bytes) -> str | None:
    """The fingerprint of who begins a connection with *octets*; ``None``: more are needed; empty: no ClientHello."""
    hello = bytearray()
    at = 0
    while True:
        if len(octets) < at + 5:
            return None if len(octets) < LONGEST and octets[at : at + 1] in (b"", b"\x16") else ""
        if octets[at] != _HANDSHAKE:
            return ""
        size = int.from_bytes(octets[at + 3 : at + 5], "big")
        hello += octets[at + 5 : at + 5 + size]
        if hello and hello[0] != _CLIENT_HELLO:
            return ""
        whole = 4 + int.from_bytes(hello[1:4], "big") if len(hello) >= 4 else LONGEST
        if len(hello) >= whole:
            return _of(bytes(hello[4:whole]))
        if at + 5 + size > len(octets):
            return None if len(octets) < LONGEST else ""
        at += 5 + size


class _Reader:
    """Takes numbers and counted fields off the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def take(self, octets: int) -> bytes:
        if self.at + octets > len(self.data):
            raise ValueError
        self.at += octets
        return self.data[self.at - octets : self.at]

    def field(self, counted_in: int) -> bytes:
        return self.take(self.number(counted_in))


def _of(hello: bytes) -> str:
    reader = _Reader(hello)
    try:
        version = reader.number(2)
        reader.take(32)  # random
        reader.field(1)  # session id
        ciphers = _numbers(reader.field(2), 2)
        reader.field(1)  # compression methods
        extensions: dict[int, bytes] = {}
        if reader.at < len(hello):
            rest = _Reader(reader.field(2))
            while rest.at < len(rest.data):
                kind = rest.number(2)
                extensions[kind] = rest.field(2)
    except ValueError:
        return ""
    kinds = [kind for kind in extensions if not _is_grease(kind)]
    groups = _numbers(extensions.get(_SUPPORTED_GROUPS, b"")[2:], 2)
    formats = _numbers(extensions.get(_EC_POINT_FORMATS, b"")[1:], 1)
    return ",".join((str(version), *("-".join(map(str, each)) for each in (ciphers, kinds, groups, formats))))


def _numbers(data: bytes, octets: int) -> list[int]:
    found = [int.from_bytes(data[at : at + octets], "big") for at in range(0, len(data), octets)]
    return [number for number in found if octets == 1 or not _is_grease(number)]


def _is_grease(number: int) -> bool:
    """Is it one of 0x0a0a, 0x1a1a, ... 0xfafa?"""
    return number & 0x0F0F == 0x0A0A and number & 0xFF == number >> 8
