"""ACLs at run time: matching addresses against them (vcl(7), "Access Control List (ACL)")."""

from __future__ import annotations

from varnishpy.base.ipaddr import packed
from varnishpy.log.tags import Tag
from varnishpy.vcl.context import Ctx, VclFailure
from varnishpy.vcl.specs import AclEntry, AclSpec
from varnishpy.vcl.values import SockAddr

_VCL_ACL = int(Tag.VCL_acl)


class Acl:
    """An ACL at run time: for each family and prefix length a table of networks, longest first."""

    __slots__ = ("_no_match", "_tables", "log", "name")

    def __init__(self, spec: AclSpec) -> None:
        self.name = spec.name
        self.log = spec.log
        self._no_match = f"{'NO MATCH' if spec.table else 'NO_MATCH'} {spec.name}"
        self._tables: dict[int, list[tuple[int, dict[int, AclEntry]]]] = {4: [], 16: []}
        for entry in sorted(spec.entries, key=lambda entry: -entry.prefix):
            tables = self._tables[len(entry.packed)]
            shift = 8 * len(entry.packed) - entry.prefix
            if not tables or tables[-1][0] != shift:
                tables.append((shift, {}))
            tables[-1][1].setdefault(int.from_bytes(entry.packed, "big") >> shift, entry)

    def match(self, ctx: Ctx, address: SockAddr | None) -> bool:
        """Is the address in the list? Raises `VclFailure` for no address."""
        if address is None:
            raise VclFailure("Cannot match a null IP address")
        octets = packed(address.ip)
        number = int.from_bytes(octets, "big")
        for shift, table in self._tables[len(octets)]:
            entry = table.get(number >> shift)
            if entry is not None:
                if self.log:
                    prefix = "NEG_" if entry.negated else ""
                    ctx.log(_VCL_ACL, f"{prefix}MATCH {self.name} {entry.text}")
                return not entry.negated
        if self.log:
            ctx.log(_VCL_ACL, self._no_match)
        return False

    def __str__(self) -> str:
        return self.name


def acl_match(ctx: Ctx, acl: Acl | None, address: SockAddr | None) -> bool:
    """``address ~ acl``."""
    if acl is None:
        raise VclFailure("Cannot match a null ACL")
    return acl.match(ctx, address)
