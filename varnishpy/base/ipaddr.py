"""Addresses as everybody here writes and compares them.

An IPv4 client reaches a socket of both families as ``::ffff:192.0.2.4``, and a PROXY header may name it so: it is the
same client, so its text is the IPv4 address wherever one is shown, hashed, matched or sent on. A link-local address
means something only together with its scope (``fe80::1%eth0``, RFC 4007 section 11): the text keeps it, the octets have
no place for it.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

#: in front of the four octets of an IPv4-mapped address (RFC 4291 section 2.5.5.2)
MAPPED: Final = bytes(10) + b"\xff\xff"


@lru_cache(maxsize=4096)
def normal(ip: str) -> str:
    """The one text of an address. :raises ValueError: it is none"""
    host, percent, scope = ip.partition("%")
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{address}{percent}{scope}" if scope else str(address)


def of_octets(octets: bytes) -> str:
    """The text of 4 or 16 octets."""
    return normal(str(ipaddress.ip_address(octets)))


@lru_cache(maxsize=4096)
def packed(ip: str) -> bytes:
    """The 4 or 16 octets of an address, for matching; without its scope. :raises ValueError: it is none"""
    return ipaddress.ip_address(normal(ip).partition("%")[0]).packed


def bare(ip: str) -> str:
    """The text without a scope, which means nothing to other machines. :raises ValueError: it is no address"""
    return normal(ip).partition("%")[0]
