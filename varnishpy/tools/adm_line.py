"""The prompt of ``varnishpy adm``: completion and history by readline.

What a word may be is asked of the instance when it is needed: its commands, its parameters, its VCLs, its backends.
History is kept for the next time, without lines that hold a secret.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import readline
from collections.abc import Callable
from pathlib import Path
from typing import Final

from varnishpy.cli import protocol

MOST_HISTORY: Final = 1000  # lines

Ask = Callable[[str], tuple[int, str]]
_SECRETS: Final = ("auth ",)


def _answer(ask: Ask, line: str) -> str:
    status, text = ask(line)
    return text if status == protocol.OK else ""


def _commands(ask: Ask) -> list[str]:
    return [line.split()[0] for line in _answer(ask, "help").splitlines() if line.strip()]


def _rows(ask: Ask, line: str) -> list[dict[str, object]]:
    """The objects of an answer in JSON: what follows version, command and time."""
    try:
        document = json.loads(_answer(ask, line) or "[]")
    except ValueError:
        return []
    found: list[dict[str, object]] = []
    for part in document[3:]:
        rows = part if isinstance(part, list) else [part]
        found += [row for row in rows if isinstance(row, dict)]
    return found


def _parameters(ask: Ask) -> list[str]:
    return [str(row["name"]) for row in _rows(ask, "param.show -j") if "name" in row]


def _vcls(ask: Ask) -> list[str]:
    return [str(row["name"]) for row in _rows(ask, "vcl.list -j") if "name" in row]


def _backends(ask: Ask) -> list[str]:
    return [name for row in _rows(ask, "backend.list -j") for name in row]


def _words(text: str) -> Callable[[Ask], list[str]]:
    return lambda ask: text.split()


#: what may follow a command, word by word
ARGUMENTS: Final[dict[str, tuple[Callable[[Ask], list[str]], ...]]] = {
    "help": (_commands,),
    "param.show": (_parameters,),
    "param.set": (_parameters,),
    "param.reset": (_parameters,),
    "vcl.use": (_vcls,),
    "vcl.show": (_vcls,),
    "vcl.discard": (_vcls,),
    "vcl.state": (_vcls, _words("auto cold warm")),
    "vcl.label": (_vcls, _vcls),
    "vcl.deps": (),
    "backend.list": (_backends,),
    "backend.set_health": (_backends, _words("auto healthy sick")),
    "panic.show": (_words("-j"),),
    "ban": (_words("obj.http. obj.status obj.age obj.ttl req.http. req.url"), _words("== != ~ !~ < <= > >=")),
}


class Completer:
    """Completes command lines. :param ask: runs a command of the CLI, and gives its status and answer"""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._commands: list[str] = []
        self._matches: list[str] = []

    def matches(self, before: str, word: str) -> list[str]:
        """What the word may become. ``before``: the line up to it."""
        words = before.split()
        if not words:
            self._commands = self._commands or _commands(self._ask)
            found = self._commands
        else:
            sources = ARGUMENTS.get(words[0], ())
            place = len(words) - 1
            found = sources[place](self._ask) if place < len(sources) else []
        return sorted({text for text in found if text.startswith(word)})

    def complete(self, word: str, state: int) -> str | None:
        """For readline: the ``state``-th possibility."""
        if state == 0:
            line = readline.get_line_buffer()
            self._matches = self.matches(line[: readline.get_begidx()], word)
        if state >= len(self._matches):
            return None
        only = len(self._matches) == 1 and not self._matches[0].endswith(".")
        return self._matches[state] + (" " if only else "")


def history_file() -> Path:
    """Where history is kept (XDG base directory specification: state)."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "varnishpy" / "adm_history"


def _keep_history(path: Path) -> None:
    lines = [readline.get_history_item(number) for number in range(1, readline.get_current_history_length() + 1)]
    kept = [line for line in lines if line and not line.lstrip().startswith(_SECRETS)][-MOST_HISTORY:]
    with contextlib.suppress(OSError):  # a home that cannot be written to is no reason to fail at the end
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(f"{line}\n" for line in kept))


def editing(ask: Ask) -> None:
    """Have ``input()`` complete, and remember; history is written when the program ends."""
    path = history_file()
    with contextlib.suppress(OSError, UnicodeError):
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            readline.add_history(line)
    atexit.register(_keep_history, path)
    readline.set_completer(Completer(ask).complete)
    readline.set_completer_delims(" ")
    edits = "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    readline.parse_and_bind(edits)
