"""ACLs: parsing them, and matching addresses against them (vcl(7), "Access Control List (ACL)")."""

from __future__ import annotations

import itertools
import re
import socket
from dataclasses import dataclass
from typing import Any

from varnishpy.log.tags import Tag
from varnishpy.vcl.context import Ctx, VclFailure
from varnishpy.vcl.source import CSTR, ID, Token
from varnishpy.vcl.specs import AclEntry, AclSpec
from varnishpy.vcl.types import ACL
from varnishpy.vcl.unit import Unit
from varnishpy.vcl.values import SockAddr, packed

_VCL_ACL = int(Tag.VCL_acl)
_PARTS = re.compile(r"\d{1,3}(\.\d{1,3}){0,3}")


# -- parsing -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """One entry while it is parsed."""

    address: Token
    negated: bool = False
    optional: bool = False  # in parentheses: ignored if the name cannot be resolved
    mask: int = -1
    mask_token: Token | None = None


@dataclass(slots=True)
class _Net:
    packed: bytes
    prefix: int
    line: _Line
    fixed: str = ""


class _Parser:
    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.nets: list[_Net] = []
        self.flags = {"log": False, "table": False, "pedantic": True, "fold": False}

    def parse(self) -> None:
        unit = self.unit
        unit.next()
        unit.expect_name("ACL")
        name = unit.token.text
        symbol = unit.symbols.define(ACL)
        while (sign := unit.flag()) is not None:
            flag = unit.expect(ID)
            if flag.text not in self.flags:
                unit.report.fail("Unknown ACL flag:\n", flag)
            self.flags[flag.text] = sign
            unit.next()
        unit.skip("{")
        while unit.token.kind != "}":
            self._entry()
            unit.skip(";")
        unit.skip("}")
        if self.flags["fold"]:
            self._fold()
        entries = [
            AclEntry(net.packed, net.prefix, net.line.negated, self._text(net))
            for net in sorted(self.nets, key=lambda net: -net.prefix)
        ]
        unit.acls.append((symbol, AclSpec(name, tuple(entries), self.flags["log"])))

    def _entry(self) -> None:
        unit = self.unit
        line = _Line(unit.token)
        line.negated = self._accept("!")
        line.optional = self._accept("(")
        if not line.negated:
            line.negated = self._accept("!")
        token = line.address = unit.expect(CSTR)
        unit.next()
        host, slash, mask = token.value.partition("/")
        if slash:
            if not mask.isdigit():
                unit.report.fail(".../mask is not numeric.\n", token)
            line.mask, line.mask_token = int(mask), token
            if unit.token.kind == "/":
                unit.report.fail("/mask only allowed once.\n", unit.token)
        elif self._accept("/"):
            line.mask_token = unit.token
            line.mask = unit.unsigned()
        if line.optional:
            unit.skip(")")
        if _PARTS.fullmatch(host) and all(int(part) < 256 for part in host.split(".")):
            parts = [int(part) for part in host.split(".")]
            self._add(bytes(parts + [0] * (4 - len(parts))), line, 8 * len(parts))
        else:
            self._resolve(host, line)

    def _accept(self, kind: str) -> bool:
        if self.unit.token.kind != kind:
            return False
        self.unit.next()
        return True

    def _resolve(self, host: str, line: _Line) -> None:
        report = self.unit.report
        try:
            found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            text = getattr(error, "strerror", None) or str(error)
            if line.optional:
                report.add(f"Warning: {host} ignored\n  -- {text}\n")
                return
            report.fail(f"DNS lookup({host}): {text}\n", line.address)
        families = {item[0] for item in found}
        if line.mask_token is not None and len(families) > 1:
            report.fail(
                f"Mask (/{line.mask}) specified, but string resolves to both IPv4 and IPv6 addresses.\n",
                line.mask_token,
            )
        for address in dict.fromkeys((item[0], str(item[4][0])) for item in found):
            packed = socket.inet_pton(address[0], address[1].partition("%")[0])
            self._add(packed, line, 8 * len(packed))

    def _add(self, packed: bytes, line: _Line, default: int) -> None:
        report = self.unit.report
        bits = 8 * len(packed)
        prefix = line.mask if line.mask_token is not None else default
        if prefix > bits:
            family = "IPv4" if bits == 32 else "IPv6"
            report.fail(f"Too wide mask (/{prefix}) for {family} address\n", line.mask_token or line.address)
        number = int.from_bytes(packed, "big")
        kept = number >> (bits - prefix) << (bits - prefix)
        net = _Net(kept.to_bytes(len(packed), "big"), prefix, line)
        if kept != number:
            family_number = socket.AF_INET if bits == 32 else socket.AF_INET6
            net.fixed = f"{socket.inet_ntop(family_number, net.packed)}/{prefix}"
            if self.flags["pedantic"]:
                report.fail(f"Non-zero bits in masked part, (maybe use {net.fixed} ?)\n", line.address)
        for other in self.nets:
            if (other.packed, other.prefix) == (net.packed, net.prefix):
                if other.line.negated != line.negated:
                    report.add("Conflicting ACL entries:\n")
                    report.where(other.line.address)
                    report.fail("vs:\n", line.address)
                return
        self.nets.append(net)

    def _fold(self) -> None:
        """Drop networks inside others, and join halves, as long as nothing is negated."""
        if any(net.line.negated for net in self.nets):
            return
        changed = True
        while changed:
            changed = False
            nets = sorted(self.nets, key=lambda net: (len(net.packed), net.packed, net.prefix))
            for left, right in itertools.pairwise(nets):
                if len(left.packed) != len(right.packed):
                    continue
                if _contains(left.packed, left.prefix, right.packed):
                    self.nets.remove(right)
                elif (
                    left.prefix == right.prefix
                    and left.prefix
                    and _contains(left.packed, left.prefix - 1, right.packed)
                ):
                    if not _aligned(left.packed, left.prefix - 1):
                        continue
                    self.nets.remove(right)
                    left.prefix -= 1
                    left.fixed = "folded"
                else:
                    continue
                changed = True
                break

    @staticmethod
    def _text(net: _Net) -> str:
        line = net.line
        text = f'"{line.address.value.partition("/")[0]}"'
        if line.mask_token is not None and line.mask_token is not line.address:
            text += f"/{net.prefix}"
        return text + (f" fixed: {net.fixed}" if net.fixed else "")


def _contains(packed: bytes, prefix: int, other: bytes) -> bool:
    shift = 8 * len(packed) - prefix
    return int.from_bytes(packed, "big") >> shift == int.from_bytes(other, "big") >> shift


def _aligned(packed: bytes, prefix: int) -> bool:
    shift = 8 * len(packed) - prefix
    return int.from_bytes(packed, "big") & ((1 << shift) - 1) == 0


def parse_acl(unit: Unit) -> None:
    """``acl name { ... }``."""
    _Parser(unit).parse()


# -- matching ----------------------------------------------------------------------------------------------------------


class Acl:
    """An ACL at run time: for each family and prefix length a table of networks, longest first."""

    __slots__ = ("_tables", "log", "name")

    def __init__(self, spec: AclSpec) -> None:
        self.name = spec.name
        self.log = spec.log
        self._tables: dict[int, list[tuple[int, dict[int, AclEntry]]]] = {4: [], 16: []}
        for entry in spec.entries:
            tables = self._tables[len(entry.packed)]
            shift = 8 * len(entry.packed) - entry.prefix
            if not tables or tables[-1][0] != shift:
                tables.append((shift, {}))
            tables[-1][1].setdefault(int.from_bytes(entry.packed, "big") >> shift, entry)

    def match(self, ctx: Ctx, address: Any) -> bool:
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
            ctx.log(_VCL_ACL, f"NO_MATCH {self.name}")
        return False

    def __str__(self) -> str:
        return self.name


def acl_match(ctx: Ctx, acl: Acl | None, address: SockAddr | None) -> bool:
    """``address ~ acl``."""
    if acl is None:
        raise VclFailure("Cannot match a null ACL")
    return acl.match(ctx, address)
