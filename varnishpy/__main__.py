"""``varnishpy``: the daemon, and its tools as subcommands."""

from __future__ import annotations

import importlib
import sys
from typing import Final

# subcommand -> module with main(argv) -> exit status; imported only when used
_TOOLS: Final = {
    "adm": "varnishpy.tools.adm",
    "stat": "varnishpy.tools.stat",
    "log": "varnishpy.tools.log",
    "ncsa": "varnishpy.tools.ncsa",
    "top": "varnishpy.tools.top",
    "hist": "varnishpy.tools.hist",
    "scoreboard": "varnishpy.tools.scoreboard",
    "demo": "varnishpy.tools.demo",
    "test": "varnishpy.vtc.cli",
    "explain": "varnishpy.kit.explain_cli",
    "new-vmod": "varnishpy.tools.new_vmod",
}


def main(argv: list[str] | None = None) -> int:
    """The console command."""
    if argv is None:
        argv = sys.argv[1:]
    module, rest = "varnishpy.manager.main", argv
    if argv and argv[0] in _TOOLS:
        module, rest = _TOOLS[argv[0]], argv[1:]
    elif argv and not argv[0].startswith("-"):
        known = ", ".join(_TOOLS)
        sys.stderr.write(
            f"Error: Too many arguments ({argv[0]}...): it is none of the subcommands {known}\n(-? gives usage)\n"
        )
        return 2
    try:
        status: int = importlib.import_module(module).main(rest)
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
