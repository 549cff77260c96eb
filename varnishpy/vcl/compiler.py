"""`compile_vcl`: a program in VCL to a program in Python, or a report of what is wrong with it.

The builtin VCL is appended to every program. It is parsed once by itself, to know which ``vcl_*`` names there are.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from dataclasses import dataclass, field

from varnishpy.vcl.checks import check_program
from varnishpy.vcl.codegen import ModuleWriter
from varnishpy.vcl.declarations import parse_program
from varnishpy.vcl.lexer import SourceReader
from varnishpy.vcl.source import CompileStop, Source, VclError, compiler_message, varnishd_report
from varnishpy.vcl.unit import CompileOptions, Unit

__all__ = ["CompileOptions", "Compiled", "VclError", "builtin_source", "compile_vcl", "report"]


@dataclass(slots=True)
class Compiled:
    """A compiled program: what the child needs, and what vcl.show and vcl.symtab tell."""

    name: str
    python_source: str
    warnings: str  # under the title "Message from VCC-compiler:", for the user; empty if there are none
    sources: list[tuple[str, str]] = field(default_factory=list)  # file name, text; the builtin VCL last
    symtab: str = ""  # JSON, as vcl.symtab shows it
    labels: list[str] = field(default_factory=list)  # the labels it may return to
    syntax: int = 0


def report(error: VclError) -> str:
    """All that varnishd prints when a program does not compile."""
    return varnishd_report(str(error))


@functools.cache
def builtin_source() -> str:
    """The builtin VCL, as a wire string."""
    return importlib.resources.files("varnishpy.vcl").joinpath("builtin.vcl").read_bytes().decode("latin-1")


@functools.lru_cache(maxsize=4)
def _builtin_names(text: str) -> frozenset[str]:
    unit = Unit(CompileOptions())
    try:
        reader = SourceReader(unit.report, unit.options)
        reader.read(Source("<builtin>", "builtin", text), last=True)
        unit.tokens, unit.sources, unit.token = reader.tokens, reader.sources, reader.tokens[0]
        parse_program(unit)
    except CompileStop:
        raise VclError(unit.report.text()) from None
    return frozenset(sub.symbol.name for sub in unit.subs if sub.blocks)


def compile_vcl(source: str | bytes, name: str, options: CompileOptions | None = None) -> Compiled:
    """Compile a program.

    :param source: its text; a ``str`` is encoded as UTF-8
    :param name: what the program will be called
    :raises VclError: with the report for the user
    """
    octets = source.encode("utf-8", "surrogateescape") if isinstance(source, str) else source
    options = options or CompileOptions()
    return _compile(Source(options.filename, "vcl.inline", octets.decode("latin-1")), name, options)


def _compile(source: Source | str, name: str, options: CompileOptions) -> Compiled:
    builtin = options.builtin_source if options.builtin_source is not None else builtin_source()
    unit = Unit(options, _builtin_names(builtin))
    try:
        reader = SourceReader(unit.report, options)
        reader.read(reader.open_file(source) if isinstance(source, str) else source, last=False)
        reader.read(Source("<builtin>", "builtin", builtin), last=True)
        unit.tokens, unit.sources, unit.token = reader.tokens, reader.sources, reader.tokens[0]
        parse_program(unit)
        check_program(unit)
    except CompileStop:
        raise VclError(unit.report.text()) from None
    except RecursionError:
        raise VclError("VCL program is nested too deeply.\n") from None
    used = sorted(unit.labels_used)
    return Compiled(
        name,
        ModuleWriter(unit, name).write(),
        compiler_message(unit.report.text()),
        [(each.name, each.text) for each in unit.sources],
        _symtab(unit, used),
        used,
        unit.syntax,
    )


def _symtab(unit: Unit, labels: list[str]) -> str:
    rows: list[dict[str, object]] = [{"version": 0}]
    for imported in unit.imports:
        rows.append(
            {
                "dir": "import",
                "type": "$VMOD",
                "name": imported.name,
                "vext": False,
                "file": imported.path or imported.module,
                "dst": imported.path or imported.module,
            }
        )
    rows += [{"dir": "import", "type": "$VCL", "name": label} for label in labels]
    return json.dumps(rows, indent=4)
