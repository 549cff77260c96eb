"""ACLs: handed around, swept and timed."""

from __future__ import annotations

import hashlib
import ipaddress

from varnishpy.base import clock
from varnishpy.log.tags import Tag
from varnishpy.vcl import runtime
from varnishpy.vcl.acl import Acl
from varnishpy.vmods.api import ACL, BLOB, BOOL, DURATION, INT, IP, Ctx, SockAddr, VclFailure

_DEBUG = int(Tag.Debug)
_PER_LINE = 64  # addresses


def null_acl(ctx: Ctx) -> ACL:
    return None


def acl(ctx: Ctx, acl: ACL) -> ACL:
    return acl


def match_acl(ctx: Ctx, acl: ACL, ip: IP) -> BOOL:
    return runtime.acl_match(ctx, acl, ip)


def _sweep(acl: Acl | None, ip0: SockAddr | None, ip1: SockAddr | None, step: int) -> tuple[Acl, list[SockAddr]]:
    """The list, and the addresses from one through another, in steps."""
    if acl is None or ip0 is None or ip1 is None or step < 1:
        raise VclFailure("An ACL, two addresses and a step are needed")
    first, last = ipaddress.ip_address(ip0.ip), ipaddress.ip_address(ip1.ip)
    if first.version != last.version:
        raise VclFailure("IPs have different families")
    if int(last) < int(first):
        raise VclFailure(f"Sweep: ipv{first.version}.end < ipv{first.version}.start")
    return acl, [SockAddr(str(type(first)(number)), 0) for number in range(int(first), int(last) + 1, step)]


def sweep_acl(ctx: Ctx, acl: ACL, ip0: IP, ip1: IP, step: INT = 1) -> BLOB:
    """A digest of how all addresses fare, logged too: two ACLs that differ nowhere give the same."""
    digest = hashlib.sha256()
    known, addresses = _sweep(acl, ip0, ip1, step)
    for start in range(0, len(addresses), _PER_LINE):
        line = addresses[start : start + _PER_LINE]
        marks = "".join("X" if known.match(ctx, address) else "-" for address in line)
        text = f"Sweep: {line[0].ip:<15}{marks}"
        ctx.log(_DEBUG, text)
        digest.update(text.encode("latin-1"))
    return digest.digest()


def time_acl(ctx: Ctx, acl: ACL, ip0: IP, ip1: IP, step: INT = 1, rounds: INT = 1000) -> DURATION:
    """Seconds that one match takes."""
    known, addresses = _sweep(acl, ip0, ip1, step)
    if rounds < 1:
        raise VclFailure("debug.time_acl(): no rounds")
    start = clock.mono()
    for _ in range(rounds):
        for address in addresses:
            known.match(ctx, address)
    end = clock.mono()
    count = rounds * len(addresses)
    each = (end - start) / count
    ctx.log(
        _DEBUG,
        f"Timed ACL: {start:.9f} -> {end:.9f} = {end - start:.9f} {(end - start) / rounds:.9f}/round, "
        f"{each:.9f}/IP {count} IPs",
    )
    return each


class aclobj:
    def __init__(self, ctx: Ctx, vcl_name: str, acl: ACL) -> None:
        self._acl = acl

    def get(self, ctx: Ctx) -> ACL:
        return self._acl
