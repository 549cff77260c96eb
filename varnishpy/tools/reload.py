"""``varnishpy reload``: an instance takes its VCL file anew.

It is loaded under a new name and used; if it does not compile, nothing changes. What earlier reloads have loaded is
discarded, and so is the program of the start: requests that still run on one keep it until they end.

With --watch it does so whenever one of the program's files changes, or a file of a VMOD that it imports, until Ctrl-C.
That needs the package watchfiles: pip install 'varnishpy[watch]'.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterable

from varnishpy.cli import protocol
from varnishpy.cli.reloading import Ask, ReloadError, active, must, reload
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
_PATIENCE = 5.0


def _asker(sock: socket.socket) -> Ask:
    return lambda words: ask(sock, protocol.join(words))


def _files_in_use(ask_it: Ask) -> set[str]:
    """The files of the active program, with all that it includes, and of the VMODs that are loaded."""
    name = active(ask_it)
    assert name is not None  # it was reloaded just now
    heads = re.findall(r"^// VCL\.SHOW \d+ \d+ (/.*)$", must(ask_it, "vcl.show", "-v", name), re.MULTILINE)
    return {*heads, *re.findall(r'path="(/[^"]*\.py)"', must(ask_it, "debug.vmod"))}


def _reload(ask_it: Ask, file: str | None) -> None:
    name, taken = reload(ask_it, file)
    print(f"{name}: {taken} is in use")


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
                _reload(_asker(sock), file)
            except ReloadError as error:
                sys.stderr.write(f"{error}\n")
            wanted |= _files_in_use(_asker(sock))
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
            _reload(_asker(sock), files[0] if files else None)
    except KeyboardInterrupt:
        return 0
    except ReloadError as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except ToolError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except (AdmError, ValueError, protocol.CliProtocolError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
