"""The references of ``-x``: parameters, log tags, CLI commands, the builtin VCL. All made from the tables themselves.

``tools/gendocs`` turns the same rows into the pages under ``docs/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from varnishpy.cli.table import COMMANDS, CommandFlag
from varnishpy.log.tags import TAGS
from varnishpy.manager.complain import StartupError
from varnishpy.manager.options import OPTSTRING
from varnishpy.params import table as params_table
from varnishpy.vcl.compiler import builtin_source


def parameters() -> str:
    """Every parameter, in the long form of ``param.show``."""
    return params_table.show(long=True)


def tags() -> str:
    """Every log tag with its number and meaning."""
    rows = sorted(TAGS.values(), key=lambda info: info.name)
    return "".join(f"{info.name:<24} {info.text}\n" for info in rows)


def commands() -> str:
    """Every CLI command with its syntax and purpose."""
    shown = [c for c in COMMANDS.values() if not c.flags & (CommandFlag.INTERNAL | CommandFlag.HIDDEN)]
    return "".join(f"{command.syntax}\n    {command.summary}\n\n" for command in shown)


_REFERENCES: Final[dict[str, Callable[[], str]]] = {
    "parameter": parameters,
    "vsl": tags,
    "cli": commands,
    "builtin": builtin_source,
    "optstring": lambda: OPTSTRING + "\n",
}


def text(name: str) -> str:
    """The reference of that name.

    :raises StartupError: if there is none
    """
    make = _REFERENCES.get(name)
    if make is None:
        raise StartupError(f"Invalid -x argument '{name}': use one of {', '.join(_REFERENCES)}", usage=True)
    return make()
