"""The daemon's main function: options in, exit status out.

Rooms are imported where they are needed: who asks for the version, or mistypes an option, need not wait for all.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from types import FrameType

from varnishpy import __version__
from varnishpy.base.compiled import interpreter
from varnishpy.manager import options as options_module
from varnishpy.manager.complain import StartupError, complain, go_background


def main(argv: list[str]) -> int:
    """Run the daemon with these command line words (without the program's name).

    :returns: the exit status: 0, 2 for anything wrong with the command line, else as varnishd's
    """
    try:
        options = options_module.parse(argv)
        if options.usage:
            sys.stdout.write(options_module.usage())
            return 2  # varnishd's
        if options.version:
            sys.stderr.write(f"varnishpy (varnishpy-{__version__})\nCopyright (c) 2026 the varnishpy authors\n")
            sys.stderr.write(f"{interpreter()}\n")
            return 0
        if options.reference is not None:
            from varnishpy.manager import reference

            sys.stdout.write(reference.text(options.reference))
            return 0
        if options.compile_only:
            return _compile_only(options)
        return _run(options, argv)
    except StartupError as error:
        return _refuse(error)


def _refuse(error: StartupError) -> int:
    between = "" if error.text.startswith("\n") else " "  # as varnishd's
    sys.stderr.write(f"Error:{between}{error.text}\n")
    if error.usage:
        sys.stderr.write("(-? gives usage)\n")
    sys.stderr.flush()
    return error.status


def _compile_only(options: options_module.Options) -> int:
    from varnishpy.base.workdir import resolve
    from varnishpy.cli.protocol import CliError
    from varnishpy.manager import jail
    from varnishpy.manager.compiler import CompilerSettings, compile_in_subprocess
    from varnishpy.manager.vcls import backend_vcl, read_vcl_argument
    from varnishpy.params import ParamError, params, table
    from varnishpy.storage.config import parse_storage
    from varnishpy.tier.config import take_tier

    jail.parse(options.jail)
    try:
        for name, text in options.parameters:
            table.set(name, text)
        if options.backend is not None:
            programs = [(backend_vcl(options.backend), "<-b argument>")]
        else:
            programs = [read_vcl_argument(name, params) for name in options.vcl_files if name]
        stevedores = tuple(spec.ident for spec in parse_storage(take_tier(options.storage)[0]))
        settings = CompilerSettings(stevedores)
        for index, (source, origin) in enumerate(programs):
            compiled = compile_in_subprocess(source, origin, "boot", params, settings)
            text = compiled.python_source
            sys.stderr.write(compiled.warnings + text)
            if params.debug.vcl_keep and options.workdir is not None:
                directory = resolve(options.workdir) / f"vcl_boot.{index}"
                directory.mkdir(parents=True, exist_ok=True)
                (directory / "vgc.py").write_text(text, encoding="utf-8")
    except CliError as error:
        raise StartupError(f"\n{error.text}") from None
    except (ParamError, OSError, ValueError) as error:
        raise StartupError(f"\n{error}") from None
    return 0


def _run(options: options_module.Options, argv: list[str]) -> int:
    from varnishpy.manager.activation import Passed, take
    from varnishpy.manager.background import daemonize, detach, report_status
    from varnishpy.manager.manager import Manager
    from varnishpy.manager.service import ServiceManager

    signal.signal(signal.SIGTERM, _end_early)
    # both are meant for this process, which a step to the background would make another
    service = ServiceManager(os.environ, functools.partial(complain, "Error"))
    passed = Passed(take(os.environ))
    background = not (options.foreground or options.debug)
    # first of all, for what follows notes our process id in many places; the terminal stays until we know that we run
    report = daemonize() if background else -1
    try:
        manager = Manager(options, ["varnishpy", *argv], service, passed)
        try:
            manager.write_pids()
            manager.launch()
            if background:
                go_background()
                detach(report)
            return manager.serve()
        finally:
            manager.close()
    except StartupError as error:
        status = _refuse(error)
        if background:
            report_status(report, status)  # now that it is said: the shell goes on at once
        return status


def _end_early(number: int, frame: FrameType | None) -> None:
    """A signal before there is a loop to take it: end, with whatever has been made so far removed on the way out."""
    sys.exit(128 + number)
