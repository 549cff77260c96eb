"""Calls of VMOD functions, methods and constructors, with positional and named arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from varnishpy.base.panic import present
from varnishpy.vcl.source import ID, CompileStop, Token
from varnishpy.vcl.symbols import Symbol
from varnishpy.vcl.tree import Call, Const, Expr
from varnishpy.vcl.types import ENUM, STRING, STRINGS, SUB, VclType
from varnishpy.vcl.vmodspec import Argument

if TYPE_CHECKING:
    from varnishpy.vcl.unit import Unit

ExpressionParser = Callable[["Unit", VclType], Expr]


def parse_call(
    unit: Unit, symbol: Symbol, name: Token, instance: Symbol | None, parse_expression: ExpressionParser
) -> Call:
    """Everything from the opening parenthesis through the closing one."""
    function = present(symbol.function, "function of a VMOD")
    before = unit.before(unit.token)
    unit.skip("(")
    given: dict[str, Expr] = {}
    takers = [argument for argument in function.arguments if not argument.private]
    for argument in takers:
        if unit.token.kind == ")" or (unit.token.kind == ID and unit.after(unit.token).kind == "="):
            break
        given[argument.parameter] = _argument(unit, argument, parse_expression)
        if unit.token.kind == ")":
            break
        unit.skip(",")
    while unit.token.kind == ID:
        _named_argument(unit, takers, given, parse_expression)
        if unit.token.kind == ")":
            break
        unit.skip(",")
    for number, argument in enumerate(function.arguments, 1):
        if argument.private or argument.optional or argument.parameter in given:
            continue
        what = f"'{argument.name}'" if argument.name else str(number)
        unit.report.fail(f"Argument {what} missing\n", unit.token)
    unit.skip(")")
    unit.use(before, symbol, "read")
    takes_sub = any(argument.type is SUB for argument in takers)
    if takes_sub:
        unit.uses_dynamic_calls = True
    kind = STRING if function.type is STRINGS else function.type
    return Call(kind, symbol, instance, list(given.items()), takes_sub)


def _named_argument(
    unit: Unit, takers: list[Argument], given: dict[str, Expr], parse_expression: ExpressionParser
) -> None:
    token = unit.token
    argument = next((item for item in takers if item.name == token.text), None)
    if argument is None:
        unit.report.fail(f"Unknown argument '{token.text}'\n", token)
    if argument.parameter in given:
        unit.report.fail(f"Argument '{argument.name}' already used\n", token)
    unit.next()
    unit.skip("=")
    given[argument.parameter] = _argument(unit, argument, parse_expression)


def _enum(unit: Unit, argument: Argument) -> Const:
    token = unit.expect(ID)
    if token.text not in argument.choices:
        listing = "".join(f"\t{choice}\n" for choice in argument.choices)
        unit.report.fail(f"Wrong enum value.  Expected one of:\n{listing}", token)
    unit.next()
    return Const(ENUM, token.text)


def _argument(unit: Unit, argument: Argument, parse_expression: ExpressionParser) -> Expr:
    mark = len(unit.report.parts)
    try:
        if argument.type is ENUM:
            return _enum(unit, argument)
        return parse_expression(unit, argument.type)
    except CompileStop:
        if len(unit.report.parts) > mark:
            unit.report.add(f"Expected argument: {argument.type.name} {argument.name or '(unnamed argument)'}\n\n")
        raise
