"""Statements inside subroutines (vcl(7), "Subroutines", "Actions")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from varnishpy.base.panic import present
from varnishpy.vcl import methods
from varnishpy.vcl.calls import parse_call
from varnishpy.vcl.expressions import is_call, parse_expression
from varnishpy.vcl.expressions import parse_properties as parse_object_call
from varnishpy.vcl.nearby import did_you_mean
from varnishpy.vcl.source import CSRC, EOI, ID, CompileStop, Token
from varnishpy.vcl.symbols import Symbol
from varnishpy.vcl.tree import (
    Action,
    Block,
    Call,
    CallDynamic,
    CallFunction,
    CallSub,
    Expr,
    If,
    New,
    Return,
    Set,
    Stmt,
    Unset,
)
from varnishpy.vcl.types import ASSIGNMENTS, BOOL, DURATION, INSTANCE, INT, STRANDS, STRING, SUB
from varnishpy.vcl.unit import Unit


def parse_block(unit: Unit) -> Block:
    """``{`` statements ``}``."""
    unit.skip("{")
    block = Block(unit.token, unit.mark(), [])
    while True:
        token = unit.token
        if token.kind == "{":
            block.body.append(parse_block(unit))
        elif token.kind == "}":
            unit.next()
            return block
        elif token.kind == CSRC:
            unit.inline_c()
        elif token.kind == EOI:
            unit.report.fail("End of input while in compound statement\n")
        elif token.kind == ID:
            block.body.append(_statement(unit))
        else:
            unit.report.fail("Expected an action, 'if', '{' or '}'\n", token)


def _statement(unit: Unit) -> Stmt:
    token = unit.statement = unit.token
    try:
        symbol = unit.symbols.want_partial()
    except CompileStop:
        raise unit.report.error("Symbol not found.\n", token) from None
    if symbol.kind == "func" and symbol.function is not None:
        return _function_call(unit, token, symbol)
    if symbol.kind == "instance":
        return _object_call(unit, token, symbol)
    if symbol.kind == "method":
        unit.report.fail("Syntax error.\n", token)  # a method without its object
    parse = _ACTIONS.get(symbol.action)
    if parse is None:
        unit.report.fail("Symbol cannot be used here.\n", token)
    if symbol.action_mask:
        unit.use(token, symbol, "action")
    return parse(unit, token)


def _function_call(unit: Unit, token: Token, symbol: Symbol) -> Stmt:
    mark = len(unit.report.parts)
    try:
        call = parse_call(unit, symbol, token, None, parse_expression)
    except CompileStop:
        if len(unit.report.parts) > mark and token is not unit.token:
            unit.report.add("While compiling function call:\n\n")
            unit.report.span(token, unit.before(unit.token))
        raise
    unit.skip(";")
    return CallFunction(token, call)


def _object_call(unit: Unit, token: Token, symbol: Symbol) -> Stmt:
    unit.expect(".")
    unit.token = token
    expr = parse_object_call(unit, symbol.type)
    if not is_call(expr):
        unit.report.fail("Symbol cannot be used here.\n", token)
    unit.skip(";")
    return CallFunction(token, expr)


# -- actions -----------------------------------------------------------------------------------------------------------


def _if(unit: Unit, token: Token) -> Stmt:
    branches = [_branch(unit)]
    places = [token]
    otherwise: Block | None = None
    while unit.token.kind == ID:
        place = unit.token
        if unit.token.is_id("else"):
            unit.next()
            if unit.token.kind == "{":
                otherwise = parse_block(unit)
                # as in the reference, nothing can be traced behind an else
                return If(token, branches, otherwise, 0, places)
            if not unit.token.is_id("if"):
                unit.report.fail("'else' must be followed by 'if' or '{'\n", unit.token)
        elif unit.token.text not in ("elseif", "elsif", "elif"):
            break
        unit.next()
        branches.append(_branch(unit))
        places.append(place)
    return If(token, branches, otherwise, unit.mark(), places)


def _branch(unit: Unit) -> tuple[Expr, Block]:
    unit.skip("(")
    condition = parse_expression(unit, BOOL)
    unit.skip(")")
    return condition, parse_block(unit)


_DEPRECATED: Final = {"beresp.storage_hint": "set beresp.storage = storage.NAME"}


def _set(unit: Unit, token: Token) -> Stmt:
    first = unit.expect(ID)
    symbol = unit.symbols.want("var")
    unit.use(first, symbol, "set", unit.before(unit.token))
    instead = _DEPRECATED.get(symbol.full_name)
    if instead is not None:
        unit.report.add(f"{symbol.full_name} is deprecated, and gone from VCL 4.1 on: {instead}\n")
        unit.report.where(first)
        unit.report.warning()
    operator = unit.token.kind
    wanted = ASSIGNMENTS.get((symbol.type, operator))
    if wanted is None:
        if operator != "=" or symbol.type.name in ("INT", "TIME", "DURATION"):
            unit.skip("=")
        wanted = symbol.type
    unit.next()
    value = parse_expression(unit, wanted)
    unit.skip(";")
    if symbol.full_name in ("req.trace", "bereq.trace"):
        unit.writes_trace = True
    return Set(token, symbol, operator, value)


def _unset(unit: Unit, token: Token) -> Stmt:
    first = unit.expect(ID)
    symbol = unit.symbols.want("var")
    if not symbol.unsettable:
        unit.fail_span("", first, "Variable cannot be unset.\n")
    unit.use(first, symbol, "unset", unit.before(unit.token))
    unit.skip(";")
    return Unset(token, symbol)


def _call(unit: Unit, token: Token) -> Stmt:
    first = unit.expect(ID)
    assert unit.current is not None
    symbol = unit.symbols.get(partial=True, quiet=True)
    if symbol is None:
        symbol = unit.symbols.get("sub", create=True)
        assert symbol is not None
        unit.symbols.make_handle(symbol, SUB)
    unit.symbols.refer(symbol, first)
    if symbol.kind == "sub":
        unit.current.calls.append((first, symbol))
        unit.skip(";")
        return CallSub(token, symbol)
    unit.token = first
    value = parse_expression(unit, SUB)
    unit.skip(";")
    unit.uses_dynamic_calls = True
    return CallDynamic(token, value, len(unit.references))


def _return(unit: Unit, token: Token) -> Stmt:
    assert unit.current is not None
    if unit.token.kind == ";" and unit.current.method is None:
        unit.next()
        return Return(token, None)
    unit.skip("(")
    name = unit.expect(ID)
    if name.text not in methods.RETURN_MASK:
        unit.report.add("Expected return action name.\n")
        unit.report.where(name)
        unit.report.fail(did_you_mean(name.text, methods.RETURN_MASK))
    action = name.text
    unit.current.returns.setdefault(action, name)
    unit.current.allowed &= methods.RETURN_MASK[action]
    unit.next()
    statement = Return(token, action)
    if unit.token.kind == "(":
        if action not in methods.RETURN_ARGUMENT:
            unit.report.fail("Arguments not allowed.\n", unit.token)
        unit.next()
        _return_argument(unit, statement, methods.RETURN_ARGUMENT[action])
        unit.skip(")")
    elif action in methods.ARGUMENT_REQUIRED:
        unit.report.fail("Missing argument.\n", unit.token)
    unit.skip(")")
    unit.skip(";")
    return statement


def _return_argument(unit: Unit, statement: Return, what: str) -> None:
    if what == "label":
        unit.expect(ID)
        statement.label = unit.symbols.want("vcl").name
        unit.labels_used.add(statement.label)
    elif what == "duration":
        statement.arguments.append(parse_expression(unit, DURATION))
    elif what == "text":
        statement.arguments.append(parse_expression(unit, STRING))
    else:
        statement.arguments.append(parse_expression(unit, INT))
        if unit.token.kind == ",":
            unit.next()
            statement.arguments.append(parse_expression(unit, STRING))


def _new(unit: Unit, token: Token) -> Stmt:
    unit.expect_name("VCL object")
    symbol = unit.symbols.define(INSTANCE)
    symbol.unchecked = True
    unit.skip("=")
    unit.expect(ID)
    first = unit.token
    cls = unit.symbols.want("object")
    description = present(cls.made_by, "class of a VMOD")
    symbol.type = cls.type
    symbol.made_by = description
    unit.objects.append(symbol)
    constructor = Symbol(cls.name, "func", cls.type, readable=methods.METHODS["init"].bit, code=cls.code)
    constructor.function = description.constructor
    constructor.parent = cls.parent
    mark = len(unit.report.parts)
    try:
        call: Call = parse_call(unit, constructor, first, None, parse_expression)
    except CompileStop:
        if len(unit.report.parts) > mark:
            unit.report.add("While compiling function call:\n")
        raise
    unit.skip(";")
    return New(token, symbol, call)


def _with_argument(name: str) -> Callable[[Unit, Token], Stmt]:
    def parse(unit: Unit, token: Token) -> Stmt:
        unit.skip("(")
        argument = parse_expression(unit, STRING if name == "ban" else STRANDS)
        unit.skip(")")
        unit.skip(";")
        return Action(token, name, argument)

    return parse


_ACTIONS: dict[str, Callable[[Unit, Token], Stmt]] = {
    "if": _if,
    "set": _set,
    "unset": _unset,
    "call": _call,
    "return": _return,
    "new": _new,
    "ban": _with_argument("ban"),
    "hash_data": _with_argument("hash_data"),
    "synthetic": _with_argument("synthetic"),
}
