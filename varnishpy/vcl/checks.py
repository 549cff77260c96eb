"""Checks of a whole program, once it is parsed: references, returns, recursion, and who may use what.

A subroutine is checked from each built-in subroutine that can reach it by ``call``; one that only VMODs call gets the
set of built-in subroutines under which it may run, which is checked when it is called.
"""

from __future__ import annotations

from varnishpy.vcl import methods
from varnishpy.vcl.source import CompileStop
from varnishpy.vcl.symbols import Symbol
from varnishpy.vcl.tree import Sub, Use
from varnishpy.vcl.unit import Unit

_COMPLAINTS = {
    "read": "Not available",
    "set": "Cannot be set",
    "unset": "Cannot be unset",
    "action": "Not a valid action",
}


def check_program(unit: Unit) -> None:
    """All checks, in the reference's order; stops at the first kind that finds something."""
    _references(unit)
    subs = [symbol.sub for symbol in unit.symbols.root.walk() if symbol.kind == "sub" and symbol.sub is not None]
    subs = [sub for sub in subs if sub.blocks]
    for sub in subs:
        _returns(unit, sub)
    for sub in subs:
        _uses(unit, sub)
    for sub in subs:
        if sub.allowed & methods.ALL == 0 and sub.name is not None:
            unit.report.fail("Impossible Subroutine", sub.name)
    if unit.builtin_names is not None and unit.default_backend is None:
        unit.report.fail("No backends or directors found in VCL program, at least one is necessary.\n")


def _references(unit: Unit) -> None:
    failed = False
    for symbol in unit.symbols.root.walk():
        if symbol.unchecked or symbol.kind in ("vmod", ""):
            continue
        if not symbol.defined and symbol.referenced and symbol.reference is not None:
            unit.report.add(f"Undefined {symbol.kind} {symbol.reference.text}, first reference:\n")
            unit.report.where(symbol.reference)
            unit.report.add(unit.symbols.near(symbol.reference.text, symbol.kind, symbol))
            failed = True
        elif symbol.defined and not symbol.referenced and symbol.definition is not None:
            if unit.builtin_names is not None and symbol.name in unit.builtin_names:
                continue
            unit.report.add(f"Unused {symbol.kind} {symbol.definition.text}, defined:\n")
            unit.report.where(symbol.definition)
            if not unit.options.err_unref:
                unit.report.warning()
                continue
            failed = True
        if failed:
            unit.report.stop()


# -- returns and recursion ---------------------------------------------------------------------------------------------


def _returns(unit: Unit, sub: Sub) -> None:
    legal = methods.METHODS[sub.method].returns if sub.method is not None else methods.RETURNS
    try:
        _returns_of(unit, sub, legal)
    except CompileStop:
        if sub.method is not None:
            listing = "".join(f' "{name}"' for name in methods.RETURNS if name in legal)
            unit.report.add(f'\n...which is the "vcl_{sub.method}" subroutine\nLegal returns are:{listing}\n')
        raise


def _returns_of(unit: Unit, sub: Sub, legal: tuple[str, ...]) -> None:
    report = unit.report
    assert sub.name is not None
    if sub.active:
        report.fail("Subroutine recurses on\n", sub.name)
    illegal = [name for name in methods.RETURNS if name in sub.returns and name not in legal]
    if illegal:
        for name in illegal:
            report.add(f'Invalid return "{name}"\n')
            report.where(sub.returns[name])
        report.add(f'\n...in subroutine "{sub.name.text}"\n')
        report.where(sub.name)
        report.stop()
    dynamic = sub.symbol.referenced > sub.called
    sub.active = True
    for token, symbol in sub.calls:
        callee = symbol.sub
        if callee is None or not callee.blocks:
            report.fail(f"Subroutine {symbol.name} does not exist\n", token)
        callee.called += 1
        symbol.referenced += dynamic
        try:
            _returns_of(unit, callee, legal)
        except CompileStop:
            report.add(f'\n...called from "{sub.name.text}"\n')
            report.where(token)
            raise
        sub.allowed &= callee.allowed
    sub.active = False


# -- uses --------------------------------------------------------------------------------------------------------------


def _uses(unit: Unit, sub: Sub) -> None:
    illegal = _illegal_use(unit, sub, sub.method)
    if illegal is not None:
        assert sub.name is not None
        unit.report.span(illegal.first, illegal.last)
        unit.report.fail(f"{_COMPLAINTS[illegal.how]} in subroutine '{sub.name.text}'.\n")
    try:
        _uses_of(unit, sub, sub.method)
    except CompileStop:
        if sub.method is not None:
            unit.report.add(f'\n...which is the "vcl_{sub.method}" subroutine\n')
        raise


def _uses_of(unit: Unit, sub: Sub, method: str | None) -> None:
    report = unit.report
    assert sub.name is not None
    illegal = _illegal_use(unit, sub, method)
    if illegal is not None:
        report.span(illegal.first, illegal.last)
        report.add(f"{_COMPLAINTS[illegal.how]} from subroutine 'vcl_{method}'.\n")
        report.add(f'\n...in subroutine "{sub.name.text}"\n')
        report.where(sub.name)
        report.stop()
    for token, symbol in sub.calls:
        callee = symbol.sub
        assert callee is not None
        try:
            _uses_of(unit, callee, method)
        except CompileStop:
            report.add(f'\n...called from "{sub.name.text}"\n')
            report.where(token)
            raise
        sub.allowed &= callee.allowed


def _illegal_use(unit: Unit, sub: Sub, method: str | None) -> Use | None:
    found: Use | None = None
    for use in sub.uses:
        sub.allowed &= use.mask
        if method is None or found is not None:
            continue
        bit = methods.METHODS[method].bit
        if use.how == "set" and not use.mask:
            found = _illegal_write(unit, use, bit)
        elif not use.mask & bit:
            found = use
    return found


def _illegal_write(unit: Unit, use: Use, bit: int) -> Use:
    """A variable that nobody may set: say why."""
    symbol: Symbol = use.symbol
    if symbol.readable and not symbol.readable & bit:
        use.how = "read"
        return use
    unit.report.span(use.first, use.last)
    raise unit.report.error("Variable is read only.\n" if symbol.readable else "Variable cannot be set.\n")
