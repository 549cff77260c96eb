"""The state of one compilation: options, the token stream with its cursor, symbols, and what has been parsed."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from varnishpy.vcl import methods, types
from varnishpy.vcl.source import CNUM, CSTR, EOI, FNUM, ID, Report, Source, Token
from varnishpy.vcl.specs import AclSpec, BackendSpec, ProbeSpec
from varnishpy.vcl.symbols import Symbol, Symbols
from varnishpy.vcl.tree import Sub, Use
from varnishpy.vcl.types import DURATION_UNITS
from varnishpy.vcl.variables import VARIABLES

if TYPE_CHECKING:
    from varnishpy.vcl.vmodspec import Vmod

# comments, preprocessor lines, empty statements and space: C that does nothing
_C_NOTHING = re.compile(r"/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:\\\n|[^\n])*|[\s;]", re.DOTALL | re.MULTILINE)


@dataclass(slots=True)
class CompileOptions:
    """What a compilation depends on besides the source text.

    ``stevedores`` and ``labels`` are the names that exist where the program will run; ``filename`` is what messages
    call the program.
    """

    filename: str = "<vcl.inline>"
    vcl_path: list[str] = field(default_factory=lambda: ["/etc/varnish", "/usr/share/varnish/vcl"])
    vmod_path: list[str] = field(default_factory=list)
    err_unref: bool = True
    allow_inline_c: bool = False
    unsafe_path: bool = True
    stevedores: tuple[str, ...] = ("s0", "Transient")
    labels: tuple[str, ...] = ()
    # Where a backend is to be found instead of where the program says: "host:port" or a path, by its name; "*" is for
    # all others. It is spoken to in plain HTTP, without a probe, PROXY header or other backend between.
    stand_ins: dict[str, str] = field(default_factory=dict)
    # a program away from its home: a host name that does not resolve means an address that nobody has, and is left out
    # of an ACL
    offline: bool = False
    # who will run the program, if that is somebody else: user, group and further groups. Set only in a process that has
    # no other threads and may take that identity
    runs_as: tuple[int, int, tuple[int, ...]] | None = None
    coverage: bool = False  # count in the running program which statements and branches are passed
    builtin_source: str | None = None  # another builtin VCL (-f '' uses none of the user's)


@dataclass(slots=True)
class Import:
    """An imported VMOD: the name VCL uses, the module, and the VMOD's own name."""

    alias: str
    name: str
    module: str
    path: str
    token: Token
    vmod: Vmod


class Unit:
    """One compilation."""

    def __init__(self, options: CompileOptions, builtin_names: frozenset[str] | None = None) -> None:
        self.options = options
        self.report = Report()
        self.tokens: list[Token] = []
        self.sources: list[Source] = []
        self.token: Token = Token(EOI, Source("", "", ""), 0, 0)
        self.syntax = 0
        self.symbols = Symbols(self)
        self.builtin_names = builtin_names  # None while the builtin VCL itself is being read
        self.subs: list[Sub] = []
        self.current: Sub | None = None
        self.statement: Token | None = None  # where the statement begins that is being parsed
        self.backends: list[tuple[Symbol, BackendSpec, Symbol | None]] = []
        self.probes: list[tuple[Symbol, ProbeSpec]] = []
        self.acls: list[tuple[Symbol, AclSpec]] = []
        self.objects: list[Symbol] = []
        self.imports: list[Import] = []
        self.default_backend: Symbol | None = None
        self.first_backend: Symbol | None = None
        self.default_probe: Symbol | None = None
        self.references: list[Token] = []  # points that VCL_trace can name; the first is number 1
        self.labels_used: set[str] = set()
        self.uses_dynamic_calls = False
        self.writes_trace = False
        self._predefine()

    # -- the token stream -----------------------------------------------------------------------------------------

    def after(self, token: Token) -> Token:
        return self.tokens[min(token.index + 1, len(self.tokens) - 1)]

    def before(self, token: Token) -> Token:
        return self.tokens[max(token.index - 1, 0)]

    def next(self) -> Token:
        """Step forward; returns the token stepped over."""
        token = self.token
        self.token = self.after(token)
        return token

    def expect(self, kind: str) -> Token:
        if self.token.kind != kind:
            name = kind if kind in (ID, CNUM, FNUM, CSTR, "CSRC", "CBLOB", EOI) else f"'{kind}'"
            line = sys._getframe(1).f_lineno  # the reference names a line of the compiler, too
            self.report.add(f"Expected {name} got {self.token.describe()}\n(program line {line}), at\n")
            self.report.where(self.token)
            self.report.stop()
        return self.token

    def skip(self, kind: str) -> Token:
        self.expect(kind)
        return self.next()

    def text_of(self, first: Token, stop: Token) -> str:
        """The tokens from one up to, not including, another."""
        return "".join(token.text for token in self.tokens[first.index : stop.index])

    def fail_span(self, text: str, first: Token, tail: str = "") -> NoReturn:
        """Fail, showing everything from a token up to the cursor."""
        self.report.add(text)
        self.report.span(first, self.before(self.token))
        self.report.add(tail)
        self.report.stop()

    def expect_name(self, what: str) -> Token:
        """A plain name follows: no dots, only letters, digits, ``_`` and ``-``."""
        token = self.expect(ID)
        stop = self.after(token)
        if stop.kind == ".":
            while stop.kind == ".":
                stop = self.after(stop)
                if stop.kind != ID:
                    break
                stop = self.after(stop)
            text = self.text_of(token, stop)
            self.report.add(f"Name of {what}, '{text}', contains illegal character '.'\n")
            self.report.span(token, self.before(stop))
            self.report.stop()
        return token

    def inline_c(self) -> None:
        """``C{ ... }C``: there is no C here. Where it is allowed, one that does nothing is passed over."""
        token = self.token
        if not self.options.allow_inline_c or _C_NOTHING.sub("", token.text[2:-2]):
            self.report.fail("Inline-C not allowed\n", token)
        self.next()

    # -- literals that declarations use ---------------------------------------------------------------------------

    def unsigned(self) -> int:
        return round(self._number(self.expect(CNUM)))

    def _number(self, token: Token) -> float:
        self.next()
        return token.num

    def duration(self) -> float:
        """A number and its unit, in seconds."""
        if self.token.kind != FNUM:
            self.expect(CNUM)
        value = self._number(self.token)
        self.expect(ID)
        return value * self.duration_unit()

    def duration_unit(self) -> float:
        factor = DURATION_UNITS.get(self.token.text)
        if factor is None:
            legal = "Legal duration units are 'ms', 's', 'm', 'h', 'd', 'w' and 'y'"
            self.report.fail(f"Unknown duration unit {self.token.describe()}\n{legal}\n", self.token)
        self.next()
        return factor

    def boolean(self) -> bool:
        token = self.token
        if token.kind != ID or token.text not in ("true", "false"):
            self.report.fail('Expected "true" or "false"\n', token)
        self.next()
        return token.text == "true"

    def flag(self, hint: str = "") -> bool | None:
        """The sign of a ``+flag`` or ``-flag``, or ``None``; the cursor moves to the flag's name.

        :param hint: what ends the report if no name follows the sign
        """
        token = self.token
        if token.kind not in ("+", "-"):
            return None
        if self.after(token).begin != token.end:
            stop = self.report.error("Expected a flag at:\n", token)
            self.report.add(hint)
            raise stop
        self.next()
        return token.kind == "+"

    def vmod_key(self, alias: str) -> str:
        """The name under which a VMOD was imported first: by that its private data is known, whatever its names."""
        module = next(item.module for item in self.imports if item.alias == alias)
        return next(item.alias for item in self.imports if item.module == module)

    # -- bookkeeping ----------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """Number the point where the cursor stands, for VCL_trace."""
        self.references.append(self.token)
        return len(self.references)

    def use(self, first: Token, symbol: Symbol, how: str, last: Token | None = None) -> None:
        """Record a use of a restricted symbol by the current subroutine."""
        assert self.current is not None
        masks = {
            "read": symbol.readable,
            "set": symbol.writable,
            "unset": symbol.unsettable,
            "action": symbol.action_mask,
        }
        self.current.uses.append(Use(first, last or first, symbol, how, masks[how]))

    def _predefine(self) -> None:
        make = self.symbols.make
        for word in ("acl", "sub", "backend", "probe", "import", "vcl", "unused"):
            make(word, "reserved", 41)
        for word, kind in (("regsub", types.STRING), ("regsuball", types.STRING), ("true", types.BOOL),
                           ("false", types.BOOL), ("default", types.DEFAULT)):  # fmt: skip
            make(word, "func").type = kind
        actions = {"hash_data": "hash", "new": "init", "synthetic": "synth backend_error"}
        for word in ("ban", "call", "hash_data", "if", "new", "return", "set", "synthetic", "unset"):
            symbol = make(word, "action")
            symbol.action = word
            symbol.action_mask = methods.mask(actions.get(word, ""))
        for variable in VARIABLES:
            name = variable.name.removesuffix(".*")
            symbol = make(name, "" if variable.wildcard else "var", variable.since, variable.until)
            symbol.wildcard = variable.wildcard
            symbol.type = variable.type
            symbol.readable = variable.readable
            symbol.writable = variable.writable
            symbol.unsettable = variable.unsettable
            symbol.variable = variable
        for name in methods.METHODS:
            symbol = make(f"vcl_{name}", "sub")
            symbol.type = types.SUB
            symbol.code = f"sub_vcl_{name}"
            symbol.readable = methods.ALL
            symbol.sub = Sub(symbol, method=name)
            self.subs.append(symbol.sub)
        for name in self.options.stevedores:
            for dotted in {f"storage.{name}", name} if name == "Transient" else {f"storage.{name}"}:
                symbol = make(dotted, "stevedore")
                symbol.type = types.STEVEDORE
                symbol.code = name
        for name in self.options.labels:
            make(name, "vcl").type = types.VCL
