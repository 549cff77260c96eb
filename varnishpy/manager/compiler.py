"""Compiling VCL in a process of its own.

The compiler runs VMOD code (its signatures), so it gets a forked process: whatever that does, hangs or breaks stays out
of the manager. The answer comes back over a pipe as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from dataclasses import dataclass
from typing import Final

from varnishpy.cli.protocol import PARAM, CliError
from varnishpy.manager.loop import readable
from varnishpy.params import Params
from varnishpy.vcl import counts
from varnishpy.vcl.compiler import CompileOptions, VclError, compile_vcl, report
from varnishpy.vcl.symbols import LOWEST

STAND_INS: Final = "VARNISHPY_STAND_INS"

# The longest a compilation may take (seconds); far beyond any honest VCL.
_PATIENCE: Final = 60.0


@dataclass(slots=True)
class CompiledVcl:
    """What the manager keeps of a compiled program."""

    python_source: str
    sources: list[tuple[str, str]]  # (name, text) of the program and everything it includes
    labels: list[str]  # labels the program returns to
    symbols: str  # what vcl.symtab shows (JSON)
    warnings: str


@dataclass(frozen=True, slots=True)
class CompilerSettings:
    """What the compiler must know of this instance."""

    stevedores: tuple[str, ...]
    labels: tuple[str, ...] = ()  # VCL names that return(vcl(...)) may refer to
    runs_as: tuple[int, int, tuple[int, ...]] | None = None  # who the child is, if it is somebody else
    lowest_syntax: int = LOWEST  # 41 with a Unix socket among -a, which older VCL cannot speak of


def stand_ins() -> dict[str, str]:
    """Where the environment says that backends are (`CompileOptions.stand_ins`); tests put their origins there.

    :raises CliError: it is no JSON object of texts
    """
    text = os.environ.get(STAND_INS)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise CliError(PARAM, f"{STAND_INS} in the environment is no JSON object of addresses by backend")
    return found


def _options(origin: str, params: Params, settings: CompilerSettings) -> CompileOptions:
    return CompileOptions(
        filename=origin,
        vcl_path=[part for part in str(params.vcl_path).split(":") if part],
        vmod_path=[part for part in str(params.vmod_path).split(":") if part],
        err_unref=params.vcc_feature.err_unref,
        allow_inline_c=params.vcc_feature.allow_inline_c,
        unsafe_path=params.vcc_feature.unsafe_path,
        stevedores=settings.stevedores,
        labels=settings.labels,
        runs_as=settings.runs_as,
        coverage=bool(counts.wanted()),
        stand_ins=stand_ins(),
        offline=STAND_INS in os.environ,
    )


def compile_in_subprocess(
    source: str, origin: str, name: str, params: Params, settings: CompilerSettings
) -> CompiledVcl:
    """Compile VCL source.

    :param origin: what messages call the source
    :raises CliError: (106) with the compiler's report
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = 1
        try:
            code = _compile_to(write_end, source, name, _options(origin, params, settings))
        finally:
            os._exit(code)
    os.close(write_end)
    answer = _read_all(read_end, pid)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        fields = json.loads(answer)
        syntax = fields.pop("syntax")
        if syntax < settings.lowest_syntax:
            raise CliError(
                PARAM,
                f"Compiled VCL version ({syntax / 10:.1f}) not supported.\n"
                f"A Unix socket in -a needs VCL {settings.lowest_syntax / 10:.1f} or later.\nVCL compilation failed",
            )
        fields["sources"] = [(row[0], row[1]) for row in fields["sources"]]
        return CompiledVcl(**fields)
    if os.waitstatus_to_exitcode(status) == 2:
        raise CliError(PARAM, json.loads(answer))
    tail = answer.decode("utf-8", "replace")
    raise CliError(
        PARAM,
        f"Message from VCC-compiler:\n{tail}\nRunning VCC-compiler failed, "
        + (f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exited with {os.WEXITSTATUS(status)}")
        + "\nVCL compilation failed",
    )


def _compile_to(fd: int, source: str, name: str, options: CompileOptions) -> int:
    try:
        compiled = compile_vcl(source, name, options)
    except VclError as error:
        _write(fd, json.dumps(report(error)))
        return 2
    except Exception:
        _write(fd, traceback.format_exc())
        return 1
    _write(
        fd,
        json.dumps(
            {
                "python_source": compiled.python_source,
                # wire strings (an octet a character) become text again
                "sources": [
                    (name, text.encode("latin-1").decode("utf-8", "surrogateescape")) for name, text in compiled.sources
                ],
                "labels": compiled.labels,
                "symbols": compiled.symtab,
                "warnings": compiled.warnings,
                "syntax": compiled.syntax,
            }
        ),
    )
    return 0


def _write(fd: int, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    while data:
        data = data[os.write(fd, data) :]


def _read_all(fd: int, pid: int) -> bytes:
    deadline = time.monotonic() + _PATIENCE
    got = bytearray()
    with open(fd, "rb", buffering=0) as pipe:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not readable(fd, left):
                os.kill(pid, signal.SIGKILL)
                return bytes(got)
            data = pipe.read(1 << 16)
            if not data:
                return bytes(got)
            got += data
