"""The compiler's half of ACLs: parsing them, ordering and folding their networks.

The language is that of vcl(7), "Access Control List (ACL)"; what an address is matched against is in ``acl.py``.
"""

from __future__ import annotations

import bisect
import re
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Final

from varnishpy.base.ipaddr import MAPPED
from varnishpy.vcl.source import CSTR, ID, Token
from varnishpy.vcl.specs import AclEntry, AclSpec
from varnishpy.vcl.types import ACL
from varnishpy.vcl.unit import Unit

_PARTS = re.compile(r"\d{1,3}(\.\d{1,3}){0,3}")
_FLAGS: Final = "Valid ACL flags are `log`, `fold`, `pedantic` and `table`:\n"
_FOLD_FLAGS: Final = "The only ACL fold sub-flag is `report`:\n"


@dataclass(slots=True)
class _Line:
    """One entry while it is parsed."""

    address: Token
    negated: bool = False
    optional: bool = False  # in parentheses: ignored if the name cannot be resolved
    mask: int = -1
    mask_token: Token | None = None


class _Relation(Enum):
    """Of a network to another that is not before it in order."""

    APART = 0
    INSIDE = 1
    LOWER_HALF = 2  # together they are one network whose prefix is one bit shorter


@dataclass(slots=True)
class _Net:
    packed: bytes
    prefix: int
    line: _Line
    fixed: str = ""

    @property
    def number(self) -> int:
        return int.from_bytes(self.packed, "big")

    def order(self) -> tuple[int, int, int]:
        """IPv4 first, then by address, and what is inside a network before that network."""
        host_bits = 8 * len(self.packed) - self.prefix
        return len(self.packed), self.number | ((1 << host_bits) - 1), -self.prefix

    def relation(self, after: _Net) -> _Relation:
        if len(self.packed) != len(after.packed):
            return _Relation.APART
        bits = 8 * len(self.packed)
        shift = bits - after.prefix
        if self.prefix > after.prefix and self.number >> shift == after.number >> shift:
            return _Relation.INSIDE
        if self.prefix == after.prefix and self.number >> shift | 1 == after.number >> shift:
            return _Relation.LOWER_HALF
        return _Relation.APART


class _Parser:
    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.nets: list[_Net] = []  # in `_Net.order`
        self.flags = {"log": False, "table": False, "pedantic": True, "fold": True}
        self.reports_folds = True

    def parse(self) -> None:
        unit = self.unit
        unit.next()
        unit.expect_name("ACL")
        name = unit.token.text
        symbol = unit.symbols.define(ACL)
        while (sign := unit.flag(_FLAGS)) is not None:
            flag = unit.token
            if flag.kind != ID or flag.text not in self.flags:
                unit.report.fail(f"Unknown ACL flag. {_FLAGS}", flag)
            self.flags[flag.text] = sign
            unit.next()
            if flag.text == "fold":
                self._fold_flag(sign)
        unit.skip("{")
        while unit.token.kind != "}":
            self._entry()
            unit.skip(";")
        unit.skip("}")
        entries = [AclEntry(net.packed, net.prefix, net.line.negated, self._text(net)) for net in self.nets]
        unit.acls.append((symbol, AclSpec(name, tuple(entries), self.flags["log"], self._is_table())))

    def _fold_flag(self, sign: bool) -> None:
        """What may follow ``+fold``: in parentheses, whether to report what was folded."""
        unit = self.unit
        self.reports_folds = True
        if unit.token.kind != "(":
            return
        if not sign:
            unit.report.fail("-fold(...) is invalid, use -fold:\n", unit.token)
        unit.next()
        report = unit.flag(_FOLD_FLAGS)
        if report is None:
            return  # and the caller complains, as the reference does, that what follows is no "{"
        if not unit.token.is_id("report"):
            unit.report.fail(_FOLD_FLAGS, unit.token)
        self.reports_folds = report
        unit.next()
        unit.skip(")")

    def _is_table(self) -> bool:
        """Would the reference put the networks into a table? It does so if at least two do not hold others."""
        if not self.flags["table"]:
            return False
        outer: list[_Net] = []
        for net in reversed(self.nets):
            if not outer or net.relation(outer[-1]) is not _Relation.INSIDE:
                outer.append(net)
        return len(outer) > 1

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
            if line.optional or self.unit.options.offline:
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
        if bits == 128 and prefix >= 96 and packed[:12] == MAPPED:  # IPv4, as its clients are
            packed, bits, prefix = packed[12:], 32, prefix - 96
        number = int.from_bytes(packed, "big")
        kept = number >> (bits - prefix) << (bits - prefix)
        net = _Net(kept.to_bytes(len(packed), "big"), prefix, line)
        if kept != number:
            family_number = socket.AF_INET if bits == 32 else socket.AF_INET6
            net.fixed = f"{socket.inet_ntop(family_number, net.packed)}/{prefix}"
            if self.flags["pedantic"]:
                report.fail(f"Non-zero bits in masked part, (maybe use {net.fixed} ?)\n", line.address)
        self._insert(net)

    # -- order, and folding ---------------------------------------------------------------------------------------

    def _insert(self, net: _Net) -> None:
        at = bisect.bisect_left(self.nets, net.order(), key=_Net.order)
        if at < len(self.nets) and self.nets[at].order() == net.order():
            other = self.nets[at]
            if other.line.negated != net.line.negated:
                report = self.unit.report
                report.add("Conflicting ACL entries:\n")
                report.where(other.line.address)
                report.fail("vs:\n", net.line.address)
            return
        self.nets.insert(at, net)
        if not self.flags["fold"]:
            return
        if at > 0 and not self._fold(self.nets[at - 1], net):
            return
        at = self.nets.index(net)
        if at + 1 < len(self.nets):
            self._fold(net, self.nets[at + 1])

    def _fold(self, left: _Net, right: _Net) -> bool:
        """Drop networks that the right one holds, or join the two halves of one; what is negated stays as it is.

        :return: whether the right one is still there
        """
        while not left.line.negated and not right.line.negated:
            relation = left.relation(right)
            if relation is _Relation.APART:
                break
            at = self.nets.index(left)
            del self.nets[at]
            if relation is _Relation.LOWER_HALF:
                self._join(left, right)
                return False
            self._tell(right, "supersedes / removes:\n", left)
            if at == 0:
                break
            left = self.nets[at - 1]
        return True

    def _join(self, left: _Net, right: _Net) -> None:
        left.prefix -= 1
        left.fixed = "folded"
        tail = f"removing the latter and expanding mask of the former by one to /{left.prefix}\n"
        self._tell(left, "left of:\n", right, tail)
        self.nets.remove(right)
        self._insert(left)

    def _tell(self, first: _Net, what: str, second: _Net, tail: str = "") -> None:
        if not self.reports_folds:
            return
        report = self.unit.report
        report.add("ACL entry:\n")
        report.where(first.line.address)
        report.add(what)
        report.where(second.line.address)
        report.add(tail)
        report.warning()

    @staticmethod
    def _text(net: _Net) -> str:
        line = net.line
        text = f'"{line.address.value.partition("/")[0]}"'
        if line.mask_token is not None and line.mask_token is not line.address:
            text += f"/{net.prefix}"
        return text + (f" fixed: {net.fixed}" if net.fixed else "")


def parse_acl(unit: Unit) -> None:
    """``acl name { ... }``."""
    _Parser(unit).parse()
