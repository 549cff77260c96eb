"""An instance takes its VCL file anew: what is asked of it, by whoever can ask (``varnishpy reload``, SIGHUP).

The file is loaded under a new name and used; if it does not compile, nothing changes. What earlier reloads have loaded
is discarded, and so is the program of the start: requests that still run on one keep it until they end.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from typing import Final

from varnishpy.cli.protocol import OK

Ask = Callable[[list[str]], tuple[int, str]]  # a command's words; status and answer
_OURS: Final = re.compile(r"(boot|reload_\d+)\Z")


class ReloadError(Exception):
    """The instance did not take it; why stands in the text."""


def must(ask: Ask, *words: str) -> str:
    """The answer to a command that succeeds.

    :raises ReloadError: it does not
    """
    status, text = ask(list(words))
    if status != OK:
        raise ReloadError(f"{words[0]} failed ({status}):\n{text.rstrip()}")
    return text


def programs(ask: Ask) -> list[dict[str, object]]:
    """The rows of ``vcl.list``."""
    return [row for row in json.loads(must(ask, "vcl.list", "-j")) if isinstance(row, dict)]


def active(ask: Ask) -> str | None:
    """The name of the active program."""
    return next((str(row["name"]) for row in programs(ask) if row["status"] == "active"), None)


def _file_of(ask: Ask, name: str) -> str:
    head = must(ask, "vcl.show", "-v", name).partition("\n")[0]
    path = head.split(" ", 4)[-1]
    if not path.startswith("/"):
        raise ReloadError(f"The active VCL {name} does not come from a file ({path}): name one")
    return path


def reload(ask: Ask, file: str | None = None) -> tuple[str, str]:
    """Do it, with the file of the active program unless another is named.

    :returns: the new program's name, and the file
    """
    if file is None:
        name = active(ask)
        if name is None:
            raise ReloadError("No VCL is active: name a file")
        file = _file_of(ask, name)
    new = f"reload_{time.time_ns() // 1000}"
    must(ask, "vcl.load", new, os.path.abspath(file))
    must(ask, "vcl.use", new)
    for row in programs(ask):
        old = str(row["name"])
        labelled = "labels" in row or "label" in row
        if old != new and _OURS.match(old) and row["status"] == "available" and not labelled:
            must(ask, "vcl.discard", old)
    return new, file
