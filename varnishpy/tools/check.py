"""``varnishpy check FILE``: does a VCL program compile? Nothing is started, nothing is connected to."""

from __future__ import annotations

import os
import sys

from varnishpy.cli.protocol import CliError
from varnishpy.manager.compiler import CompilerSettings, compile_in_subprocess
from varnishpy.manager.complain import StartupError
from varnishpy.manager.vcls import read_vcl_argument
from varnishpy.params import ParamError, params, table
from varnishpy.storage.config import parse_storage
from varnishpy.tools.usage import HELP, VERSION, Option, ToolError, parse_words, usage

PROGRAM = "varnishpy check"
OPTIONS = [
    HELP,
    Option("p:", "[-p <name=value>]", "A parameter, such as vcl_path; may be given many times"),
    VERSION,
]
WORDS = "file [file ...]"


def _check(path: str) -> bool:
    try:
        source, origin = read_vcl_argument(os.path.abspath(path), params)
        stevedores = tuple(spec.ident for spec in parse_storage([]))
        compiled = compile_in_subprocess(source, origin, "check", params, CompilerSettings(stevedores))
    except StartupError as error:
        sys.stderr.write(f"{error.text}\n")
        return False
    except CliError as error:
        sys.stderr.write(f"{error.text.rstrip()}\n")
        return False
    sys.stderr.write(compiled.warnings)
    print(f"{path}: good")
    return True


def main(argv: list[str]) -> int:
    """Run the tool: 0 all files compile, 1 one does not, 2 wrong usage."""
    try:
        given, files = parse_words(PROGRAM, OPTIONS, argv, WORDS, 2)
        if not files:
            raise ToolError(f"{PROGRAM}: no file to check\n{usage(PROGRAM, OPTIONS, WORDS)}", 2)
        for letter, value in given:
            name, _, text = value.partition("=")
            if letter == "p":
                table.set(name, text)
    except (ToolError, ParamError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    failed = sum(not _check(path) for path in files)  # all are looked at
    return 1 if failed else 0
