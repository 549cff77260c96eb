"""The PROXY protocol, versions 1 and 2, without any I/O (haproxy's proxy-protocol.txt).

A proxy in front of us sends one header per connection that tells whom it speaks for; we tell backends the same way.
`find_end` says when a whole header has arrived, `parse` reads it, `format_v1` and `format_v2` write one.

Limits are the reference's: a version 1 line of at most 107 octets, a version 2 payload of at most 1024.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from varnishpy.base.ipaddr import bare, normal, of_octets, packed

SIGNATURE_1: Final = b"PROXY"
SIGNATURE_2: Final = b"\r\n\r\n\0\r\nQUIT\n"
MAX_LINE: Final = 107
MAX_PAYLOAD: Final = 1024

# types of version 2 TLVs (proxy-protocol.txt section 2.2)
TLV_ALPN: Final = 0x01
TLV_AUTHORITY: Final = 0x02
TLV_CRC32C: Final = 0x03
TLV_SSL: Final = 0x20
TLV_SSL_VERSION: Final = 0x21
TLV_SSL_CN: Final = 0x22
TLV_SSL_CIPHER: Final = 0x23
TLV_SSL_SIG_ALG: Final = 0x24
TLV_SSL_KEY_ALG: Final = 0x25

_SSL_FIXED: Final = 5  # client flags, and the result of verification, in front of the sub-TLVs


class ProxyError(Exception):
    """The header is broken; the text is for the ``ProxyGarbage`` record, empty where the reference logs nothing."""


class ProxyOverflow(ProxyError):
    """The header is longer than allowed."""


@dataclass(slots=True, frozen=True)
class ProxyHeader:
    """What a PROXY header says.

    ``client`` and ``server`` are ``(ip, port)``, or ``None`` where the header names none (LOCAL, UNSPEC, other
    protocols): then the connection's own addresses stand. ``log`` is the text of the ``Proxy`` record, ``garbage`` of a
    ``ProxyGarbage`` record about something that was ignored; each may be empty. ``tlvs`` are the raw TLVs of version 2.
    """

    version: int
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    log: str = ""
    garbage: str = ""
    tlvs: bytes = b""

    def tlv(self, kind: int) -> bytes | None:
        """The value of the first TLV of that type, at the top or inside the SSL TLV; ``None`` without one."""
        for found, value in walk_tlvs(self.tlvs):
            if found == kind:
                return value
            if found == TLV_SSL:
                for inner, inner_value in walk_tlvs(value[_SSL_FIXED:]):
                    if inner == kind:
                        return inner_value
        return None

    @property
    def ssl_flags(self) -> int:
        """The client flags of the SSL TLV (bit 0: TLS was used); 0 without one."""
        ssl = self.tlv(TLV_SSL)
        return ssl[0] if ssl else 0

    @property
    def ssl_verify_result(self) -> int:
        """The result of verifying the client's certificate; 0 is success, and also what stands without an SSL TLV."""
        ssl = self.tlv(TLV_SSL)
        return int(struct.unpack("!I", ssl[1:5])[0]) if ssl else 0


def walk_tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each TLV.

    :raises ProxyError: with the reference's text for a TLV that is cut off
    """
    at = 0
    end = len(data)
    while at < end:
        if end - at < 3:
            raise ProxyError("PROXY2: TLV Dribble bytes")
        kind, length = struct.unpack_from("!BH", data, at)
        at += 3
        if at + length > end:
            raise ProxyError("PROXY2: TLV Length Error")
        yield kind, data[at : at + length]
        at += length


def find_end(buf: bytes | bytearray) -> int:
    """Octets of the header at the front of the buffer, or 0 when more must be read.

    :raises ProxyError: this is no PROXY header
    :raises ProxyOverflow: this is too long for one
    """
    if buf.startswith(SIGNATURE_1):
        end = buf.find(b"\n", len(SIGNATURE_1))
        if end > MAX_LINE or (end < 0 and len(buf) > MAX_LINE):
            raise ProxyOverflow
        return end + 1
    if buf.startswith(SIGNATURE_2):
        if len(buf) < 16:
            return 0
        payload = int(struct.unpack_from("!H", buf, 14)[0])
        if payload > MAX_PAYLOAD:
            raise ProxyOverflow
        return 16 + payload if len(buf) >= 16 + payload else 0
    start = bytes(buf[:16])
    if SIGNATURE_1.startswith(start) or SIGNATURE_2.startswith(start):
        return 0
    raise ProxyError


def parse(header: bytes) -> ProxyHeader:
    """Read a whole header.

    :raises ProxyError: it is broken and the connection must close
    """
    return _parse_v1(header) if header.startswith(SIGNATURE_1) else _parse_v2(header)


def _parse_v1(header: bytes) -> ProxyHeader:
    end = header.find(b"\r")
    if end < 0 or header[end : end + 2] != b"\r\n" or len(header) != end + 2:
        raise ProxyError
    fields = header[:end].decode("latin-1").split(" ")[1:]
    if len(fields) < 5:
        raise ProxyError("PROXY1: Too few fields")
    if len(fields) > 5:
        raise ProxyError("PROXY1: Too many fields")
    family, source, destination, source_port, destination_port = fields
    if family not in ("TCP4", "TCP6"):
        raise ProxyError("PROXY1: Wrong TCP[46] field")
    client = _address(family, source, source_port)
    if client is None:
        raise ProxyError("PROXY1: Cannot resolve source address")
    server = _address(family, destination, destination_port)
    if server is None:
        raise ProxyError("PROXY1: Cannot resolve destination address")
    return ProxyHeader(1, client, server, f"1 {source} {source_port} {destination} {destination_port}")


def _address(family: str, ip: str, port: str) -> tuple[str, int] | None:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        return None
    try:
        parsed = ipaddress.IPv4Address(ip) if family == "TCP4" else ipaddress.IPv6Address(ip)
    except ValueError:
        return None
    return normal(str(parsed)), int(port)


def _parse_v2(header: bytes) -> ProxyHeader:
    version, command, family = header[12] >> 4, header[12] & 15, header[13]
    if version != 2:
        raise ProxyError(f"PROXY2: bad version ({version})")
    if command == 0:  # LOCAL: a health check of the proxy itself
        return ProxyHeader(2, None, None, "2 local local local local")
    if command != 1:
        raise ProxyError(f"PROXY2: bad command ({command})")
    if family == 0x00:
        return ProxyHeader(2, None, None, garbage="PROXY2: Ignoring UNSPEC|UNSPEC addresses")
    if family == 0x11:
        octets, name = 4, "IPv4"
    elif family == 0x21:
        octets, name = 16, "IPv6"
    else:
        return ProxyHeader(2, None, None, garbage=f"PROXY2: Ignoring unsupported protocol (0x{family:02x})")
    fixed = 2 * octets + 4
    payload = header[16:]
    if len(payload) < fixed:
        return ProxyHeader(2, None, None, garbage=f"PROXY2: Ignoring short {name} addresses ({len(payload)})")
    client_ip = of_octets(payload[:octets])
    server_ip = of_octets(payload[octets : 2 * octets])
    client_port, server_port = struct.unpack_from("!HH", payload, 2 * octets)
    tlvs = payload[fixed:]
    _check_tlvs(header, tlvs)
    log = f"2 {client_ip} {client_port} {server_ip} {server_port}"
    return ProxyHeader(2, (client_ip, client_port), (server_ip, server_port), log, "", tlvs)


def _check_tlvs(header: bytes, tlvs: bytes) -> None:
    at = len(header) - len(tlvs)
    for kind, value in walk_tlvs(tlvs):
        at += 3
        if kind == TLV_SSL:
            if len(value) < _SSL_FIXED:
                raise ProxyError("PROXY2: TLV Length Error")
            for _ in walk_tlvs(value[_SSL_FIXED:]):
                pass
        elif kind == TLV_CRC32C:
            if len(value) != 4:
                raise ProxyError("PROXY2: TLV Length Error")
            blank = header[:at] + bytes(4) + header[at + 4 :]
            if crc32c(blank) != struct.unpack("!I", value)[0]:
                raise ProxyError("PROXY2: CRC error")
        at += len(value)


def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)  # the Castagnoli polynomial, reversed
        table.append(number)
    return table


_CRC_TABLE: Final = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720 appendix B.4)."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


# -- writing -----------------------------------------------------------------------------------------------------------


_MAPPED: Final = bytes(10) + b"\xff\xff"  # in front of an IPv4 address (RFC 4291 section 2.5.5.2)


def format_v1(client: tuple[str, int], server: tuple[str, int]) -> bytes:
    """A version 1 header. Where one address alone is of IPv6 the other is mapped into it (RFC 4291 section 2.5.5.2)."""
    texts = [bare(client[0]), bare(server[0])]
    family = "TCP6" if any(":" in text for text in texts) else "TCP4"
    if family == "TCP6":
        texts = [text if ":" in text else f"::ffff:{text}" for text in texts]
    return f"PROXY {family} {texts[0]} {texts[1]} {client[1]} {server[1]}\r\n".encode("ascii")


def format_v2(client: tuple[str, int], server: tuple[str, int], authority: str = "", crc: bool = False) -> bytes:
    """A version 2 header, whose addresses are of one family as in `format_v1`.

    :param authority: the host name the client asked for; sent as a TLV unless empty
    :param crc: add a checksum TLV
    """
    client_ip, server_ip = packed(client[0]), packed(server[0])
    if len(client_ip) != len(server_ip):
        client_ip, server_ip = ((_MAPPED + octets)[-16:] for octets in (client_ip, server_ip))
    payload = client_ip + server_ip + struct.pack("!HH", client[1], server[1])
    if authority:
        octets = authority.encode("latin-1")
        payload += struct.pack("!BH", TLV_AUTHORITY, len(octets)) + octets
    if crc:
        payload += struct.pack("!BHI", TLV_CRC32C, 4, 0)
    family = 0x21 if len(server_ip) == 16 else 0x11
    header = SIGNATURE_2 + struct.pack("!BBH", 0x21, family, len(payload)) + payload
    if crc:
        header = header[:-4] + struct.pack("!I", crc32c(header))
    return header
