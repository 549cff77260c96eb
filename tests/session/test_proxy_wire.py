"""PROXY headers, versions 1 and 2."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.base.ipaddr import normal
from varnishpy.http.proxy_wire import (
    SIGNATURE_2,
    TLV_ALPN,
    TLV_AUTHORITY,
    TLV_SSL,
    TLV_SSL_CN,
    TLV_SSL_VERSION,
    ProxyError,
    ProxyHeader,
    ProxyOverflow,
    crc32c,
    find_end,
    format_v1,
    format_v2,
    parse,
)

V4 = bytes([1, 2, 3, 4, 5, 6, 7, 8]) + struct.pack("!HH", 1234, 5678)


def v2(payload: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE_2 + struct.pack("!BBH", command, family, len(payload)) + payload


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def test_v1() -> None:
    header = parse(b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 5678\r\n")
    assert (header.client, header.server) == (("1.2.3.4", 1234), ("5.6.7.8", 5678))
    assert header.log == "1 1.2.3.4 1234 5.6.7.8 5678"
    assert parse(b"PROXY TCP6 1:f::2 5:a::8 1234 5678\r\n").log == "1 1:f::2 1234 5:a::8 5678"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"PROXY A B C D\r\n", "PROXY1: Too few fields"),
        (b"PROXY \r\n", "PROXY1: Too few fields"),
        (b"PROXY\r\n", "PROXY1: Too few fields"),
        (b"PROXY A B C D E F\r\n", "PROXY1: Too many fields"),
        (b"PROXY A B C D E\r\n", "PROXY1: Wrong TCP[46] field"),
        (b"PROXY TCP4 B C D E\r\n", "PROXY1: Cannot resolve source address"),
        (b"PROXY TCP4 1.2.3.4 C D E\r\n", "PROXY1: Cannot resolve source address"),
        (b"PROXY TCP4 1.2.3.4 C 1234 E\r\n", "PROXY1: Cannot resolve destination address"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 65536\r\n", "PROXY1: Cannot resolve destination address"),
        (b"PROXY TCP4 1:f::2 5:a::8 1234 5678\r\n", "PROXY1: Cannot resolve source address"),
        (b"PROXY TCP6 1.2.3.4 5.6.7.8 1234 5678\r\n", "PROXY1: Cannot resolve source address"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 5678\n", ""),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1234\r5678\r\n", ""),
    ],
)
def test_v1_broken(line: bytes, text: str) -> None:
    with pytest.raises(ProxyError) as caught:
        parse(line)
    assert str(caught.value) == text


def test_v2() -> None:
    header = parse(v2(V4))
    assert (header.client, header.server) == (("1.2.3.4", 1234), ("5.6.7.8", 5678))
    assert header.log == "2 1.2.3.4 1234 5.6.7.8 5678"
    six = bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack("!HH", 1, 2)
    assert parse(v2(six, family=0x21)).log == "2 ::1 1 ::2 2"


def test_v2_tlvs() -> None:
    ssl = b"\x01" + struct.pack("!I", 7) + tlv(TLV_SSL_VERSION, b"TLSv1.3") + tlv(TLV_SSL_CN, b"me")
    header = parse(v2(V4 + tlv(TLV_ALPN, b"h2") + tlv(TLV_SSL, ssl) + tlv(TLV_AUTHORITY, b"")))
    assert header.tlv(TLV_ALPN) == b"h2"
    assert header.tlv(TLV_SSL_VERSION) == b"TLSv1.3"
    assert header.tlv(TLV_AUTHORITY) == b""
    assert header.tlv(0x42) is None
    assert (header.ssl_flags, header.ssl_verify_result) == (1, 7)
    assert (parse(v2(V4)).ssl_flags, parse(v2(V4)).ssl_verify_result) == (0, 0)


@pytest.mark.parametrize(
    ("header", "log", "garbage"),
    [
        (v2(b"", 0x20, 0), "2 local local local local", ""),
        (v2(b"whatever", 0x21, 0), "", "PROXY2: Ignoring UNSPEC|UNSPEC addresses"),
        (v2(V4, 0x21, 0x99), "", "PROXY2: Ignoring unsupported protocol (0x99)"),
        (v2(V4[:11], 0x21, 0x11), "", "PROXY2: Ignoring short IPv4 addresses (11)"),
        (v2(V4, 0x21, 0x21), "", "PROXY2: Ignoring short IPv6 addresses (12)"),
    ],
)
def test_v2_without_addresses(header: bytes, log: str, garbage: str) -> None:
    assert parse(header) == ProxyHeader(2, None, None, log, garbage)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (v2(V4, 0x31), "PROXY2: bad version (3)"),
        (v2(V4, 0x22), "PROXY2: bad command (2)"),
        (v2(V4 + b"\1"), "PROXY2: TLV Dribble bytes"),
        (v2(V4 + b"\1\0\5ab"), "PROXY2: TLV Length Error"),
        (v2(V4 + tlv(TLV_SSL, b"1234")), "PROXY2: TLV Length Error"),
        (v2(V4 + tlv(TLV_SSL, b"12345\1")), "PROXY2: TLV Dribble bytes"),
        (v2(V4 + tlv(3, b"1234")), "PROXY2: CRC error"),
        (v2(V4 + tlv(3, b"123")), "PROXY2: TLV Length Error"),
    ],
)
def test_v2_broken(header: bytes, text: str) -> None:
    with pytest.raises(ProxyError) as caught:
        parse(header)
    assert str(caught.value) == text


def test_limits() -> None:
    line = b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 5678"
    at_most = line + b" " * (106 - len(line)) + b"\r\n"
    assert len(at_most) == 108
    assert find_end(at_most) == 108
    for octets in (line + b" " * (107 - len(line)) + b"\r\n", line + b" " * 200, v2(b"x" * 1025), v2(b"x" * 1025)[:16]):
        with pytest.raises(ProxyOverflow):
            find_end(octets)
    for octets in (b"XYZ", b"PROXZ", b"GET / HTTP/1.1\r\n\r\n", SIGNATURE_2[:11] + b"x"):
        with pytest.raises(ProxyError):
            find_end(octets)


def test_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's CRC


@pytest.mark.parametrize("client,server", [(("1.2.3.4", 5), ("6.7.8.9", 10)), (("1::2", 5), ("6::9", 10))])
def test_what_we_write_is_read_back(client: tuple[str, int], server: tuple[str, int]) -> None:
    for header in (
        format_v1(client, server),
        format_v2(client, server),
        format_v2(client, server, "a.example", crc=True),
    ):
        assert [find_end(header[:n]) for n in range(len(header))] == [0] * len(header)
        assert find_end(header + b"GET") == len(header)
        parsed = parse(header)
        assert (parsed.client, parsed.server) == (client, server)
    assert parsed.tlv(TLV_AUTHORITY) == b"a.example"
    broken = bytearray(header)
    broken[20] ^= 1
    with pytest.raises(ProxyError, match="CRC"):
        parse(bytes(broken))


@given(st.binary(max_size=80), st.sampled_from([b"PROXY ", b"PROXY TCP4 ", v2(V4)[:12], v2(V4)[:14], b""]))
def test_nothing_but_proxy_errors(octets: bytes, prefix: bytes) -> None:
    try:
        end = find_end(prefix + octets)
        if end:
            parse((prefix + octets)[:end])
    except ProxyError:
        pass


@given(st.binary(max_size=60))
def test_any_tlvs(tlvs: bytes) -> None:
    try:
        header = parse(v2(V4 + tlvs))
    except ProxyError:
        return
    for kind in range(256):
        header.tlv(kind)
    assert header.ssl_flags >= 0 and header.ssl_verify_result >= 0


def test_mapped_addresses_are_ipv4() -> None:
    mapped = bytes(10) + b"\xff\xff\xc0\0\2\4"
    header = parse(v2(mapped + mapped + struct.pack("!HH", 1, 2), family=0x21))
    assert (header.client, header.server) == (("192.0.2.4", 1), ("192.0.2.4", 2))
    header = parse(b"PROXY TCP6 ::ffff:192.0.2.4 ::ffff:c000:205 1 2\r\n")
    assert (header.client, header.server) == (("192.0.2.4", 1), ("192.0.2.5", 2))
    assert format_v1(("::ffff:192.0.2.4", 1), ("192.0.2.5", 2)) == b"PROXY TCP4 192.0.2.4 192.0.2.5 1 2\r\n"


def test_scopes_stay_here() -> None:
    client, server = ("fe80::1%lo", 1), ("fe80::2%lo", 2)
    assert format_v1(client, server) == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"
    assert parse(format_v2(client, server)).client == ("fe80::1", 1)


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (("192.0.2.4", 1), ("2001:db8::5", 2)),
        (("::ffff:192.0.2.4", 1), ("::", 2)),
        (("::1", 1), ("192.0.2.5", 2)),
    ],
)
def test_addresses_of_two_families_are_written_as_one(client: tuple[str, int], server: tuple[str, int]) -> None:
    """A dual-stack socket, or a PROXY header with a mapped address, has such pairs."""
    expected = ((normal(client[0]), client[1]), (normal(server[0]), server[1]))
    for header in (format_v1(client, server), format_v2(client, server), format_v2(client, server, "a.example", True)):
        found = parse(header)
        assert (found.client, found.server) == expected
