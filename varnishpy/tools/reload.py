"""``varnishpy reload``: an instance takes its VCL file anew.

It is loaded under a new name and used; if it does not compile, nothing changes. What earlier reloads have loaded is
discarded, and so is the program of the start: requests that still run on one keep it until they end.

With --watch it does so whenever one of the program's files changes, or a file of a VMOD that it imports, until Ctrl-C.
That needs the package watchfiles: pip install 'varnishpy[watch]'.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterable

from varnishpy.cli import protocol
from varnishpy.tools.adm import AdmError, ask, connect
from varnishpy.tools.usage import HELP, VERSION, WORKDIR, Option, ToolError, parse_words

PROGRAM = "varnishpy reload"
OPTIONS = [
    HELP,
    WORKDIR,
    VERSION,
    Option("w", "[-w]", "Go on, and reload after each change of a file", "watch"),
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


def _files_in_use(sock: socket.socket) -> set[str]:
    """The files of the active program, with all that it includes, and of the VMODs that are loaded."""
    active = next(str(row["name"]) for row in _programs(sock) if row["status"] == "active")
    heads = re.findall(r"^// VCL\.SHOW \d+ \d+ (/.*)$", _must(sock, f"vcl.show -v {active}"), re.MULTILINE)
    return {*heads, *re.findall(r'path="(/[^"]*\.py)"', _must(sock, "debug.vmod"))}


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


def _state(paths: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """What changes when a file is edited, replaced, or found behind another symbolic link."""
    state = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # between the removal and the new one
            found = os.stat(path)
            state[path] = (found.st_ino, found.st_mtime_ns, found.st_size)
    return state


def _watch(workdir: str | None, file: str | None) -> None:
    """Reload now, and again after each change. What a folder's events say is only that it is time to look."""
    try:
        from watchfiles import watch
    except ModuleNotFoundError:
        raise ToolError(f"{PROGRAM}: --watch needs watchfiles: pip install 'varnishpy[watch]'") from None
    wanted: set[str] = set() if file is None else {os.path.abspath(file)}
    while True:
        with connect(workdir, None, None, _PATIENCE) as sock:
            try:
                _reload(sock, file)
            except ToolError as error:
                sys.stderr.write(f"{error}\n")
            wanted |= _files_in_use(sock)
        before = _state(wanted)
        folders = sorted({os.path.dirname(path) for path in wanted})
        print(f"watching {len(wanted)} files", flush=True)
        for _ in watch(*folders, recursive=False, yield_on_timeout=True, rust_timeout=1000):
            if _state(wanted) not in (before, {}):
                break
        else:
            return  # Ctrl-C


def main(argv: list[str]) -> int:
    """Run the tool: 0 done, 1 the program was not taken, 2 no connection."""
    try:
        given, files = parse_words(PROGRAM, OPTIONS, argv, WORDS)
        if len(files) > 1:
            raise ToolError(f"{PROGRAM}: one file at most")
        options = dict(given)
        if "w" in options:
            _watch(options.get("n"), files[0] if files else None)
            return 0
        with connect(options.get("n"), None, None, _PATIENCE) as sock:
            _reload(sock, files[0] if files else None)
    except KeyboardInterrupt:
        return 0
    except ToolError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except (AdmError, ValueError, protocol.CliProtocolError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
