"""The fingerprint of a ClientHello; hellos are put together here, after RFC 8446 section 4.1.2."""

from __future__ import annotations

import pytest

from varnishpy.session.ja3 import LONGEST, fingerprint


def counted(octets: int, data: bytes) -> bytes:
    return len(data).to_bytes(octets, "big") + data


def numbers(octets: int, *values: int) -> bytes:
    return b"".join(value.to_bytes(octets, "big") for value in values)


def hello(ciphers: bytes, *extensions: tuple[int, bytes]) -> bytes:
    body = b"\x03\x03" + bytes(32) + counted(1, bytes(32)) + counted(2, ciphers) + counted(1, b"\0")
    if extensions:
        body += counted(2, b"".join(numbers(2, kind) + counted(2, data) for kind, data in extensions))
    return b"\x01" + counted(3, body)


def records(message: bytes, size: int = 16384) -> bytes:
    return b"".join(b"\x16\x03\x01" + counted(2, message[at : at + size]) for at in range(0, len(message), size))


GROUPS = counted(2, numbers(2, 0x2A2A, 29, 23))
FULL = hello(
    numbers(2, 0x1A1A, 0x1301, 0xC02F), (0xFAFA, b""), (0, b"name"), (10, GROUPS), (11, counted(1, b"\x00\x01"))
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (FULL, "771,4865-49199,0-10-11,29-23,0-1"),
        (hello(numbers(2, 47)), "771,47,,,"),
        (hello(b""), "771,,,,"),
    ],
)
def test_fingerprints(message: bytes, expected: str) -> None:
    assert fingerprint(records(message)) == expected
    assert fingerprint(records(message, 10)) == expected  # in several records
    assert fingerprint(records(message) + b"more") == expected


def test_it_waits_for_the_whole_hello() -> None:
    whole = records(FULL, 50)
    assert {fingerprint(whole[:size]) for size in range(len(whole))} == {None}


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\n", records(b"\2" + FULL[1:]), records(b"\x01" + counted(3, b"\x03\x03short")), bytes(LONGEST)],
)
def test_no_hello(octets: bytes) -> None:
    assert fingerprint(octets) == ""
