"""Expressions: a recursive-descent parser that gives every node its type (vcl(7), "Expressions").

The type that is wanted is handed down, because it decides how some literals are read: a string where an IP, a regular
expression or a header is wanted is not a string. Strings are collected as pieces (`STRINGS`) and only put together
where a single string is needed.
"""

from __future__ import annotations

from varnishpy.base.regex import RegexError, compile_pattern
from varnishpy.vcl import addresses
from varnishpy.vcl.calls import parse_call
from varnishpy.vcl.nearby import did_you_mean
from varnishpy.vcl.source import CBLOB, CNUM, CSTR, FNUM, ID, CompileStop, Token
from varnishpy.vcl.symbols import Symbol
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
    ToBody,
    ToBool,
    ToString,
    VarRead,
)
from varnishpy.vcl.types import (
    ACL,
    BACKEND,
    BLOB,
    BODY,
    BOOL,
    BYTES,
    DURATION,
    EQUATED,
    HEADER,
    INSTANCE,
    INT,
    IP,
    ORDERED,
    PROPERTIES,
    REAL,
    REGEX,
    STRING,
    STRINGS,
    SUB,
    SUMS,
    VOID,
    VclType,
    bytes_unit,
)
from varnishpy.vcl.unit import Unit

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "~", "!~")


def parse_expression(unit: Unit, wanted: VclType) -> Expr:
    """An expression of exactly the type wanted, converting where VCL does so by itself."""
    first = unit.token
    expr = _or(unit, STRINGS if wanted.stringform else wanted)
    if expr.type is wanted:
        return expr
    if expr.type is not STRINGS and wanted.stringform:
        expr = to_strings(unit, expr, first)
    if wanted is BODY:
        if not expr.type.bodyform:
            expr = to_strings(unit, expr, first)
        return ToBody(BODY, expr)
    if expr.type is STRINGS and wanted.stringform:
        assert isinstance(expr, Strings)
        return Strings(wanted, expr.pieces)
    if wanted is BOOL:
        expr = to_bool(expr)
    check_type(unit, expr, wanted, first)
    return expr


def check_type(unit: Unit, expr: Expr, wanted: VclType, first: Token) -> None:
    if expr.type is not wanted:
        unit.fail_span(f"Expression has type {expr.type.shown}, expected {wanted.shown}\n", first)


def to_strings(unit: Unit, expr: Expr, first: Token) -> Strings:
    """Convert a value to (one piece of) a string."""
    if expr.type is STRINGS and isinstance(expr, Strings):
        return expr
    if not expr.type.convertible:
        unit.fail_span(f"Cannot convert {expr.type.shown} to STRING.\n", first)
    return Strings(STRINGS, [ToString(STRING, expr)])


def to_bool(expr: Expr) -> Expr:
    """Fold what has a truth value; others are left for the caller to refuse."""
    if expr.type in (BACKEND, INT, DURATION, STRINGS):
        return ToBool(BOOL, expr)
    return expr


def pieces(expr: Expr) -> Expr:
    """STRING results are pieces of a string."""
    return Strings(STRINGS, [expr]) if expr.type is STRING else expr


# -- logic -------------------------------------------------------------------------------------------------------------


def _or(unit: Unit, wanted: VclType) -> Expr:
    return _logical(unit, wanted, "||")


def _logical(unit: Unit, wanted: VclType, operator: str) -> Expr:
    first = unit.token
    expr = _part(unit, wanted, operator)
    if unit.token.kind != operator:
        return expr
    operands = [_logical_operand(unit, expr, operator, "preceded", first)]
    while unit.token.kind == operator:
        unit.next()
        first = unit.token
        operands.append(_logical_operand(unit, _part(unit, wanted, operator), operator, "followed", first))
    return Logical(BOOL, "or" if operator == "||" else "and", operands)


def _part(unit: Unit, wanted: VclType, operator: str) -> Expr:
    return _logical(unit, wanted, "&&") if operator == "||" else _not(unit, wanted)


def _logical_operand(unit: Unit, expr: Expr, operator: str, side: str, first: Token) -> Expr:
    expr = to_bool(expr)
    if expr.type is not BOOL:
        unit.fail_span(f"'{operator}' must be {side} by BOOL, found {expr.type.shown}.\n", first)
    return expr


def _not(unit: Unit, wanted: VclType) -> Expr:
    first = unit.token
    if first.kind != "!":
        return _comparison(unit, wanted)
    unit.next()
    expr = to_bool(_comparison(unit, wanted))
    if expr.type is not BOOL:
        unit.fail_span(f"'!' must be followed by BOOL, found {expr.type.shown}.\n", first)
    return Not(BOOL, expr)


# -- comparison --------------------------------------------------------------------------------------------------------


def _comparison(unit: Unit, wanted: VclType) -> Expr:
    left = _sum(unit, wanted)
    token = unit.token
    operator = token.kind
    if operator not in _COMPARISONS:
        return left
    kind = left.type
    # objects of a VMOD's class are compared by identity
    instance = kind is INSTANCE or "." in kind.name
    if operator in ("~", "!~"):
        if kind is STRINGS:
            unit.next()
            return Match(BOOL, operator == "!~", left, _operand(unit, REGEX))
        if kind is IP:
            unit.next()
            return AclMatch(BOOL, operator == "!~", left, _operand(unit, ACL))
    elif kind in ORDERED or (operator in ("==", "!=") and (kind in EQUATED or instance)):
        unit.next()
        right = _sum(unit, kind)
        if right.type is not kind and not (instance and "." in right.type.name):
            unit.report.fail(f"Comparison of different types: {kind.shown} '{operator}' {right.type.shown}\n", token)
        return Compare(BOOL, operator, left, right)
    raise unit.report.error(f"Operator {operator} not possible on {kind.shown}\n", token)


def _operand(unit: Unit, wanted: VclType) -> Expr:
    """What stands to the right of ``~``: no arithmetic."""
    first = unit.token
    expr = parse_properties(unit, wanted)
    check_type(unit, expr, wanted, first)
    return expr


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _sum(unit: Unit, wanted: VclType) -> Expr:
    first = unit.token
    expr = _product(unit, wanted)
    while unit.token.kind in ("+", "-"):
        token = unit.next()
        operator = token.kind
        numeric = any(op == operator and left is expr.type for op, left, _right in SUMS)
        right = _product(unit, STRINGS if not numeric and wanted is STRINGS else expr.type)
        result = SUMS.get((operator, expr.type, right.type))
        if result is not None:
            expr = Arithmetic(result, operator, expr, right)
        elif operator == "+" and (expr.type is STRINGS or wanted is STRINGS):
            expr = _join(to_strings(unit, expr, first), to_strings(unit, right, token))
        else:
            unit.fail_span(f"{expr.type.shown} {operator} {right.type.shown} not possible.\n", token)
    return expr


def _join(left: Strings, right: Strings) -> Strings:
    joined = list(left.pieces)
    for piece in right.pieces:
        last = joined[-1] if joined else None
        before = last.value if isinstance(last, Const) else None
        behind = piece.value if isinstance(piece, Const) else None
        if isinstance(before, str) and isinstance(behind, str):
            joined[-1] = Const(STRING, before + behind)
        else:
            joined.append(piece)
    return Strings(STRINGS, joined)


def _product(unit: Unit, wanted: VclType) -> Expr:
    expr = parse_properties(unit, wanted)
    while unit.token.kind in ("*", "/", "%"):
        token = unit.token
        operator = token.kind
        if operator == "%" and expr.type is not INT:
            unit.report.fail("Operator % only possible on INT.\n", token)
        if not expr.type.operand:
            unit.report.fail(f"Operator {operator} not possible on type {expr.type.shown}.\n", token)
        factor = INT if expr.type is INT else REAL
        unit.next()
        right = parse_properties(unit, factor)
        if right.type is not INT and right.type is not factor:
            unit.report.fail(f"{expr.type.shown} {operator} {right.type.shown} not possible.\n", token)
        expr = Arithmetic(expr.type, operator, expr, right)
    return expr


def parse_properties(unit: Unit, wanted: VclType) -> Expr:
    first = unit.token
    expr = _primary(unit, wanted)
    while unit.token.kind == ".":
        unit.next()
        name = unit.expect(ID)
        if isinstance(expr, Handle) and expr.symbol is not None and "." in expr.type.name:
            method = unit.symbols.find(f"{expr.type.name}.{name.text}")
            if method is not None and method.kind == "method":
                unit.next()
                expr = pieces(parse_call(unit, method, name, expr.symbol, parse_expression))
                continue
        known = PROPERTIES.get((expr.type, name.text))
        if known is None:
            unit.report.add(f"Unknown property '{name.text}' for type {expr.type.name}\n")
            unit.report.where(name)
            known_here = [each for kind, each in PROPERTIES if kind is expr.type]
            end = unit.after(name)
            while end.kind == ".":  # a header's name, perhaps
                end = unit.after(unit.after(end))
            near = unit.symbols.near(unit.text_of(first, end))
            unit.report.fail(did_you_mean(name.text, known_here, ".") or near)
        unit.next()
        if known.call:
            unit.skip("(")
            unit.skip(")")
        expr = pieces(PropertyRead(known.type, known.name, expr))
    return expr


# -- primaries ---------------------------------------------------------------------------------------------------------


def _primary(unit: Unit, wanted: VclType) -> Expr:
    token = unit.token
    if token.kind == "(":
        unit.next()
        expr = _or(unit, wanted)
        unit.skip(")")
        return expr
    if token.kind == ID:
        return _symbol(unit, wanted)
    if token.kind == CSTR:
        return _string(unit, wanted)
    if token.kind == CBLOB:
        unit.next()
        return Const(BLOB, token.blob)
    if token.kind in (CNUM, FNUM):
        return _number(unit, wanted, 1)
    if token.kind == "-" and wanted in (INT, REAL, DURATION, STRINGS):
        unit.next()
        if unit.token.kind in (CNUM, FNUM):
            return _number(unit, wanted, -1)
        first = unit.token
        inner = _or(unit, wanted)
        if inner.type not in (INT, REAL, DURATION):
            unit.fail_span(f"- {inner.type.shown} not possible.\n", first)
        return Negative(inner.type, inner)
    raise unit.report.error(f"Unknown token {token.describe()} when looking for {wanted.shown}\n\n", token)


def _number(unit: Unit, wanted: VclType, sign: int) -> Expr:
    token = unit.next()
    value = sign * token.num
    if wanted is BYTES:
        if unit.token.kind != ID:
            unit.report.fail(f"Expected BYTES unit (B, KB, MB...) got {unit.token.describe()}\n", unit.token)
        factor = bytes_unit(unit.token.text)
        if factor is None:
            unit.report.fail(f"Unknown BYTES unit of measurement ([KMGTP][B]){unit.token.describe()}", unit.token)
        unit.next()
        return Const(BYTES, int(value * factor))
    if unit.token.kind == ID:
        return Const(DURATION, value * unit.duration_unit())
    if wanted is REAL or token.kind == FNUM:
        return Const(REAL, value)
    return Const(INT, int(value))


def _string(unit: Unit, wanted: VclType) -> Expr:
    token = unit.token
    if wanted is IP:
        if token.value.startswith("/"):
            unit.report.add(f"Cannot convert to an IP address: {token.describe()}")
            unit.report.fail("", token)
        found = addresses.resolve_one(unit, token, token.value, "80", "IP constant")
        unit.next()
        return Address(IP, *found)
    if wanted is REGEX:
        return _regex(unit)
    unit.next()
    return Strings(STRINGS, [Const(STRING, token.value)])


def _regex(unit: Unit) -> Expr:
    """A pattern: string constants joined by ``+``."""
    first = unit.token
    pattern = first.value
    last = first
    while unit.after(unit.token).kind == "+":
        unit.next()
        unit.next()
        last = unit.expect(CSTR)
        pattern += last.value
    try:
        compile_pattern(pattern)
    except RegexError as error:
        unit.report.add(f"Regexp compilation error:\n\n{error}\n\n")
        unit.report.span(first, last)
        unit.report.stop()
    unit.next()
    return RegexConst(REGEX, pattern)


def _symbol(unit: Unit, wanted: VclType) -> Expr:
    first = unit.token
    following = unit.after(first)
    symbol = unit.symbols.get(partial=True, quiet=True)
    if symbol is None and wanted.handle and following.kind != ".":
        symbol = unit.symbols.get(create=True)
        assert symbol is not None
        unit.symbols.make_handle(symbol, wanted)
    if symbol is None:
        symbol = unit.symbols.get(partial=True)
        assert symbol is not None
    unit.symbols.refer(symbol, first)
    if symbol.kind == "instance":
        return Handle(symbol.type, symbol)
    if symbol.kind == "func" and symbol.type is VOID:
        unit.report.fail("Function returns VOID:\n", unit.token)
    return _value(unit, symbol, first, wanted)


def _value(unit: Unit, symbol: Symbol, first: Token, wanted: VclType) -> Expr:
    kind = symbol.kind
    if kind == "var" or symbol.wildcard:
        unit.use(first, symbol, "read")
        return _variable(symbol, wanted)
    if kind == "func":
        return _function(unit, symbol, first, wanted)
    if kind == "method":
        unit.report.fail("Syntax error.\n", first)  # a method without its object
    if kind == "sub":
        if wanted is not SUB:
            unit.report.add(f"Symbol '{symbol.name}' can only be used as a SUB expression\n")
            unit.report.where(unit.token)
            unit.report.add("While compiling function call:\n\n")
            unit.report.span(first, unit.before(unit.token))
            unit.report.stop()
        unit.uses_dynamic_calls = True
        symbol.is_value = True
        return Handle(SUB, symbol)
    if symbol.code and kind in ("acl", "backend", "probe", "stevedore"):
        return Handle(symbol.type, symbol)
    unit.report.add(f"Symbol '{first.text}' type ({kind}) cannot be used in expression.\n")
    unit.report.where(first)
    if symbol.definition is not None:
        unit.report.fail("That symbol was defined here:\n", symbol.definition)
    raise CompileStop


def _variable(symbol: Symbol, wanted: VclType) -> Expr:
    if symbol.type is HEADER:
        read = HeaderRead(HEADER, symbol)
        return read if wanted is HEADER else Strings(STRINGS, [ToString(STRING, read)])
    return pieces(VarRead(symbol.type, symbol))


def _function(unit: Unit, symbol: Symbol, first: Token, wanted: VclType) -> Expr:
    mark = len(unit.report.parts)
    try:
        return _function_call(unit, symbol, first, wanted)
    except CompileStop:
        if len(unit.report.parts) > mark:
            unit.report.add("While compiling function call:\n\n")
            unit.report.span(first, unit.before(unit.token))
        raise


def _function_call(unit: Unit, symbol: Symbol, first: Token, wanted: VclType) -> Expr:
    name = symbol.name
    if symbol.function is not None:
        return pieces(parse_call(unit, symbol, first, None, parse_expression))
    if name in ("true", "false"):
        return Const(BOOL, name == "true")
    if name == "default":
        if not wanted.has_default:
            unit.report.fail("Symbol 'default' is a reserved word.\n", first)
        return Handle(wanted, None)
    return _regsub(unit, name == "regsuball")


def _regsub(unit: Unit, every: bool) -> Expr:
    unit.skip("(")
    subject = parse_expression(unit, STRING)
    unit.skip(",")
    regex = parse_expression(unit, REGEX)
    unit.skip(",")
    replacement = parse_expression(unit, STRING)
    unit.skip(")")
    return Strings(STRINGS, [RegSub(STRING, every, subject, regex, replacement)])


def is_call(expr: Expr) -> bool:
    """Does an expression statement consist of a call?"""
    return isinstance(expr, Call) or (isinstance(expr, Strings) and isinstance(expr.pieces[0], Call))
