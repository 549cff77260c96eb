"""The top level of a program: version, subs, backends, probes, ACLs, imports, unused (vcl(7))."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from varnishpy.vcl.aclspec import parse_acl
from varnishpy.vcl.backendspec import parse_backend, parse_probe
from varnishpy.vcl.nearby import did_you_mean, did_you_mean_sub, left_open
from varnishpy.vcl.source import CSRC, CSTR, EOI, FNUM, ID, CompileStop, Token
from varnishpy.vcl.statements import parse_block
from varnishpy.vcl.symbols import HIGHEST, LOWEST, Symbol, has_vcl_prefix
from varnishpy.vcl.tree import Sub
from varnishpy.vcl.types import SUB, VclType
from varnishpy.vcl.unit import Import, Unit
from varnishpy.vcl.vmodfind import advice, find_vmod
from varnishpy.vcl.vmodspec import Function, ObjectClass, Vmod, VmodError


def parse_program(unit: Unit) -> None:
    """Everything, from the version declaration to the end of the builtin VCL."""
    if not unit.token.is_id("vcl"):
        unit.report.fail(
            "VCL version declaration missing\nUpdate your VCL to Version 4 syntax, and add\n"
            "\tvcl 4.1;\non the first line of the VCL files.\n",
            unit.token,
        )
    _version(unit)
    while unit.token.kind != EOI:
        token = unit.token
        if token.kind == CSRC:
            unit.inline_c()
            continue
        parse = _TOP_LEVEL.get(token.text) if token.kind == ID else None
        if parse is None:
            _unexpected(unit, token)
        unit.statement = None
        try:
            parse(unit)
        except CompileStop:
            _tell_open_brace(unit, token)
            raise


def _tell_open_brace(unit: Unit, start: Token) -> None:
    """A declaration failed: say so if that is because a brace of its was never closed."""
    name = unit.after(start)
    brace = name
    while brace.kind not in ("{", EOI):
        brace = unit.after(brace)
    for stumble in (unit.statement, unit.token):
        if stumble is not None and left_open(start, brace, stumble, unit.after(stumble)):
            what = "Subroutine" if start.text == "sub" else start.text.capitalize()
            unit.report.add(f"{what} '{name.text}' was not closed before that, it was opened here:\n")
            unit.report.where(brace)
            return


def _unexpected(unit: Unit, token: Token) -> NoReturn:
    words = [f"'{word}'" for word in _TOP_LEVEL]
    unit.report.add(f"Expected one of\n\t{', '.join(words[:-1])},  or {words[-1]}\nFound: {token.describe()} at\n")
    unit.report.where(token)
    unit.report.fail(did_you_mean(token.text, _TOP_LEVEL))


def _version(unit: Unit) -> None:
    first = unit.next()
    token = unit.token
    try:
        unit.expect(FNUM)
        if len(token.text) != 3 or token.text[1] != ".":
            unit.report.stop()
    except CompileStop:
        raise unit.report.error("Don't play silly buggers with VCL version numbers\n", token) from None
    syntax = int(token.text[0]) * 10 + int(token.text[2])
    unit.next()
    if not LOWEST <= syntax <= HIGHEST:
        unit.fail_span(f"VCL version {syntax / 10:.1f} not supported.\n", first)
    if unit.token.kind != ";":
        unit.fail_span("Expected 'vcl N.N;' found no semi-colon\n", first)
    unit.next()
    if not unit.syntax:
        unit.syntax = syntax
    if syntax > unit.syntax:
        unit.fail_span(
            f"VCL version {syntax / 10:.1f} higher than the top level version {unit.syntax / 10:.1f}\n", first
        )


def _sub(unit: Unit) -> None:
    unit.next()
    token = unit.expect_name("subroutine")
    symbol = unit.symbols.get("sub", create=True)
    assert symbol is not None
    if symbol.definition is None:
        symbol.definition = token
    symbol.defined += 1
    names = unit.builtin_names
    builtin = names is not None and token.text in names
    sub = symbol.sub
    if sub is None:
        if names is not None and not builtin and has_vcl_prefix(token.text):
            unit.report.add("The names 'vcl_*' are reserved for subroutines.\n")
            unit.report.where(token)
            listing = "".join(f"\t{name}\n" for name in sorted(names))
            unit.report.add(f"Valid vcl_* subroutines are:\n{listing}")
            unit.report.fail(did_you_mean_sub(token.text, names))
        unit.symbols.make_handle(symbol, SUB)
        sub = symbol.sub = Sub(symbol, name=token)
        symbol.readable = -1
        unit.subs.append(sub)
    elif sub.method is None and not builtin:
        unit.report.add(f"Subroutine '{symbol.name}' redefined\n")
        unit.report.where(token)
        assert sub.name is not None
        unit.report.fail("Previously defined here:\n", sub.name)
    elif sub.name is None:
        sub.name = token
    unit.current = sub
    sub.blocks.append(parse_block(unit))
    unit.current = None


def _unused(unit: Unit) -> None:
    unit.next()
    first = unit.expect(ID)
    symbol = unit.symbols.want()
    if symbol.kind not in ("backend", "probe", "acl", "sub"):
        unit.fail_span("", first, f"Symbol '{symbol.name}' cannot follow 'unused'.\n")
    unit.symbols.refer(symbol, first)
    unit.skip(";")


# -- import ------------------------------------------------------------------------------------------------------------


def _import(unit: Unit) -> None:
    first = unit.next()
    token = unit.expect(ID)
    name = token.text
    if unit.after(token).is_id("as"):
        unit.next()
        unit.next()
        unit.expect(ID)
    alias_token = unit.token
    symbol = unit.symbols.get("vmod", create=True)
    assert symbol is not None
    source: str | None = None
    if unit.token.kind == ID:
        if not unit.token.is_id("from"):
            unit.report.fail("Expected 'from path ...'\n", unit.token)
        unit.next()
        path = unit.token
        if not unit.options.unsafe_path and "/" in path.value:
            unit.report.fail(f"'import ... from path ...' is unsafe.\nAt:{path.describe()}", path)
        source = unit.expect(CSTR).value
        unit.next()
    unit.skip(";")
    vmod = _load(unit, token, name, source)
    if symbol.vmod is not None:
        if symbol.vmod.module != vmod.module:
            unit.fail_span(f"Another module already imported as {alias_token.text}.\n", first)
        return
    symbol.definition = first
    symbol.vmod = vmod
    alias = symbol.name
    unit.imports.append(Import(alias, name, vmod.module, vmod.path, token, vmod))
    _declare(unit, alias, vmod)


def _load(unit: Unit, token: Token, name: str, source: str | None) -> Vmod:
    try:
        return find_vmod(name, unit.options.vmod_path, source)
    except VmodError as error:
        text = str(error)
        if not text:
            try:
                unit.report.fail(f"Could not find VMOD {name}\n", token)
            finally:
                unit.report.add(advice(name, unit.options.vmod_path))
        unit.report.fail(f"Could not open VMOD {name}\n\tFile name: {source or name}\n\tError: {text}\n", token)


def _declare(unit: Unit, alias: str, vmod: Vmod) -> None:
    """Make the symbols of a VMOD's functions, classes and methods."""
    for function in vmod.functions:
        _declare_function(unit, f"{alias}.{function.name}", "func", function, f"vmod_{alias}.{function.attribute}")
    for cls in vmod.classes:
        _declare_class(unit, alias, vmod, cls)


def _declare_function(unit: Unit, name: str, kind: str, function: Function, code: str) -> Symbol:
    symbol = unit.symbols.make(name, kind)
    symbol.type = function.type
    symbol.readable = function.allowed
    symbol.code = code
    symbol.function = function
    return symbol


def _declare_class(unit: Unit, alias: str, vmod: Vmod, cls: ObjectClass) -> None:
    name = f"{alias}.{cls.name}"
    symbol = unit.symbols.make(name, "object")
    symbol.type = VclType(name, convertible=False)
    symbol.made_by = cls
    symbol.code = f"vmod_{alias}.{cls.attribute}"
    for method in cls.methods:
        _declare_function(unit, f"{name}.{method.name}", "method", method, method.attribute)


_TOP_LEVEL: dict[str, Callable[[Unit], None]] = {
    "acl": parse_acl,
    "sub": _sub,
    "backend": parse_backend,
    "probe": parse_probe,
    "import": _import,
    "vcl": _version,
    "unused": _unused,
}
