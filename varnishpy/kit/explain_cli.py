"""``varnishpy explain``: what a program does with a request, line by line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from varnishpy.kit.exchange import CLIENT_IP
from varnishpy.kit.explain import ExplainError, Outcome, Theatre, parse_answer
from varnishpy.kit.program import ProgramError
from varnishpy.kit.recorder import Run, Step

_EXAMPLES = """
examples:
  varnishpy explain default.vcl 'GET /x' -H 'Cookie: a=b'
  varnishpy explain default.vcl /x --times 2                  # the second time it may be a hit
  varnishpy explain default.vcl 'PURGE /x' --client-ip 10.0.0.1
  varnishpy explain default.vcl /x --origin 'status=404 cache-control="max-age=10" body="not here"'
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="varnishpy explain",
        description="Tell line by line what a VCL program does with a request; no origin is contacted.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the VCL program")
    parser.add_argument("request", help="'METHOD URL', or the URL alone for a GET")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header sent")
    parser.add_argument("--client-ip", default=CLIENT_IP, metavar="IP", help="who asks (%(default)s)")
    parser.add_argument("--https", action="store_true", help="the client speaks TLS")
    parser.add_argument("--origin", default="", metavar="ANSWER", help="what every origin answers: name=value ...")
    parser.add_argument("--sick", action="append", default=[], metavar="BACKEND", help="this backend is sick")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="ask so many times in a row (%(default)s)")
    parser.add_argument("--builtin", action="store_true", help="show the builtin VCL's lines, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-I", "--vcl-path", action="append", default=[], metavar="DIR", help="where includes are found")
    parser.add_argument("--vmod-path", action="append", default=[], metavar="DIR", help="where VMODs are found")
    return parser


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
    options = _parser().parse_args(argv)
    try:
        if not options.file.is_file():
            raise ExplainError(f"{options.file}: there is no such file")
        if options.times < 1:
            raise ExplainError("--times: at least 1")
        method, url = _request(options.request)
        headers = [_header(text) for text in options.header]
        answer = parse_answer(options.origin)
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
