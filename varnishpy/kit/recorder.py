"""Writes down what a program does, statement by statement, with the values that each leaves.

It takes the place of the list in which a program compiled for coverage counts (``HITS``): every point that is passed
comes by here, on the thread that passes it. What a statement did is what has changed when the next one is reached.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from varnishpy.kit.views import Scope
from varnishpy.vcl.codegen import CoveragePoint

if TYPE_CHECKING:
    from varnishpy.kit.program import Program
    from varnishpy.vcl.context import Ctx

_MESSAGES: Final = ("req", "bereq", "beresp", "resp")
# variables that statements change besides messages, by what they hang on
_VALUES: Final = {
    "req": ("backend_hint", "ttl", "grace", "hash_always_miss", "hash_ignore_busy", "esi", "storage"),
    "bereq": ("backend", "first_byte_timeout", "between_bytes_timeout", "connect_timeout"),
    "beresp": ("ttl", "grace", "keep", "uncacheable", "do_esi", "do_gzip", "do_gunzip", "do_stream", "storage"),
}


_LITERAL: Final = re.compile(r'"[^"]*"')
_VARIABLE: Final = re.compile(
    r"\b(?:req|req_top|bereq|beresp|resp|obj|client|server|local|remote|sess)\.[A-Za-z][A-Za-z0-9_.-]*"
)


@dataclass
class Step:
    """A statement or condition that was reached. ``changes``: what it did, as ``name: value`` lines."""

    file: str
    line: int
    sub: str
    text: str
    outcome: str = ""  # of a condition: true or false
    values: list[str] = field(default_factory=list)  # of the variables in a condition, as ``name = value``
    changes: list[str] = field(default_factory=list)


@dataclass
class Run:
    """One run of a built-in subroutine."""

    method: str
    steps: list[Step] = field(default_factory=list)
    action: str = ""
    failure: str = ""


def _offset(line: str, column: int) -> int:
    """Where a column of the compiler is in a line: it counts a tab as the way to the next multiple of eight."""
    at = 1
    for index, char in enumerate(line):
        if at >= column:
            return index
        at = ((at - 1) & ~7) + 9 if char == "\t" else at + 1
    return len(line)


def statement_text(source: str, line: int, column: int) -> str:
    """A statement from its first word to its semicolon, or a condition up to its brace, in one line."""
    lines = source.split("\n")
    text = "\n".join(lines[line - 1 :])[_offset(lines[line - 1], column) :]
    quoted = ""
    out: list[str] = []
    index = 0
    while index < len(text):
        if quoted:
            if text.startswith(quoted, index):
                out.append(quoted)
                index += len(quoted)
                quoted = ""
                continue
        elif text.startswith('"""', index) or text.startswith('{"', index):
            quoted = '"""' if text[index] == '"' else '"}'
            out.append(text[index : index + len(quoted)])
            index += len(quoted)
            continue
        elif text[index] == '"':
            quoted = '"'
        elif text[index] in ";{":
            out.append(";" if text[index] == ";" else "")
            break
        out.append(text[index])
        index += 1
    return " ".join("".join(out).split())


class Recorder:
    """In place of ``HITS``; see the module text. Safe to call from any thread."""

    def __init__(self, program: Program, tell: Callable[[Run], None]) -> None:
        self._program = program
        self._tell = tell
        self._lock = threading.Lock()
        self._runs: dict[int, list[_Open]] = {}  # by thread; nested where a method ends in another's
        program.globals["HITS"] = self
        methods = program.vcl.module.methods
        for name, function in list(methods.items()):
            methods[name] = self._watched(name, function)

    def _watched(self, name: str, function: Callable[[Ctx], str | None]) -> Callable[[Ctx], str | None]:
        def watched(ctx: Ctx) -> str | None:
            run = Run(name)
            opened = _Open(run, ctx)
            stack = self._runs.setdefault(threading.get_ident(), [])
            stack.append(opened)
            self._tell(run)
            action = None
            try:
                action = function(ctx)
            except BaseException as error:
                run.action, run.failure = "fail", str(error)
                raise
            finally:
                opened.settle()
                stack.pop()
                run.action = run.action or action or ctx.handling or ""
            return action

        return watched

    def __getitem__(self, number: int) -> int:
        """What is counted does not matter here."""
        return 0

    def __setitem__(self, number: int, hits: int) -> None:
        """A point is passed."""
        stack = self._runs.get(threading.get_ident())
        if stack:
            stack[-1].passed(self._program.points[number], self._program.compiled.sources)

    def __len__(self) -> int:
        return len(self._program.points)


class _Open:
    """A run that is not over."""

    def __init__(self, run: Run, ctx: Ctx) -> None:
        self.run = run
        self.ctx = ctx
        self._before = _state(ctx)

    def passed(self, point: CoveragePoint, sources: list[tuple[str, str]]) -> None:
        self.settle()
        if point.kind == "sub":
            return
        name, text = sources[point.source]
        if point.kind == "line":
            self.run.steps.append(Step(name, point.line, point.sub, statement_text(text, point.line, point.column)))
            return
        steps = self.run.steps
        place = (name, point.line, point.sub)
        if not steps or (steps[-1].file, steps[-1].line, steps[-1].sub) != place or steps[-1].outcome:
            steps.append(Step(*place, statement_text(text, point.line, point.column)))
        steps[-1].outcome = point.kind
        steps[-1].values = _values(steps[-1].text, self.ctx)

    def settle(self) -> None:
        """Note what the last step has changed."""
        now = _state(self.ctx)
        if self.run.steps and now != self._before:
            self.run.steps[-1].changes += _changes(self._before, now)
        self._before = now


def _values(condition: str, ctx: Ctx) -> list[str]:
    """What the variables in a condition held."""
    found = []
    for name in dict.fromkeys(_VARIABLE.findall(_LITERAL.sub('""', condition))):
        prefix, _, rest = name.partition(".")
        try:
            scope = Scope(prefix, ctx)
            if rest.startswith("http."):
                value = scope.http.get(rest[5:])
                shown = "not there" if value is None else f'"{value}"'
            else:
                value = getattr(scope, rest)
                shown = f'"{value}"' if isinstance(value, str) else _shown(value)
        except AttributeError:
            continue
        found.append(f"{name} = {shown}")
    return found


_State = dict[str, tuple[str, ...]]


def _state(ctx: Ctx) -> _State:
    """Everything a statement may change, by name."""
    state: _State = {}
    for prefix in _MESSAGES:
        message = getattr(ctx, f"http_{prefix}")
        if message is None:
            continue
        if (prefix.startswith("re") and prefix not in ("beresp", "resp")) or prefix == "bereq":
            state[f"{prefix}.method"] = (message.method,)
            state[f"{prefix}.url"] = (message.url,)
        else:
            state[f"{prefix}.status"] = (str(message.status),)
            state[f"{prefix}.reason"] = (message.reason,)
        for _, name, _value in message.headers:
            state[f"{prefix}.http.{name}"] = tuple(message.values(name.lower()))
    for prefix, names in _VALUES.items():
        scope = Scope(prefix, ctx)
        for name in names:
            try:
                state[f"{prefix}.{name}"] = (_shown(getattr(scope, name)),)
            except AttributeError:
                continue
    if ctx.req is not None and ctx.req.hash_parts:
        state["hash key"] = tuple(part for part in ctx.req.hash_parts if part != "\0")
    return state


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}s"
    return "none" if value is None else str(value)


def _changes(before: _State, now: _State) -> list[str]:
    changes = []
    for name, values in now.items():
        if before.get(name) != values:
            changes.append(f"{name}: {', '.join(values)}")
    changes += [f"{name} removed" for name in before if name not in now]
    return changes
