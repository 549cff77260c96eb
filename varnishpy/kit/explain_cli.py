"""``varnishpy explain``: what a program does with a request, line by line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from varnishpy.kit.exchange import CLIENT_IP
from varnishpy.kit.explain import ExplainError, Outcome, Theatre, parse_answer
from varnishpy.kit.program import ProgramError
from varnishpy.kit.recorder import Run, Step
from varnishpy.tools.usage import HELP, VERSION, Option, ToolError, parse_words, usage

PROGRAM: Final = "varnishpy explain"
OPTIONS: Final = [
    Option("", "[--builtin]", "Show the builtin VCL's lines, too", "builtin"),
    Option(":", "[--client-ip <ip>]", f"Who asks (default: {CLIENT_IP})", "client-ip"),
    Option("H:", "[-H <'name: value'>]", "A header sent; may be given many times", "header"),
    HELP,
    Option("", "[--https]", "The client speaks TLS", "https"),
    Option("I:", "[-I <dir>]", "Where includes are found; may be given many times", "vcl-path"),
    Option("", "[--json]", "Print JSON", "json"),
    Option(":", "[--origin <answer>]", 'What every origin answers: status=404 cache-control="max-age=10"', "origin"),
    Option(":", "[--sick <backend>]", "This backend is sick; may be given many times", "sick"),
    Option(":", "[--times <number>]", "Ask so many times in a row (default: 1)", "times"),
    VERSION,
    Option(":", "[--vmod-path <dir>]", "Where VMODs are found; may be given many times", "vmod-path"),
]
EXAMPLES: Final = """
varnishpy explain default.vcl 'GET /x' -H 'Cookie: a=b'
varnishpy explain default.vcl /x --times 2
varnishpy explain default.vcl 'PURGE /x' --client-ip 10.0.0.1
varnishpy explain default.vcl /x --origin 'status=404 cache-control="max-age=10" body="not here"'
"""
WORDS: Final = "file ['METHOD ]URL[']"


@dataclass(slots=True)
class _Question:
    """The command line."""

    file: Path
    request: str
    headers: list[str] = field(default_factory=list)
    client_ip: str = CLIENT_IP
    https: bool = False
    origin: str = ""
    sick: list[str] = field(default_factory=list)
    times: int = 1
    builtin: bool = False
    json: bool = False
    vcl_path: list[str] = field(default_factory=list)
    vmod_path: list[str] = field(default_factory=list)


def _parse(argv: Sequence[str]) -> _Question:
    given, words = parse_words(PROGRAM, OPTIONS, list(argv), WORDS, 2, anywhere=True)
    if len(words) != 2:
        raise ToolError(f"{PROGRAM}: a file and a request\n{usage(PROGRAM, OPTIONS, WORDS)}", 2)
    asked = _Question(Path(words[0]), words[1])
    for key, value in given:
        match key:
            case "H":
                asked.headers.append(value)
            case "client-ip":
                asked.client_ip = value
            case "https":
                asked.https = True
            case "origin":
                asked.origin = value
            case "sick":
                asked.sick.append(value)
            case "times":
                if not value.isdecimal() or not int(value):
                    raise ToolError(f"{PROGRAM}: --times: a number of at least 1, not {value!r}", 2)
                asked.times = int(value)
            case "builtin":
                asked.builtin = True
            case "json":
                asked.json = True
            case "I":
                asked.vcl_path.append(value)
            case "vmod-path":
                asked.vmod_path.append(value)
    return asked


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ExplainError(f"-H: {text!r} is not 'Name: value'")
    return name.strip(), value.strip()


def _request(text: str) -> tuple[str, str]:
    words = text.split()
    if len(words) == 1:
        return "GET", words[0]
    if len(words) == 2:
        return words[0], words[1]
    raise ExplainError(f"{text!r} is not 'METHOD URL'")


def main(argv: Sequence[str]) -> int:
    """0: explained; 1: the program does not compile, or there was no answer; 2: usage."""
    try:
        options = _parse(argv)
        if not options.file.is_file():
            raise ExplainError(f"{options.file}: there is no such file")
        method, url = _request(options.request)
        headers = [_header(text) for text in options.headers]
        answer = parse_answer(options.origin)
    except ToolError as error:
        print(error, file=sys.stderr)
        return error.status
    except ExplainError as error:
        print(f"varnishpy explain: {error}", file=sys.stderr)
        return 2
    try:
        with Theatre(options.file, answer, options.vcl_path, options.vmod_path) as theatre:
            for name in options.sick:
                theatre.sick(name)
            outcomes = [
                theatre.ask(url, method, headers, options.client_ip, options.https) for _ in range(options.times)
            ]
    except (ExplainError, ProgramError) as error:
        print(f"varnishpy explain: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([outcome.as_dict() for outcome in outcomes], indent=2))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    for number, outcome in enumerate(outcomes, 1):
        if len(outcomes) > 1:
            console.print(Text(f"\n=== {number}", style="bold"))
        render(console, outcome, options.builtin)
    return 0


def render(console: Console, outcome: Outcome, builtin: bool = False) -> None:
    """Print an explanation for people."""
    console.print(Text(outcome.request, style="bold"))
    for event in outcome.events:
        if isinstance(event, Run):
            _render_run(console, event, builtin)
        else:
            console.print(Text(f"  {event}", style="magenta"))
    if outcome.piped:
        console.print(
            Text("piped: what the backend sends goes to the client as it is, until one of them closes", style="bold")
        )
        return
    console.print(Text(f"response: {outcome.status} {outcome.reason}", style="bold"))
    for name, value in outcome.headers:
        console.print(Text(f"  {name}: {value}"))
    console.print(Text(f"  body: {len(outcome.body)} octets", style="dim"))


def _render_run(console: Console, run: Run, builtin: bool) -> None:
    console.print(Text(f"vcl_{run.method}", style="bold cyan"))
    hidden = 0
    for step in run.steps:
        if step.file == "<builtin>" and not builtin:
            hidden += 1
            if step.changes:
                _render_step(console, step)
            continue
        _render_step(console, step)
    tail = f" ({run.failure})" if run.failure else " (builtin VCL)" if _ends_in_builtin(run) else ""
    style = "bold red" if run.action == "fail" else "green"
    console.print(Text(f"  -> {run.action}{tail}", style=style))


def _ends_in_builtin(run: Run) -> bool:
    return bool(run.steps) and run.steps[-1].file == "<builtin>"


def _render_step(console: Console, step: Step) -> None:
    where = f"{os.path.basename(step.file)}:{step.line}"
    line = Text(f"  {where:<18} ", style="dim")
    line.append(step.text, style="default")
    if step.outcome:
        line.append(f"  {step.outcome}", style="green" if step.outcome == "true" else "yellow")
    console.print(line)
    for note in (*step.values, *step.changes):
        console.print(Text(f"  {'':<18}     {note}", style="blue"))
