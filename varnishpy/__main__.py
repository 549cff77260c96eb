"""``varnishpy``: the daemon, and its tools as subcommands."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NamedTuple

from varnishpy import __version__
from varnishpy.base.near import did_you_mean


class Subcommand(NamedTuple):
    """A tool: its module has ``main(argv) -> exit status`` and is imported only when used."""

    module: str
    text: str


SUBCOMMANDS: Final = {
    "demo": Subcommand("varnishpy.tools.demo", "a cache in front of a small origin, to try things on"),
    "log": Subcommand("varnishpy.tools.log", "what happens to each request, live (varnishlog)"),
    "stat": Subcommand("varnishpy.tools.stat", "the counters, live or once (varnishstat)"),
    "statdiff": Subcommand("varnishpy.tools.statdiff", "two snapshots of the counters compared (varnishstatdiff)"),
    "ncsa": Subcommand("varnishpy.tools.ncsa", "one line per request, as web servers log (varnishncsa)"),
    "top": Subcommand("varnishpy.tools.top", "the most frequent log records (varnishtop)"),
    "hist": Subcommand("varnishpy.tools.hist", "response times as a histogram (varnishhist)"),
    "scoreboard": Subcommand("varnishpy.tools.scoreboard", "what each worker is doing"),
    "adm": Subcommand("varnishpy.tools.adm", "management commands: VCL, parameters, bans (varnishadm)"),
    "check": Subcommand("varnishpy.tools.check", "does a VCL program compile?"),
    "reload": Subcommand("varnishpy.tools.reload", "an instance takes its VCL file anew"),
    "test": Subcommand("varnishpy.vtc.cli", "run test scripts (varnishtest)"),
    "explain": Subcommand("varnishpy.kit.explain_cli", "what a VCL program does with a request, line by line"),
    "new-vmod": Subcommand("varnishpy.tools.new_vmod", "begin a VMOD: module, project file and test"),
    "completion": Subcommand("varnishpy.tools.completion", "a completion script for bash, zsh or fish"),
}

_EXAMPLES: Final = """Examples:
  varnishpy demo
  varnishpy -F -a 127.0.0.1:6081 -b 127.0.0.1:8080 -n /tmp/cache       a cache in front of port 8080
  varnishpy -F -a 127.0.0.1:6081 -f default.vcl -n /tmp/cache          ... with a program
  varnishpy log -n /tmp/cache -g request -q 'RespStatus >= 500'
  varnishpy adm -n /tmp/cache 'ban req.url ~ ^/news'
"""


def help_text() -> str:
    """The text of ``--help``."""
    lines = ["varnishpy: an HTTP cache with VCL", "", "Usage: varnishpy SUBCOMMAND [options]"]
    lines += ["       varnishpy -b ADDRESS | -f FILE [options]      start the daemon", "", "Subcommands:"]
    lines += [f"  {name:<12} {subcommand.text}" for name, subcommand in SUBCOMMANDS.items()]
    lines += ["", _EXAMPLES]
    lines.append("varnishpy help SUBCOMMAND, or varnishpy SUBCOMMAND --help: its options")
    lines.append("varnishpy -?: the options of the daemon")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The console command."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else ""
    if first == "help" and len(words) == 2:
        return _dispatch([words[1], "--help"])
    if first == "--help" or words == ["help"]:
        sys.stdout.write(help_text())
        return 0
    if words == ["--version"]:
        sys.stdout.write(f"varnishpy {__version__}\n")
        return 0
    if first and not first.startswith("-") and first not in SUBCOMMANDS:
        near = did_you_mean(first, [*SUBCOMMANDS, "help"])
        sys.stderr.write(
            f"Error: Too many arguments ({first}...): there is no such subcommand.{near}\n"
            "(varnishpy --help lists the subcommands)\n"
        )
        return 2
    module, rest = "varnishpy.manager.main", words
    if first in SUBCOMMANDS:
        module, rest = SUBCOMMANDS[first].module, words[1:]
    status: int = importlib.import_module(module).main(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
