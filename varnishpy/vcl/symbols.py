"""Symbol tables: names with dots, their kinds and types, and where each was defined and used.

Names are told apart without regard to case, and the first spelling is the one that is shown and sent. A table is a
tree: ``req.http`` is a *wildcard*, under which symbols come into being when they are first named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from varnishpy.vcl.nearby import did_you_mean
from varnishpy.vcl.source import CSTR, ID, Token
from varnishpy.vcl.types import DEFAULT, VOID, VclType

if TYPE_CHECKING:
    from varnishpy.vcl.tree import Sub
    from varnishpy.vcl.unit import Unit
    from varnishpy.vcl.variables import Variable
    from varnishpy.vcl.vmodspec import Function, ObjectClass, Vmod

LOWEST, HIGHEST = 40, 41


@dataclass(slots=True, eq=False)
class Symbol:
    """A name.

    ``kind`` is one of var, acl, backend, probe, sub, stevedore, instance, vmod, func, method, object, action, vcl,
    alias, reserved.
    """

    name: str  # its last part, as first spelled
    kind: str
    type: VclType = VOID
    since: int = 0
    until: int = 99
    readable: int = 0
    writable: int = 0
    unsettable: int = 0
    action: str = ""
    action_mask: int = 0
    defined: int = 0
    referenced: int = 0
    unchecked: bool = False  # may stay unused
    definition: Token | None = None
    reference: Token | None = None
    wildcard: bool = False
    variable: Variable | None = None
    sub: Sub | None = None
    code: str = ""  # how generated code names it
    target: str = ""  # of an alias: the name that is meant
    vmod: Vmod | None = None
    function: Function | None = None  # of VMODs: functions, methods and constructors
    made_by: ObjectClass | None = None  # of classes of VMODs, and of their objects
    goes_via: bool = False  # a backend that is reached through another one
    is_value: bool = False  # a subroutine that a VMOD may call; it may be defined further down
    parent: Table | None = None

    @property
    def full_name(self) -> str:
        return self.parent.full_name if self.parent is not None else self.name


@dataclass(slots=True, eq=False)
class Table:
    """A node of the tree of names."""

    name: str
    parent: Table | None = None
    children: dict[str, Table] = field(default_factory=dict)
    symbols: list[Symbol] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        if self.parent is not None and self.parent.parent is not None:
            return f"{self.parent.full_name}.{self.name}"
        return self.name

    def child(self, name: str) -> Table:
        key = name.lower()
        found = self.children.get(key)
        if found is None:
            found = self.children[key] = Table(name, self)
        return found

    def walk(self) -> Iterator[Symbol]:
        """All symbols, in order of name."""
        yield from self.symbols
        for key in sorted(self.children):
            yield from self.children[key].walk()


def has_vcl_prefix(name: str) -> bool:
    return name[:4].lower() == "vcl_"


def _make_header(unit: Unit, parent: Symbol, table: Table, kind: str) -> Symbol:
    """A header is named for the first time."""
    name = table.name
    if not name:
        unit.report.fail("HTTP header names cannot be empty.\n")
    if len(name) >= 127:
        unit.report.fail(f"HTTP header ({name[:20]}..) is too long.\n")
    for char in name:
        if not (char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~")):
            unit.report.fail(f"Invalid character '{_quoted(char)}' in header name.\n")
    symbol = Symbol(
        name, "var", parent.type, unit.syntax, unit.syntax, parent.readable, parent.writable, parent.unsettable,
        unchecked=True, variable=parent.variable, parent=table,
    )  # fmt: skip
    table.symbols.append(symbol)
    return symbol


def _quoted(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char == "\n":
        return "\\n"
    return char if " " <= char <= "~" else f"\\x{ord(char):02x}" if char not in "\t\r" else repr(char)[1:-1]


class Symbols:
    """The table of one compilation."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.root = Table("")

    def _table(self, dotted: str) -> Table:
        table = self.root
        for part in dotted.split("."):
            table = table.child(part)
        return table

    def make(self, dotted: str, kind: str, since: int = 0, until: int = 99) -> Symbol:
        """A symbol that the compiler itself provides; it may stay unused."""
        table = self._table(dotted)
        symbol = Symbol(table.name, kind, since=since, until=until, unchecked=True, parent=table)
        table.symbols.append(symbol)
        return symbol

    def alias(self, dotted: str, target: str) -> None:
        self.make(dotted, "alias").target = target

    def find(self, dotted: str) -> Symbol | None:
        """A symbol by its full name, whatever its kind."""
        table = self.root
        for part in dotted.split("."):
            below = table.children.get(part.lower())
            if below is None:
                return None
            table = below
        return table.symbols[0] if table.symbols else None

    def _in_table(self, table: Table, kind: str, since: int, until: int) -> Symbol | None:
        syntax = self.unit.syntax
        for symbol in table.symbols:
            if symbol.since > until or symbol.until < since:
                continue
            if not kind and not symbol.kind and not symbol.wildcard:
                continue
            # VCL 4.0 let things of different kinds share a name
            if syntax < 41 and symbol.name != "default" and kind and kind != symbol.kind and not symbol.wildcard:
                continue
            return symbol
        above = table.parent
        if above is None or not above.symbols or not above.symbols[0].wildcard:
            return None
        return _make_header(self.unit, above.symbols[0], table, kind)

    def get(self, kind: str = "", *, create: bool = False, partial: bool = False, quiet: bool = False) -> Symbol | None:
        """Read a dotted name off the token stream and look it up.

        :param create: make the symbol if there is none
        :param partial: the longest known beginning of the name will do
        :param quiet: return ``None`` (and stay in place) rather than fail
        """
        unit = self.unit
        first = unit.token
        if unit.syntax >= 41 and create and kind != "sub" and has_vcl_prefix(first.text):
            unit.report.fail("Symbols named 'vcl_*' are reserved.\nAt:", first)
        table = self.root
        token = first
        best: Symbol | None = None
        best_table: Table | None = None
        best_token = first
        while True:
            if token.kind == CSTR and unit.syntax < 41:
                unit.report.fail("Quoted headers are available for VCL >= 4.1.\nAt:", token)
            table = table.child(token.text if token.kind == ID else token.value)
            found = self._in_table(table, kind, unit.syntax, unit.syntax)
            if found is not None:
                best, best_table, best_token = found, table, token
            dot = unit.after(token)
            if dot.kind != ".":
                break
            following = unit.after(dot)
            if following.kind == CSTR and (best is None or not best.wildcard):
                break
            if following.kind not in (ID, CSTR):
                break
            token = following
        if best is not None and best.kind == "alias":
            whole = best_table is table
            best = self.find(best.target)
            assert best is not None
            best_table = table if whole else best_table
        if best is not None and best.kind == "vmod" and partial:
            partial = quiet = False
        if best is not None and partial:
            token, table = best_token, best_table or table
        elif table is not best_table:
            best = None
        if best is None and quiet:
            return None
        if best is None and create:
            best = Symbol(table.name, kind, since=unit.syntax, until=unit.syntax, parent=table)
            table.symbols.append(best)
        unit.token = unit.after(token)
        if best is None:
            self._not_found(first, table, kind)
        if kind and kind != best.kind and best.type is not DEFAULT:
            self._wrong_kind(first, best, kind)
        return best

    def want(self, kind: str = "") -> Symbol:
        """The symbol of the name that follows, or an error."""
        symbol = self.get(kind)
        assert symbol is not None
        return symbol

    def want_partial(self) -> Symbol:
        """The symbol of the longest known beginning of the name that follows, or an error."""
        symbol = self.get(partial=True)
        assert symbol is not None
        return symbol

    def _not_found(self, first: Token, table: Table, kind: str) -> NoReturn:
        unit = self.unit
        text = unit.text_of(first, unit.token)
        unit.report.add(f"Symbol not found: '{text}'")
        other = self._in_table(table, kind, LOWEST, HIGHEST)
        if other is not None and other.kind not in ("object", "instance"):
            unit.report.add(" (Only available when")
            if other.since >= LOWEST:
                unit.report.add(f" {other.since / 10:.1f} <=")
            unit.report.add(" VCL syntax")
            if other.until <= HIGHEST:
                unit.report.add(f" <= {other.until / 10:.1f}")
            unit.report.add(")")
        unit.report.add("\nAt: ")
        unit.report.span(first, unit.before(unit.token))
        alias, _, member = text.partition(".")
        for imported in unit.imports:
            if imported.alias == alias:
                unit.report.add(imported.vmod.about(member))
                unit.report.stop()
        unit.report.fail(self.near(text, kind))

    def near(self, text: str, kind: str = "", but: Symbol | None = None) -> str:
        """A line that asks whether another name was meant, or nothing.

        :param kind: of what kind it must be; any if empty
        :param but: not this one
        """
        syntax = self.unit.syntax
        parts = text.split(".")
        known: set[str] = set()
        for symbol in self.root.walk():
            if symbol is but or symbol.kind == "reserved" or not symbol.since <= syntax <= symbol.until:
                continue
            above = symbol.parent.parent if symbol.parent is not None else None
            if above is not None and above.symbols and above.symbols[0].wildcard:
                continue  # a header
            name = symbol.full_name
            if symbol.wildcard:  # with the header that was wanted
                header = parts[name.count(".") + 1 :]
                if header:
                    known.add(".".join([name, *header]))
            elif not kind or symbol.kind == kind:
                known.add(name)
        former = did_you_mean(text, ())
        if former:
            return former
        head, dot, rest = text.partition(".")
        start = head.lower() + dot
        alike = [name[len(start) :] for name in known if dot and name.lower().startswith(start)]
        return did_you_mean(rest, alike, start) or did_you_mean(text, known)

    def _wrong_kind(self, first: Token, symbol: Symbol, kind: str) -> NoReturn:
        unit = self.unit
        text = unit.text_of(first, unit.token)
        unit.report.add(f"Symbol '{text}' has wrong type ({symbol.kind or 'none'}), expected {kind}:\nAt: ")
        unit.report.span(first, unit.before(unit.token))
        if symbol.definition is not None:
            unit.report.add("Symbol was defined here: ")
            unit.report.where(symbol.definition)
        elif symbol.reference is not None:
            unit.report.add("Symbol was declared here: ")
            unit.report.where(symbol.reference)
        else:
            unit.report.add("Symbol was builtin\n")
        unit.report.stop()

    # -- names of values ------------------------------------------------------------------------------------------

    @staticmethod
    def refer(symbol: Symbol, token: Token) -> None:
        """Count a reference."""
        if symbol.reference is None:
            symbol.reference = token
        symbol.referenced += 1

    def make_handle(self, symbol: Symbol, kind: VclType) -> None:
        """Let a symbol name a value of a type; idempotent."""
        if symbol.code:
            return
        symbol.type = kind
        symbol.kind = kind.handle
        symbol.code = f"{kind.handle}_{python_name(symbol.name)}"

    def define(self, kind: VclType) -> Symbol:
        """The name that follows is defined here, as a value of a type."""
        unit = self.unit
        token = unit.token
        known = self.get(quiet=True)
        if known is not None and known.definition is not None:
            if known.kind == kind.handle:
                unit.report.add(f"{known.kind.capitalize()} '{token.text}' redefined.\n")
            else:
                unit.report.add(f"Name '{token.text}' already defined.\n")
            unit.report.where(token)
            unit.report.fail("First definition:\n", known.definition)
        if known is not None and known.kind != kind.handle:
            unit.report.fail(f"Name {token.text} must have type '{known.kind}'.\n", token)
        symbol = known if known is not None else self.get(kind.handle, create=True)
        assert symbol is not None
        self.make_handle(symbol, kind)
        symbol.defined = 1
        symbol.definition = token
        return symbol


def python_name(name: str) -> str:
    """A VCL name as part of a Python one; no two come out alike."""
    if "-" not in name:
        return name
    return "q_" + "".join(char if char.isalnum() else f"_{ord(char):02x}_" for char in name)
