"""The PROXY protocol's header, versions 1 and 2, as clients send it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from . import net, numbers
from .errors import ScriptError
from .text import Text

SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"
TLV_TYPES = {"alpn": 1, "authority": 2, "crc32c": 3, "noop": 4, "unique_id": 5, "netns": 0x30}


def _tlv(word: str) -> bytes:
    name, equals, value = word.partition("=")
    if not equals or not value:
        raise ValueError("tlv value missing")
    if name.startswith("0x"):
        kind = numbers.hex_bytes(name[2:])
        if len(kind) != 1:
            raise ValueError("tlv hex type has wrong length")
    elif name in TLV_TYPES:
        kind = bytes([TLV_TYPES[name]])
    else:
        raise ValueError(f"tlv type {name} not found")
    content = numbers.hex_bytes(value[2:]) if value.startswith("0x") else value.encode("latin-1")
    return kind + struct.pack(">H", len(content)) + content


def check(args: Sequence[Text]) -> None:
    """See that an argument has the form of what ``header`` takes.  Raises ScriptError."""
    words = args[0].split()
    if "${" in args[0]:
        return
    if len(words) < 2:
        raise ScriptError("expected 'CLIENTIP:PORT SERVERIP:PORT'", args[0].locate())
    try:
        for word in words[2:]:
            _tlv(word)
    except ValueError as error:
        raise ScriptError(f"PROXY: {error}", args[0].locate()) from None


def header(version: int, spec: Text) -> bytes:
    """The header for ``CLIENT SERVER [TLV ...]``, each address with its port.  Raises ScriptError."""
    words = spec.split()
    try:
        ends = [net.resolve(*net.split_address(word), passive=True)[0] for word in words[:2]]
        tlvs = b"".join(_tlv(word) for word in words[2:])
    except net.NetError as error:
        raise ScriptError(f"PROXY: {error}", spec.locate()) from None
    (_, (client, client_port)), (family, (server, server_port)) = ends
    if version == 1:
        kind = "TCP6" if family == socket.AF_INET6 else "TCP4"
        return f"PROXY {kind} {client} {server} {client_port} {server_port}\r\n".encode()
    addresses = b"".join(socket.inet_pton(family, address) for address in (client, server))
    payload = addresses + struct.pack(">HH", client_port, server_port) + tlvs
    kind_octet = 0x21 if family == socket.AF_INET6 else 0x11
    return SIGNATURE_2 + bytes([0x21, kind_octet]) + struct.pack(">H", len(payload)) + payload
