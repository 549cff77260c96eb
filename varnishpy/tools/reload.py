"""``varnishpy reload``: an instance takes its VCL file anew.

It is loaded under a new name and used; if it does not compile, nothing changes. What earlier reloads have loaded is
discarded, and so is the program of the start: requests that still run on one keep it until they end.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time

from varnishpy.cli import protocol
from varnishpy.tools.adm import AdmError, ask, connect
from varnishpy.tools.usage import Option, ToolError, parse_words

PROGRAM = "varnishpy reload"
OPTIONS = [
    Option("h", "[-h]", "Usage help", "help"),
    Option("n:", "[-n <dir>]", "Working directory of the instance"),
    Option("V", "[-V]", "Version", "version"),
]
WORDS = "[file]"
_OURS = re.compile(r"(boot|reload_\d+)\Z")
_PATIENCE = 5.0


def _must(sock: socket.socket, line: str) -> str:
    status, text = ask(sock, line)
    if status != protocol.OK:
        raise ToolError(f"{line.split()[0]} failed ({status}):\n{text.rstrip()}")
    return text


def _programs(sock: socket.socket) -> list[dict[str, object]]:
    return [row for row in json.loads(_must(sock, "vcl.list -j")) if isinstance(row, dict)]


def _file_of(sock: socket.socket, name: str) -> str:
    head = _must(sock, f"vcl.show -v {name}").partition("\n")[0]
    path = head.split(" ", 4)[-1]
    if not path.startswith("/"):
        raise ToolError(f"The active VCL {name} does not come from a file ({path}): name one")
    return path


def _reload(sock: socket.socket, file: str | None) -> None:
    active = next((str(row["name"]) for row in _programs(sock) if row["status"] == "active"), None)
    if file is None:
        if active is None:
            raise ToolError("No VCL is active: name a file")
        file = _file_of(sock, active)
    name = f"reload_{time.time_ns() // 1000}"
    _must(sock, protocol.join(["vcl.load", name, os.path.abspath(file)]))
    _must(sock, f"vcl.use {name}")
    print(f"{name}: {file} is in use")
    for row in _programs(sock):
        old = str(row["name"])
        if (
            old != name
            and _OURS.match(old)
            and row["status"] == "available"
            and not ("labels" in row or "label" in row)
        ):
            _must(sock, f"vcl.discard {old}")


def main(argv: list[str]) -> int:
    """Run the tool: 0 done, 1 the program was not taken, 2 no connection."""
    try:
        given, files = parse_words(PROGRAM, OPTIONS, argv, WORDS)
        if len(files) > 1:
            raise ToolError(f"{PROGRAM}: one file at most")
        with connect(dict(given).get("n"), None, None, _PATIENCE) as sock:
            _reload(sock, files[0] if files else None)
    except ToolError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except (AdmError, ValueError, protocol.CliProtocolError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
