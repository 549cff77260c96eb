"""From the syntax tree to Python source: one module for a program, one function for a subroutine.

A function takes the context and returns the action that ends the method, or ``None`` when it merely falls off its end.
Variable access becomes attribute access on local names that are set up once per function; literals, patterns, headers
and addresses become module constants. Lines for VCL_trace are left out of the functions; ``TRACED`` holds the text of
the functions with them, for when a traced task comes along. What else the child must know stands in tables
(``module.py``).

Compiled for coverage (`CompileOptions.coverage`), a module counts in ``HITS`` how often each of its ``COVERAGE`` points
was passed: the entry of a subroutine, each statement, and both arms of each condition, the one that does nothing too.
"""

from __future__ import annotations

from typing import NamedTuple

from varnishpy.vcl import methods
from varnishpy.vcl.codegen_expr import ExpressionWriter
from varnishpy.vcl.source import Token, position
from varnishpy.vcl.specs import BackendSpec
from varnishpy.vcl.symbols import Symbol
from varnishpy.vcl.tree import (
    Action,
    Block,
    CallDynamic,
    CallFunction,
    CallSub,
    If,
    New,
    Return,
    Set,
    Stmt,
    Strings,
    Sub,
    ToBody,
    Unset,
)
from varnishpy.vcl.types import BLOB, BODY, DURATION, HEADER, INT, STRING, TIME
from varnishpy.vcl.unit import Unit
from varnishpy.vcl.variables import LOCALS

_INDENT = "    "


class Line(NamedTuple):
    """A line of a function. ``traced`` ones are there for VCL_trace only."""

    text: str
    traced: bool = False


class CoveragePoint(NamedTuple):
    """A place of a program whose passing is counted. ``line`` and ``column`` count from 1.

    ``kind`` is ``sub`` (a subroutine's block is entered; at its first word), ``line`` (a statement), or ``true`` and
    ``false``, the arms of a condition, at its ``if`` or ``else``; the two of one condition have the same place.
    """

    kind: str
    source: int  # index into SOURCES
    line: int
    column: int
    sub: str


class ModuleWriter:
    """Writes a whole program."""

    def __init__(self, unit: Unit, name: str) -> None:
        self.unit = unit
        self.name = name
        self.constants: dict[str, str] = {}  # Python expression -> name
        self.constant_lines: list[str] = []
        self.covers = unit.options.coverage
        self.points: list[CoveragePoint] = []

    def constant(self, prefix: str, expression: str) -> str:
        """The name of a module constant, made when it is first asked for."""
        name = self.constants.get(expression)
        if name is None:
            name = self.constants[expression] = f"{prefix}{len(self.constants) + 1}"
            self.constant_lines.append(f"{name} = {expression}")
        return name

    def point(self, kind: str, token: Token, sub: str) -> int:
        """The number of a new coverage point."""
        line, column = position(token.source, token.begin)
        self.points.append(CoveragePoint(kind, token.source.index, line, column, sub))
        return len(self.points) - 1

    def write(self) -> str:
        unit = self.unit
        subs = [sub for sub in unit.subs if sub.blocks]
        writers = [SubWriter(self, sub) for sub in subs]
        functions = [line for writer in writers for line in writer.write()]
        tables = self._tables(subs)
        fixed = {writer.sub.method: writer.fixed for writer in writers if writer.sub.method and writer.fixed}
        lines = [
            f'"""VCL program {self.name!r}, compiled. Do not edit."""'.replace("\\", "/"),
            "",
            "from varnishpy.params import params",
            "from varnishpy.vcl import runtime as rt",
            "from varnishpy.vcl.specs import AclEntry, AclSpec, BackendSpec, ProbeSpec",
            "",
            f"SYNTAX = {unit.syntax}",
            f"WRITES_TRACE = {unit.writes_trace}",
            f"LABELS = {sorted(unit.labels_used)!r}",
            f"FIXED = {fixed!r}",
            f"BUILTIN = {self._builtin(subs)!r}",
        ]
        lines += self._sources()
        for imported in unit.imports:
            text = f", {imported.vmod.text!r}" if imported.path else ""
            lines.append(f"vmod_{imported.alias} = rt.vmod({imported.module!r}, {imported.path!r}{text})")
            if unit.vmod_key(imported.alias) == imported.alias:
                lines.append(f"priv_vcl_{imported.alias} = rt.private()")
        vmods = [
            (item.alias, item.name, item.vmod.has_event)
            for item in unit.imports
            if unit.vmod_key(item.alias) == item.alias
        ]
        lines.append(f"VMODS = {vmods!r}")
        for symbol, acl in unit.acls:
            lines.append(f"{symbol.code} = rt.acl({acl!r})")
        for symbol, probe in unit.probes:
            lines.append(f"{symbol.code} = {probe!r}")
        default_probe = unit.default_probe.code if unit.default_probe is not None else "None"
        lines.append(f"DEFAULT_PROBE = {default_probe}")
        lines += self._backends()
        for symbol in unit.objects:
            lines.append(f"{symbol.code} = None")
        lines.append(f"OBJECTS = {[(symbol.name, symbol.code) for symbol in unit.objects]!r}")
        lines += self.constant_lines
        if self.covers:
            lines += ["COVERAGE = [", *(f"    {tuple(point)!r}," for point in self.points), "]"]
            lines.append(f"HITS = [0] * {len(self.points)}")
        lines += [line.text for line in functions if not line.traced]
        lines += tables
        lines += ["TRACED = [", *(f"    {text!r}," for text in [*(line.text for line in functions), *tables]), "]"]
        return "\n".join(lines) + "\n"

    def _builtin(self, subs: list[Sub]) -> list[str]:
        """The functions behind which nothing but the built-in VCL stands, as it is shipped."""
        unit = self.unit
        if self.covers or unit.uses_dynamic_calls or unit.options.builtin_source is not None:
            return []
        return [sub.symbol.code for sub in subs if is_builtin(sub)]

    def _sources(self) -> list[str]:
        unit = self.unit
        lines = ["SOURCES = ["]
        lines += [f"    ({source.name!r}, {source.text!r})," for source in unit.sources]
        lines += ["]", "REFERENCES = [  # source, line, position, of what VCL_trace names; the first is number 1"]
        for token in unit.references:
            line, column = position(token.source, token.begin)
            lines.append(f"    ({token.source.index}, {line}, {column}),")
        lines.append("]")
        return lines

    def _backends(self) -> list[str]:
        lines = []
        table = []
        for symbol, spec, via in self.unit.backends:
            assert isinstance(spec, BackendSpec)
            lines.append(f"{symbol.code} = None")
            via_name = repr(via.code) if via is not None else "None"
            table.append(f"    ({symbol.code!r}, {spec!r}, {via_name}),")
        default = self.unit.default_backend
        lines += ["BACKENDS = [", *table, "]", f"DEFAULT_BACKEND = {default.code if default else None!r}"]
        return lines

    def _tables(self, subs: list[Sub]) -> list[str]:
        lines = ["", "METHODS = {"]
        lines += [f"    {sub.method!r}: {sub.symbol.code}," for sub in subs if sub.method is not None]
        lines.append("}")
        for sub in subs:
            if sub.symbol.is_value:
                allowed = [method.name for method in methods.METHODS.values() if sub.allowed & method.bit]
                if sub.method is not None:
                    allowed = [sub.method]
                lines.append(f"value_{sub.symbol.code} = rt.sub({sub.symbol.name!r}, {sub.symbol.code}, {allowed!r})")
        return lines


class SubWriter(ExpressionWriter):
    """Writes one subroutine."""

    def __init__(self, module: ModuleWriter, sub: Sub) -> None:
        super().__init__(module)
        self.sub = sub
        self.lines: list[Line] = []
        self.globals: set[str] = set()
        self.acts = False  # a line does something
        self.fixed = ""  # the action, if all that it does is return one

    def write(self) -> list[Line]:
        for block in self.sub.blocks:
            self._pass(1, "sub", block.token)
            self._block(block, 1)
        head = ["", "", f"def {self.sub.symbol.code}(ctx):"]
        if self.globals:
            head.append(f"{_INDENT}global {', '.join(sorted(self.globals))}")
        head += [f"{_INDENT}{name} = {LOCALS[name]}" for name in LOCALS if name in self.used]
        return [*map(Line, head), *self.lines, Line(f"{_INDENT}return None")]

    def _line(self, depth: int, text: str, traced: bool = False) -> None:
        self.lines.append(Line(_INDENT * depth + text, traced))
        self.acts |= not traced

    def _pass(self, depth: int, kind: str, token: Token) -> None:
        """Count that a coverage point is passed."""
        if self.module.covers:
            self._line(depth, f"HITS[{self.module.point(kind, token, self.sub.symbol.name)}] += 1")

    def _block(self, block: Block, depth: int) -> None:
        self._trace(block.reference, depth)
        start = len(self.lines)
        for index, statement in enumerate(block.body):
            if not isinstance(statement, Block):
                self._pass(depth, "line", statement.token)
            self._statement(statement, depth)
            if isinstance(statement, Return):
                self._never(block.body[index + 1 :])
                break
        if all(line.traced for line in self.lines[start:]):
            self.lines.append(Line(_INDENT * depth + "pass"))

    def _never(self, rest: list[Stmt]) -> None:
        """Nothing is generated for statements behind a return; they are points all the same."""
        for statement in rest if self.module.covers else ():
            if isinstance(statement, Block):
                self._never(statement.body)
            else:
                self.module.point("line", statement.token, self.sub.symbol.name)

    def _trace(self, reference: int, depth: int) -> None:
        if reference:
            self._line(depth, f"if ctx.trace: rt.trace(ctx, {reference})", traced=True)

    def _statement(self, statement: Stmt, depth: int) -> None:
        if isinstance(statement, Block):
            self._block(statement, depth)
        elif isinstance(statement, If):
            self._if(statement, depth)
        elif isinstance(statement, Set):
            self._line(depth, self._set(statement))
        elif isinstance(statement, Unset):
            self._line(depth, self._unset(statement.target))
        elif isinstance(statement, CallSub):
            self._call(statement, depth)
        elif isinstance(statement, CallDynamic):
            self._line(depth, f"rt.call_sub(ctx, {self.value(statement.value)}, {statement.reference})")
            self._handled(depth)
        elif isinstance(statement, CallFunction):
            call = statement.call.pieces[0] if isinstance(statement.call, Strings) else statement.call
            self._line(depth, self.value(call))
        elif isinstance(statement, New):
            self.globals.add(statement.symbol.code)
            self._line(depth, f"{statement.symbol.code} = {self.constructor(statement.call, statement.symbol.name)}")
        elif isinstance(statement, Return):
            self._return(statement, depth)
        elif isinstance(statement, Action):
            self._action(statement, depth)
        else:
            raise AssertionError(statement)
        self._after_vmod(depth)

    def _after_vmod(self, depth: int) -> None:
        """A VMOD may have called a sub that ended the method; only programs with subs as values need to look."""
        if self.called_vmod and self.module.unit.uses_dynamic_calls:
            self._handled(depth)
        self.called_vmod = False

    def _handled(self, depth: int) -> None:
        self._line(depth, "if ctx.handling is not None:")
        self._line(depth + 1, "return ctx.handling")

    def _if(self, statement: If, depth: int) -> None:
        word = "if"
        called = False
        failed: list[str] = []  # counts the conditions so far as false
        for (condition, block), token in zip(statement.branches, statement.places, strict=True):
            self.called_vmod = called
            self._line(depth, f"{word} {self.condition(condition)}:")
            called = self.called_vmod
            for line in failed:
                self._line(depth + 1, line)
            self._pass(depth + 1, "true", token)
            self._after_vmod(depth + 1)
            self._block(block, depth + 1)
            word = "elif"
            if self.module.covers:
                failed.append(f"HITS[{self.module.point('false', token, self.sub.symbol.name)}] += 1")
        if statement.otherwise is not None or failed:
            self._line(depth, "else:")
            self.called_vmod = called
            for line in failed:
                self._line(depth + 1, line)
            self._after_vmod(depth + 1)
            if statement.otherwise is not None:
                self._block(statement.otherwise, depth + 1)
        self.called_vmod = called
        self._after_vmod(depth)
        self._trace(statement.reference, depth)

    def _call(self, statement: CallSub, depth: int) -> None:
        callee = statement.symbol.sub
        assert callee is not None
        code = statement.symbol.code
        if statement.symbol.is_value:
            self._line(depth, f"if (action := rt.run_once(ctx, {statement.symbol.name!r}, {code})) is not None:")
            self._line(depth + 1, "return action")
        elif not any(block.body for block in callee.blocks):
            self._line(depth, f"{code}(ctx)", traced=not self.module.covers)
        elif not self.module.covers and not self.module.unit.uses_dynamic_calls and never_ends(callee):
            self._line(depth, f"{code}(ctx)")
        else:
            self._line(depth, f"if (action := {code}(ctx)) is not None:")
            self._line(depth + 1, "return action")

    def _set(self, statement: Set) -> str:
        symbol = statement.target
        variable = symbol.variable
        assert variable is not None
        operator = statement.operator
        if symbol.type is HEADER:
            message = self.local(variable.write)
            value = self.text(statement.value)
            if operator == "+=":
                value = f"({message}.get({symbol.name.lower()!r}) or '') + {value}"
            return f"rt.set_header(ctx, {message}, {symbol.name!r}, {value})"
        if symbol.type is BODY:
            value = self._body(statement.value)
            target = self.local(variable.write)
            return f"rt.set_body({target}, {value})" if operator == "=" else f"{target}.append({value})"
        if symbol.type is STRING:
            value = self.text(statement.value)
            if operator == "+=":
                value = f"({self.local(variable.read)} or '') + {value}"
        else:
            value = self._number(statement, self.local(variable.read))
        return self.local(variable.write, value)

    def _number(self, statement: Set, current: str) -> str:
        value = self.value(statement.value)
        kind = statement.target.type
        operator = statement.operator
        if operator == "=":
            return value
        if operator == "/=":
            return f"rt.int_div({current}, {value})" if kind is INT else f"rt.real_div({current}, {value})"
        assert kind in (INT, DURATION, TIME)
        return f"({current} {operator[0]} {value})"

    def _body(self, value: object) -> str:
        assert isinstance(value, ToBody)
        operand = value.operand
        if operand.type is BLOB:
            return f"({self.value(operand)} or b'')"
        return f"({self.text(operand)}).encode('latin-1')"

    def _unset(self, symbol: Symbol) -> str:
        variable = symbol.variable
        assert variable is not None
        if symbol.type is HEADER:
            return f"{self.local(variable.unset)}.unset({symbol.name.lower()!r})"
        return self.local(variable.unset)

    def _return(self, statement: Return, depth: int) -> None:
        action = statement.action
        arguments = statement.arguments
        if action is None:
            self._line(depth, "return None")
            return
        if action == "fail":
            text = self.text(arguments[0]) if arguments else repr("Failed from VCL")
            self._line(depth, f"raise rt.VclFailure({text})")
            return
        if action in ("synth", "error") and arguments:
            reason = self.string(arguments[1])[0] if len(arguments) > 1 else "None"
            self._line(depth, f"rt.synth(ctx, {self.value(arguments[0])}, {reason})")
        elif action == "pass" and arguments:
            self._line(depth, f"rt.hit_for_pass(ctx, {self.value(arguments[0])})")
        elif action == "vcl":
            self._line(depth, f"rt.select(ctx, {statement.label!r})")
        elif depth == 1 and not self.acts:
            self.fixed = action
        self._line(depth, f"return {action!r}")

    def _action(self, statement: Action, depth: int) -> None:
        argument = statement.argument
        if statement.name == "ban":
            self._line(depth, f"rt.ban(ctx, {self.string(argument)[0]})")
        elif statement.name == "synthetic":
            target = "ctx.req.synth_body" if self.sub.allowed & methods.CLIENT else "ctx.bo.synth_body"
            assert isinstance(argument, Strings)
            pieces = [self.piece(piece) for piece in argument.pieces]
            texts = [f"rt.or_null({code})" if nullable else code for code, nullable in pieces]
            self._line(depth, f"{target}.append(({' + '.join(texts)}).encode('latin-1'))")
        else:
            assert isinstance(argument, Strings)
            codes = ", ".join(self.piece(piece)[0] for piece in argument.pieces)
            self._line(depth, f"rt.hash_data(ctx, {codes})")


def never_ends(sub: Sub, seen: frozenset[str] = frozenset()) -> bool:
    """Can it be seen that a subroutine never returns an action?"""
    if sub.returns or sub.symbol.code in seen:
        return False
    seen |= {sub.symbol.code}
    return all(symbol.sub is not None and never_ends(symbol.sub, seen) for _token, symbol in sub.calls)


def is_builtin(sub: Sub) -> bool:
    """Is all the text of a subroutine, and of those it calls, the built-in VCL's? (None calls itself.)"""
    return all(block.token.source.kind == "builtin" for block in sub.blocks) and all(
        symbol.sub is not None and is_builtin(symbol.sub) for _token, symbol in sub.calls
    )
