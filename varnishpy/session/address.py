"""Addresses of the two ends of a connection."""

from __future__ import annotations

from typing import Final

from varnishpy.base.ipaddr import normal
from varnishpy.vcl.values import SockAddr

__all__ = ["NO_ADDRESS", "SockAddr", "sockaddr"]

NO_ADDRESS: Final = SockAddr("0.0.0.0", 0)  # what Unix sockets show


def sockaddr(raw: object) -> SockAddr:
    """From what accept(2) and getsockname(2) give: ``(ip, port)`` or ``(ip, port, flow, scope)``; Unix: `NO_ADDRESS`.

    IPv4 clients of an IPv6 socket show as IPv4, as they would without it.
    """
    if not isinstance(raw, tuple):
        return NO_ADDRESS
    ip, port = raw[:2]
    assert isinstance(ip, str) and isinstance(port, int)
    return SockAddr(normal(ip), port)
