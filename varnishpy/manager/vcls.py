"""The VCL programs and labels that the manager knows: compiled once, given to every child.

A program is *auto* (warm while it is used, cooled ``vcl_cooldown`` seconds later), or forced *cold* or *warm*. A label
is a name that points to a program; programs may refer to labels with ``return(vcl(label))``. What is referred to cannot
be discarded, and no chain of references may come back to where it started.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from varnishpy.base import endpoint
from varnishpy.cli.dispatch import CliCall, json_answer
from varnishpy.cli.protocol import CANT, OK, PARAM, CliError
from varnishpy.cli.vcl_list import VclRow, columns, list_text
from varnishpy.cli.vcl_mode import VclMode
from varnishpy.manager.compiler import CompiledVcl, CompilerSettings, compile_in_subprocess
from varnishpy.manager.complain import StartupError
from varnishpy.params import Params

_STATES = ("auto", "cold", "warm")


@dataclass(slots=True, eq=False)
class Program:
    """A VCL program, or a label when ``target`` is set."""

    name: str
    state: str  # auto, cold, warm or label
    warm: bool = True
    compiled: CompiledVcl | None = None
    directory: Path | None = None
    target: Program | None = None
    uses: list[Program] = field(default_factory=list)  # labels that a program refers to
    cool_at: float = 0.0  # monotonic time when an auto program may be cooled; 0 for never

    @property
    def is_label(self) -> bool:
        return self.target is not None

    def points_to(self) -> list[Program]:
        """What this program or label depends on."""
        return [self.target] if self.target is not None else self.uses


class VclPrograms:
    """The manager's list of VCL.

    :param settings: what the compiler must know of this instance; the labels are added here
    :param ask: sends the child a command, or None while no child runs
    """

    def __init__(
        self,
        workdir: Path,
        params: Params,
        settings: CompilerSettings,
        ask: Callable[[list[str]], tuple[int, str] | None],
    ) -> None:
        self._settings = settings
        self._workdir = workdir
        self._params = params
        self._ask = ask
        self.programs: dict[str, Program] = {}
        self.active: Program | None = None
        self._boots = 0

    # -- loading ---------------------------------------------------------------------------------------------------

    def load_at_startup(self, source: str, origin: str, name: str | None = None) -> str:
        """Compile a program of the command line; the last one becomes the active one. Returns warnings.

        :raises CliError: with the compiler's report
        """
        if name is None:
            name = f"boot{self._boots}"
            self._boots += 1
        program, warnings, _ = self._new(name, source, origin)
        self.active = program
        return warnings

    def _load(self, name: str, source: str, origin: str, state: str = "auto") -> str:
        _, notes, running = self._new(name, source, origin, state)
        return notes if running else f"{notes}VCL compiled.\n"

    def _new(self, name: str, source: str, origin: str, state: str = "auto") -> tuple[Program, str, bool]:
        """Compile and load: the program, what there is to note, and whether a child runs that has loaded it, too."""
        count = sum(1 for program in self.programs.values() if not program.is_label)
        if count >= self._params.max_vcl and self._params.max_vcl_handling == 2:
            raise CliError(
                CANT,
                f"Too many ({count}) VCLs already loaded\n(See max_vcl and max_vcl_handling parameters)",
            )
        _check_state(state)
        labels = tuple(program.name for program in self.programs.values() if program.is_label)
        settings = replace(self._settings, labels=labels)
        compiled = compile_in_subprocess(source, origin, name, self._params, settings)
        directory, path = self._write(name, compiled.python_source)
        program = Program(name, state, state != "cold", compiled, directory)
        program.uses = [self.programs[label] for label in compiled.labels if label in self.programs]
        self.programs[name] = program
        answer = self._tell(["vcl.load", name, str(path), VclMode(program.warm, state).word])
        if answer is not None and answer[0] != OK:
            self._forget(program)
            raise CliError(*answer)
        self._keep_warm(program)
        notes = compiled.warnings
        if count + 1 > self._params.max_vcl and self._params.max_vcl_handling == 1:
            notes += (
                f"{count + 1} VCLs loaded\nRemember to vcl.discard the old/unused VCLs.\n"
                "(See max_vcl and max_vcl_handling parameters)"
            )
        return program, notes, answer is not None

    def _write(self, name: str, text: str) -> tuple[Path, Path]:
        """Put a compiled program into the working directory; its own directory there, and the file.

        :raises CliError: the disk does not take it
        """
        directory = self._workdir / f"vcl_{name}.{time.time():.6f}"
        path = directory / "vgc.py"
        try:
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)  # whatever the umask: the child must read it
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise CliError(CANT, f"Cannot write {path}: {error.strerror}") from None
        return directory, path

    def push_all(self, ask: Callable[[list[str]], tuple[int, str]]) -> None:
        """Give a new child every program and label.

        :raises CliError: if the child refuses one
        """
        done: set[str] = set()

        def push(program: Program) -> None:
            if program.name in done:
                return
            done.add(program.name)
            for needed in program.points_to():
                push(needed)
            if program.target is not None:
                _require(ask(["vcl.label", program.name, program.target.name]))
            else:
                assert program.directory is not None
                path = program.directory / "vgc.py"
                _require(ask(["vcl.load", program.name, str(path), VclMode(program.warm, program.state).word]))

        for program in list(self.programs.values()):
            push(program)
        if self.active is not None:
            _require(ask(["vcl.use", self.active.name]))

    def _tell(self, words: list[str]) -> tuple[int, str] | None:
        return self._ask(words)

    def _require_child(self, words: list[str]) -> None:
        answer = self._tell(words)
        if answer is not None:
            _require(answer)

    def _forget(self, program: Program) -> None:
        del self.programs[program.name]
        if program.directory is not None:
            shutil.rmtree(program.directory, ignore_errors=True)

    def discard_directories(self) -> None:
        """Remove what compilation left in the working directory; for the manager's end."""
        for program in self.programs.values():
            if program.directory is not None:
                shutil.rmtree(program.directory, ignore_errors=True)

    # -- temperature -----------------------------------------------------------------------------------------------

    def _referrers(self, program: Program) -> list[Program]:
        return [other for other in self.programs.values() if program in other.points_to()]

    def _keep_warm(self, program: Program) -> None:
        wanted = program.state == "auto" and program is not self.active and not self._referrers(program)
        program.cool_at = time.monotonic() + self._params.vcl_cooldown if wanted and program.warm else 0.0

    def cool_unused(self) -> None:
        """Cool auto programs that nobody has used for ``vcl_cooldown``; called from a timer."""
        now = time.monotonic()
        for program in list(self.programs.values()):
            if program.cool_at and program.cool_at <= now:
                program.cool_at = 0.0
                self._set_warm(program, False)

    def _set_warm(self, program: Program, warm: bool) -> None:
        self._require_child(["vcl.state", program.name, VclMode(warm, program.state).word])
        program.warm = warm

    def _require_warm(self, program: Program) -> None:
        if program.is_label:
            assert program.target is not None
            program = program.target
        if program.state == "cold":
            raise CliError(CANT, f"VCL '{program.name}' is cold - set to auto or warm first")
        if not program.warm:
            self._set_warm(program, True)
        self._keep_warm(program)

    # -- commands --------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Program:
        _check_name(name)
        program = self.programs.get(name)
        if program is None:
            raise CliError(PARAM, f"No VCL named {name} known\n")
        return program

    def _check_new_name(self, name: str) -> None:
        _check_name(name)
        if name in self.programs:
            raise CliError(PARAM, f"Already a VCL named {name}")

    def cli_load(self, call: CliCall) -> str:
        """``vcl.load``"""
        name, filename, *state = call.args
        self._check_new_name(name)
        _check_state(*state)
        source, origin = read_vcl_file(filename, self._params)
        return self._load(name, source, origin, *state)

    def cli_inline(self, call: CliCall) -> str:
        """``vcl.inline``"""
        name, source, *state = call.args
        self._check_new_name(name)
        return self._load(name, source, "<vcl.inline>", *state)

    def cli_use(self, call: CliCall) -> str:
        """``vcl.use``"""
        program = self._find(call.args[0])
        if program is self.active:
            return ""
        self._require_warm(program)
        self._require_child(["vcl.use", program.name])
        before, self.active = self.active, program
        program.cool_at = 0.0
        if before is not None:
            self._keep_warm(before)
        return f"VCL '{program.name}' now active"

    def cli_state(self, call: CliCall) -> str:
        """``vcl.state``"""
        program = self._find(call.args[0])
        state = call.args[1]
        if program.is_label:
            raise CliError(PARAM, "Labels are always warm")
        _check_state(state)
        if state == program.state:
            return ""
        if state == "cold":
            if self._referrers(program):
                raise CliError(CANT, "A labeled VCL cannot be set cold")
            if program is self.active:
                raise CliError(CANT, "Cannot set the active VCL cold.")
        before, program.state = program.state, state
        try:
            self._set_warm(program, program.warm if state == "auto" else state == "warm")
        except CliError:
            program.state = before
            raise
        self._keep_warm(program)
        return ""

    def cli_discard(self, call: CliCall) -> str:
        """``vcl.discard``: all that match, in the order of their dependencies, or nothing."""
        chosen: list[Program] = []
        for pattern in call.args:
            matches = [p for p in self.programs.values() if fnmatch.fnmatchcase(p.name, pattern)]
            if not matches:
                raise CliError(PARAM, f"No VCL name matches {pattern}\n")
            for program in matches:
                if program is self.active:
                    raise CliError(CANT, f"Cannot discard active VCL program {program.name}\n")
                if program not in chosen:
                    chosen.append(program)
        while chosen:
            blocked = [p for p in chosen if any(other not in chosen for other in self._referrers(p))]
            if blocked:
                raise CliError(CANT, self._still_used(blocked))
            for program in [p for p in chosen if not self._referrers(p)]:
                chosen.remove(program)
                if program.warm and not program.is_label:
                    self._require_child(["vcl.state", program.name, VclMode(False, "cold").word])
                self._require_child(["vcl.discard", program.name])
                freed = program.points_to()
                self._forget(program)
                for other in freed:
                    self._keep_warm(other)
        return ""

    def _still_used(self, programs: list[Program]) -> str:
        program = programs[0]
        if program.is_label:
            text = f"Cannot discard VCL label {program.name}, other VCLs depend on it:\n"
        else:
            text = f"Cannot discard labeled VCL program {program.name}:\n"
        names = [other.name for other in self._referrers(program)]
        text += "".join(f"\t{name}\n" for name in names[:5])
        return text + ("\t[...]" if len(names) > 5 else "")

    def cli_label(self, call: CliCall) -> str:
        """``vcl.label``"""
        name, target_name = call.args
        _check_name(name)
        label = self.programs.get(name)
        if label is not None and not label.is_label:
            raise CliError(PARAM, f"{name} is not a label")
        target = self._find(target_name)
        if target.is_label:
            raise CliError(CANT, "VCL labels cannot point to labels")
        if label is not None and label.target is not target:
            trail = _path(target, label)
            if trail:
                raise CliError(PARAM, f"{trail}Pointing label {name} at {target_name} would create a loop")
        self._require_warm(target)
        self._require_child(["vcl.label", name, target_name])
        if label is None:
            label = Program(name, "label")
            self.programs[name] = label
        before, label.target = label.target, target
        target.cool_at = 0.0
        if before is not None:
            self._keep_warm(before)
        return ""

    def cli_list(self, call: CliCall) -> str | tuple[int, str]:
        """``vcl.list``; the child answers it while it runs, for only it knows how busy programs are."""
        answer = self._tell(["vcl.list", *(["-j"] if call.json else [])])
        if answer is not None:
            return answer
        rows = [self._row(program) for program in self.programs.values()]
        return (
            json_answer(call, *(json.dumps(row.as_json(), indent=2) for row in rows)) if call.json else list_text(rows)
        )

    def _row(self, program: Program) -> VclRow:
        return VclRow(
            status="active" if program is self.active else "available",
            state=program.state,
            temperature="warm" if program.warm else "cold",
            busy=None,
            name=program.name,
            target=None if program.target is None else program.target.name,
            users=len(self._referrers(program)),
        )

    def cli_show(self, call: CliCall) -> str:
        """``vcl.show``"""
        args = [arg for arg in call.args if arg != "-v"]
        verbose = len(args) != len(call.args)
        if len(args) > 1:
            raise CliError(PARAM, "Too many parameters: 'vcl.show [-v] [<configname>]'\n")
        program = self.programs.get(args[0]) if args else self.active
        if program is None:
            raise CliError(PARAM, f"No VCL named '{args[0]}'" if args else "No active VCL\n")
        if program.is_label:
            program = program.target
        assert program is not None and program.compiled is not None
        if not verbose:
            return program.compiled.sources[0][1]
        return "".join(
            f"// VCL.SHOW {index} {len(text.encode())} {name}\n{text}\n"
            for index, (name, text) in enumerate(program.compiled.sources)
        )

    def cli_deps(self, call: CliCall) -> str:
        """``vcl.deps``"""
        if call.json:
            elements = [
                json.dumps({"name": program.name, "deps": [other.name for other in program.points_to()]}, indent=2)
                for program in self.programs.values()
            ]
            return json_answer(call, *elements, version=1)
        rows = []
        for program in self.programs.values():
            rows += [[program.name, other.name] for other in program.points_to()] or [[program.name]]
        return columns(rows)

    def cli_symtab(self, call: CliCall) -> str:
        """``vcl.symtab``"""
        out = []
        for program in self.programs.values():
            if program.target is not None:
                out.append(f"Label: {program.name} -> {program.target.name}\n")
                continue
            assert program.compiled is not None
            out.append(f"Vcl: {program.name}\n")
            out += [f"  {line}\n" for line in program.compiled.symbols.splitlines()]
        return "".join(out)


def _path(start: Program, goal: Program) -> str:
    """How one program leads to another, a line per step, innermost first; empty if it does not."""
    if start is goal:
        return " "
    for other in start.points_to():
        trail = _path(other, goal)
        if trail:
            if start.is_label:
                return f"{trail.lstrip()}Label {start.name} points to vcl {other.name}\n"
            return f"{trail.lstrip()}Vcl {start.name} uses Label {other.name}\n"
    return ""


def _require(answer: tuple[int, str]) -> None:
    if answer[0] != OK:
        raise CliError(*answer)


def _check_state(state: str = "auto") -> None:
    if state not in _STATES:
        raise CliError(PARAM, "State must be one of auto, cold or warm.")


def _check_name(name: str) -> None:
    for index, char in enumerate(name):
        good = char.isascii() and (char.isalpha() or (index > 0 and (char.isdigit() or char in "_-")))
        if not good:
            shown = f"('{char}')" if " " < char < "\x7f" else f"(0x{ord(char) & 0xFF:02x})"
            raise CliError(PARAM, f"Illegal character in VCL name {shown}")
    if not name:
        raise CliError(PARAM, "Illegal character in VCL name (0x00)")


def backend_vcl(argument: str) -> str:
    """The VCL that ``-b`` stands for (varnishd(1)).

    :raises StartupError: if it is no address
    """
    if argument.lower() == "none":
        return "vcl 4.1;\nbackend default none;\n"
    try:
        parsed = endpoint.parse_backend(argument)
    except endpoint.EndpointError as error:
        raise StartupError(str(error), usage=True) from None
    address = parsed.address
    lines = ["vcl 4.1;", "backend default {"]
    if address.path:
        lines.append(f'    .path = "{address.path}";')
    else:
        lines.append(f'    .host = "{address.host or "127.0.0.1"}";')
        lines.append(f'    .port = "{address.port}";')
    return "\n".join([*lines, "}", ""])


def read_vcl_file(filename: str, params: Params) -> tuple[str, str]:
    """A VCL file by path, or found along ``vcl_path``: its text and its full name.

    :raises CliError: if it cannot be read
    """
    try:
        return _read_along_path(filename, params)
    except OSError as error:
        raise CliError(
            PARAM,
            "Message from VCC-compiler:\n"
            f"Cannot read file '{filename}' ({error.strerror})\n"
            "Running VCC-compiler failed, exited with 2\nVCL compilation failed",
        ) from None


def read_vcl_argument(filename: str, params: Params) -> tuple[str, str]:
    """The file of ``-f``, as `read_vcl_file` finds it.

    :raises StartupError: if it cannot be read
    """
    try:
        return _read_along_path(filename, params)
    except OSError as error:
        raise StartupError(f"Cannot read -f file '{filename}' ({error.strerror})") from None


def _read_along_path(filename: str, params: Params) -> tuple[str, str]:
    """Names that are not absolute are looked up along vcl_path only: what runs does not depend on where one stands."""
    if filename.startswith("/"):
        candidates = [filename]
    else:
        candidates = [f"{part}/{filename}" for part in str(params.vcl_path).split(":")]
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for candidate in candidates:
        try:
            return Path(candidate).read_text(encoding="utf-8", errors="surrogateescape"), candidate
        except FileNotFoundError:
            continue
    raise error
