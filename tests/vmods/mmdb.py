"""Writes a small database in MaxMind's format (MaxMind DB File Format Specification, version 2.0), for tests."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Any

MARK = b"\xab\xcd\xefMaxMind.com"
BITS = 24
EMPTY = 16  # octets between the tree and the data


def _control(kind: int, size: int) -> bytes:
    extended = b"" if kind < 8 else bytes([kind - 7])
    first = (kind << 5) if kind < 8 else 0
    if size < 29:
        return bytes([first | size]) + extended
    assert size < 285
    return bytes([first | 29]) + extended + bytes([size - 29])


def encode(value: Any) -> bytes:
    """A value of the data section."""
    if isinstance(value, bool):
        return _control(14, int(value))
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return _control(4, len(value)) + value
    if isinstance(value, float):
        return _control(3, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return _control(9, len(raw)) + raw  # uint64
    if isinstance(value, dict):
        return _control(7, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    return _control(11, len(value)) + b"".join(map(encode, value))


def _uint(kind: int, size: int, value: int) -> bytes:
    return _control(kind, size) + value.to_bytes(size, "big")


def write(path: Path, networks: dict[str, Any], version: int = 4) -> Path:
    """A database with a value for each network, all of one IP version."""
    nodes: list[list[int | None]] = [[None, None]]
    data = b""
    places: dict[tuple[int, int], int] = {}
    for text, value in networks.items():
        network = ipaddress.ip_network(text)
        bits = format(int(network.network_address), f"0{network.max_prefixlen}b")[: network.prefixlen]
        node = 0
        for bit in bits[:-1]:
            following = nodes[node][int(bit)]
            if following is None:
                following = nodes[node][int(bit)] = len(nodes)
                nodes.append([None, None])
            node = following
        places[node, int(bits[-1])] = len(data)
        data += encode(value)
    tree = b""
    for number, sides in enumerate(nodes):
        for side, following in enumerate(sides):
            place = places.get((number, side))
            target = len(nodes) + EMPTY + place if place is not None else following
            tree += (len(nodes) if target is None else target).to_bytes(3, "big")
    about = {"database_type": "test", "languages": ["en"], "description": {"en": "made by a test"}, "build_epoch": 1}
    small = {"record_size": BITS, "ip_version": version, "binary_format_major_version": 2}
    small["binary_format_minor_version"] = 0
    metadata = _control(7, len(about) + len(small) + 1) + encode("node_count") + _uint(6, 4, len(nodes))
    metadata += b"".join(encode(key) + encode(value) for key, value in about.items())
    metadata += b"".join(encode(key) + _uint(5, 2, value) for key, value in small.items())
    path.write_bytes(tree + bytes(EMPTY) + data + MARK + metadata)
    return path
