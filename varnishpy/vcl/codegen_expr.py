"""Code for expressions. Every result is an expression that may be put anywhere, in parentheses where it needs them.

A STRING may be null, which is ``None``; `ExpressionWriter.string` says whether it can be, so that nothing is tested for
that needs no test.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from varnishpy.base.panic import present
from varnishpy.vcl.tree import (
    AclMatch,
    Address,
    Arithmetic,
    Call,
    Compare,
    Const,
    Expr,
    Handle,
    HeaderRead,
    Logical,
    Match,
    Negative,
    Not,
    PropertyRead,
    RegexConst,
    RegSub,
    Strings,
    ToBool,
    ToString,
    VarRead,
)
from varnishpy.vcl.types import (
    ACL,
    BACKEND,
    BLOB,
    BOOL,
    BYTES,
    DURATION,
    INT,
    IP,
    PROBE,
    REAL,
    STEVEDORE,
    STRANDS,
    STRING,
    STRINGS,
    TIME,
    VclType,
)

if TYPE_CHECKING:
    from varnishpy.vcl.codegen import ModuleWriter

_PLACE = re.compile(r"\{(\w+)\}")
# how a value becomes a string, and whether the result may be null
_CONVERSIONS: dict[VclType, tuple[str, bool]] = {
    ACL: ("{}.name", False),
    BACKEND: ("rt.name_of({})", True),
    BLOB: ("rt.blob_string({})", True),
    BOOL: ("('true' if {} else 'false')", False),
    BYTES: ("rt.int_string({})", False),
    DURATION: ("rt.real_string({})", False),
    INT: ("rt.int_string({})", False),
    IP: ("rt.ip_string({})", False),
    PROBE: ("rt.name_of({})", True),
    REAL: ("rt.real_string({})", False),
    STEVEDORE: ("rt.storage_name({})", True),
    TIME: ("rt.time_string({})", False),
}
_ORDER = {"<": "-1", ">": "1"}


class ExpressionWriter:
    """Writes the expressions of one subroutine; ``used`` collects the local names that they need."""

    def __init__(self, module: ModuleWriter) -> None:
        self.module = module
        self.used: set[str] = set()
        self.called_vmod = False  # has a VMOD been called since this was last reset?

    def local(self, template: str, value: str = "") -> str:
        """Fill in a template of `variables.py`."""

        def fill(found: re.Match[str]) -> str:
            name = found.group(1)
            if name == "value":
                return value
            self.used.add(name)
            return name

        return _PLACE.sub(fill, template)

    # -- strings --------------------------------------------------------------------------------------------------

    def piece(self, expr: Expr) -> tuple[str, bool]:
        """One STRING: its code, and whether it may be null."""
        if isinstance(expr, Const):
            return repr(expr.value), False
        if isinstance(expr, ToString):
            operand = expr.operand
            if isinstance(operand, HeaderRead):
                return self._header_value(operand), True
            template, nullable = _CONVERSIONS.get(operand.type, ("str({})", False))
            return template.format(self.value(operand)), nullable
        if isinstance(expr, VarRead):
            variable = expr.symbol.variable
            assert variable is not None
            return self.local(variable.read), variable.read_may_be_null
        if isinstance(expr, RegSub):
            regex = self.value(expr.regex)
            replacement = self.text(expr.replacement)
            return f"rt.regsub(ctx, {self.text(expr.subject)}, {regex}, {replacement}, {expr.all})", False
        if isinstance(expr, PropertyRead):
            code, nullable = self.string(expr.operand)
            return f"rt.{expr.name}(ctx, {code})", nullable
        if isinstance(expr, Strings):
            return self.string(expr)
        return self.value(expr), True

    def string(self, expr: Expr) -> tuple[str, bool]:
        """A STRINGS, STRING or STRANDS expression as one string."""
        if not isinstance(expr, Strings):
            return self.piece(expr)
        if len(expr.pieces) == 1:
            return self.piece(expr.pieces[0])
        parts = []
        for each in expr.pieces:
            code, nullable = self.piece(each)
            parts.append(f"({code} or '')" if nullable else code)
        return f"({' + '.join(parts)})", False

    def text(self, expr: Expr) -> str:
        """A string in which null reads as empty."""
        code, nullable = self.string(expr)
        return f"({code} or '')" if nullable else code

    def _header_value(self, expr: HeaderRead) -> str:
        variable = expr.symbol.variable
        assert variable is not None
        return f"{self.local(variable.read)}.get({expr.symbol.name.lower()!r})"

    # -- values ---------------------------------------------------------------------------------------------------

    def value(self, expr: Expr) -> str:
        """An expression of any type, as a value."""
        if expr.type in (STRINGS, STRING, STRANDS) and not isinstance(expr, Call):
            return self.text(expr) if expr.type is STRANDS else self.string(expr)[0]
        if isinstance(expr, Const):
            return self._literal(expr)
        if isinstance(expr, VarRead):
            variable = expr.symbol.variable
            assert variable is not None
            return self.local(variable.read)
        if isinstance(expr, HeaderRead):
            where = (expr.symbol.variable.name if expr.symbol.variable else "").split(".", maxsplit=1)[0]
            return self.module.constant("H", f"rt.HeaderRef({where!r}, {expr.symbol.name!r})")
        if isinstance(expr, Handle):
            return self._handle(expr)
        if isinstance(expr, Address):
            return self.module.constant("A", f"rt.SockAddr({expr.ip!r}, {expr.port})")
        if isinstance(expr, RegexConst):
            return self.module.constant("R", f"rt.regex({expr.pattern!r})")
        if isinstance(expr, Call):
            return self.call(expr)
        if isinstance(expr, PropertyRead):
            return self._property(expr)
        if isinstance(expr, Arithmetic):
            return self._arithmetic(expr)
        if isinstance(expr, Negative):
            return f"(-{self.value(expr.operand)})"
        if isinstance(expr, (Match, AclMatch, Not, Logical, ToBool)):
            return f"bool({self.condition(expr)})"
        if isinstance(expr, Compare):
            return f"({self._compare(expr)})"
        raise AssertionError(expr)

    @staticmethod
    def _literal(expr: Const) -> str:
        code = repr(expr.value)
        return f"({code})" if code.startswith("-") else code

    def _handle(self, expr: Handle) -> str:
        if expr.symbol is None:
            return "ctx.vcl.default_director" if expr.type is BACKEND else "DEFAULT_PROBE"
        if expr.symbol.kind == "stevedore":
            return f"rt.stevedore(ctx, {expr.symbol.code!r})"
        if expr.symbol.kind == "sub":
            return f"value_{expr.symbol.code}"
        return expr.symbol.code

    def _property(self, expr: PropertyRead) -> str:
        operand = self.value(expr.operand)
        if expr.name == "resolve":
            return f"rt.resolve(ctx, {operand})"
        return f"rt.storage_property({operand}, {expr.name!r})"

    def _arithmetic(self, expr: Arithmetic) -> str:
        left, right = self.value(expr.left), self.value(expr.right)
        operator = expr.operator
        if operator == "/":
            if expr.type is INT:
                return f"rt.int_div({left}, {right})"
            return f"int(rt.real_div({left}, {right}))" if expr.type is BYTES else f"rt.real_div({left}, {right})"
        if operator == "%":
            return f"rt.int_mod({left}, {right})"
        if operator == "*" and expr.type is BYTES:
            return f"int({left} * {right})"
        return f"({left} {operator} {right})"

    # -- truth ----------------------------------------------------------------------------------------------------

    def condition(self, expr: Expr) -> str:
        """A BOOL for ``if``, ``and``, ``or``, ``not``: anything true or false will do."""
        if isinstance(expr, ToBool):
            return self._truth(expr.operand)
        if isinstance(expr, Match):
            subject = self.text(expr.subject)
            regex = self.value(expr.regex)
            if isinstance(expr.regex, RegexConst):
                code = f"{self.module.constant('m', f'{regex}.search')}({subject})"
            else:
                code = f"rt.search({regex}, {subject})"
            return f"(not {code})" if expr.negated else code
        if isinstance(expr, AclMatch):
            code = f"rt.acl_match(ctx, {self.value(expr.acl)}, {self.value(expr.address)})"
            return f"(not {code})" if expr.negated else code
        if isinstance(expr, Not):
            return f"(not {self.condition(expr.operand)})"
        if isinstance(expr, Logical):
            return "(" + f" {expr.operator} ".join(self.condition(each) for each in expr.operands) + ")"
        return self.value(expr)

    def _truth(self, operand: Expr) -> str:
        if operand.type is BACKEND:
            return f"({self.value(operand)} is not None)"
        if operand.type is INT:
            return f"({self.value(operand)} != 0)"
        if operand.type is DURATION:
            return f"({self.value(operand)} > 0)"
        assert isinstance(operand, Strings)
        codes = []
        for each in operand.pieces:
            if isinstance(each, ToString) and isinstance(each.operand, HeaderRead):
                variable = each.operand.symbol.variable
                assert variable is not None
                codes.append(f"{self.local(variable.read)}.has({each.operand.symbol.name.lower()!r})")
                continue
            code, nullable = self.piece(each)
            codes.append(f"({code} is not None)" if nullable else "True")
        return "(" + " or ".join(codes) + ")"

    def _compare(self, expr: Compare) -> str:
        operator = expr.operator
        kind = expr.left.type
        if kind is STRINGS:
            return self._compare_strings(expr)
        left, right = self.value(expr.left), self.value(expr.right)
        if kind is IP:
            return f"{'not ' if operator == '!=' else ''}rt.same_ip({left}, {right})"
        if kind in (INT, DURATION, BYTES, REAL, TIME, BOOL):
            return f"{left} {operator} {right}"
        return f"{left} is{' not' if operator == '!=' else ''} {right}"

    def _compare_strings(self, expr: Compare) -> str:
        """A null equals nothing, itself included, unless pieces are put together, where it is empty."""
        assert isinstance(expr.left, Strings)
        assert isinstance(expr.right, Strings)
        operator = expr.operator
        if len(expr.left.pieces) > 1 or len(expr.right.pieces) > 1:
            return f"{self.text(expr.left)} {operator} {self.text(expr.right)}"
        left, left_null = self.string(expr.left)
        right, right_null = self.string(expr.right)
        if not left_null and not right_null:
            return f"{left} {operator} {right}"
        if operator in ("==", "!=") and not (left_null and right_null):
            return f"{left} {operator} {right}"
        return f"rt.compare({left}, {operator!r}, {right})"

    # -- calls ----------------------------------------------------------------------------------------------------

    def call(self, expr: Call) -> str:
        """A VMOD function or method."""
        self.called_vmod = True
        if expr.instance is not None:
            return f"{expr.instance.code}.{expr.symbol.code}({self._arguments(expr, 'ctx')})"
        function = self.module.constant("f", expr.symbol.code)
        return f"{function}({self._arguments(expr, 'ctx')})"

    def constructor(self, expr: Call, name: str) -> str:
        return f"{expr.symbol.code}({self._arguments(expr, f'ctx, {name!r}')})"

    def _arguments(self, expr: Call, first: str) -> str:
        function = present(expr.symbol.function, "function of a VMOD")
        given = dict(expr.arguments)
        key = self.module.unit.vmod_key(expr.symbol.full_name.split(".", maxsplit=1)[0])
        out = [first]
        positional = True
        for argument in function.arguments:
            if argument.private:
                code = self._private(argument.private, key)
            elif argument.parameter in given and argument.pieces:
                code = self._pieces(given[argument.parameter])
            elif argument.parameter in given:
                code = self.value(given[argument.parameter])
            else:
                positional = False
                continue
            out.append(code if positional else f"{argument.parameter}={code}")
        return ", ".join(out)

    def _pieces(self, expr: Expr) -> str:
        pieces = expr.pieces if isinstance(expr, Strings) else [expr]
        return f"({', '.join(self.piece(each)[0] for each in pieces)},)"

    def _private(self, kind: str, key: str) -> str:
        if kind == "PRIV_VCL":
            return f"priv_vcl_{key}"
        if kind == "PRIV_CALL":
            # each call has its own: the serial number keeps constants apart
            return self.module.constant("priv_call_", f"rt.private()  # {len(self.module.constants)}")
        return f"rt.{kind.lower()}(ctx, {key!r})"
