"""CLI sessions without sockets: octets in, octets out.

`Dispatcher` holds the handlers of one process; `CliSession` is one connection to it. Handlers are called on the thread
that feeds the session. A handler returns the text of its answer, or raises `CliError`; with ``-j`` (and if the command
has a JSON form) it is called with ``call.json`` set and returns the JSON elements that follow the preamble.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from varnishpy.cli.protocol import (
    CANT,
    CLOSE,
    OK,
    SYNTAX,
    TOO_FEW,
    TOO_MANY,
    TRUNCATED,
    UNIMPLEMENTED,
    UNKNOWN,
    CliError,
    frame,
    split,
)
from varnishpy.cli.table import COMMANDS, Command, CommandFlag

_UNKNOWN_TEXT: Final = "Unknown request.\nType 'help' for more info.\n"
# How long a line may be before the peer has proved who it is, as the reference limits it.
_LINE_LIMIT_UNAUTHENTICATED: Final = 80
_LINE_LIMIT: Final = 32 * 1024 * 1024


@dataclass(slots=True)
class CliCall:
    """One command being carried out."""

    session: CliSession
    command: str
    args: list[str]  # without a leading -j
    json: bool


Handler = Callable[[CliCall], "str | tuple[int, str]"]


def json_answer(call: CliCall, *elements: str, version: int = 2) -> str:
    """The JSON envelope of varnish-cli(7): the answer's version, the command's words, the time, then the elements."""
    words = json.dumps([call.command, "-j", *call.args])
    parts = "".join(f",\n  {element}" for element in elements)
    return f"[ {version}, {words}, {time.time():.3f}{parts}\n]\n"


def json_inline(call: CliCall, element: str) -> str:
    """Like `json_answer`, with one short element on the first line."""
    words = json.dumps([call.command, "-j", *call.args])
    return f"[ 2, {words}, {time.time():.3f}, {element}\n]\n"


class Dispatcher:
    """The commands that a process carries out.

    :param limit: gives the longest answer in octets (``cli_limit``)
    :param wildcard: called for commands that have no handler here, if the caller is authenticated
    :param fault: told the traceback of a handler that failed by a defect of its own; the caller only learns that it did
    :ivar reaches_all: whether the wildcard would be obeyed at present
    """

    def __init__(
        self, limit: Callable[[], int], wildcard: Handler | None = None, fault: Callable[[str], None] | None = None
    ) -> None:
        self.handlers: dict[str, Handler] = {}
        self.limit = limit
        self.wildcard = wildcard
        self.fault = fault
        self.reaches_all: Callable[[], bool] = lambda: True
        self.handlers["ping"] = self._ping
        self.handlers["help"] = self._help
        self.handlers["quit"] = self._quit

    def bind(self, **handlers: Handler) -> None:
        """Bind handlers; ``vcl_load=f`` binds the command ``vcl.load``."""
        for name, handler in handlers.items():
            self.bind_name(name.replace("_", "."), handler)

    def bind_name(self, name: str, handler: Handler) -> None:
        """Bind a handler to a command of the table."""
        if name not in COMMANDS:
            raise KeyError(f"no CLI command {name!r} in the table")
        self.handlers[name] = handler

    def visible(self, authenticated: bool) -> list[Command]:
        """The commands that ``help`` may speak of: not those that go to a child which does not run."""
        hidden = CommandFlag.INTERNAL | CommandFlag.HIDDEN
        names = COMMANDS if self.reaches_all() else self.handlers
        return [
            command
            for command in COMMANDS.values()
            if not command.flags & hidden
            and (authenticated or not command.flags & CommandFlag.AUTH)
            and command.name in names
        ]

    def _ping(self, call: CliCall) -> str:
        if call.json:
            return json_inline(call, '"PONG"\n')
        return f"PONG {int(time.time())} 1.0"

    def _quit(self, call: CliCall) -> tuple[int, str]:
        return CLOSE, "Closing CLI connection"

    def _help(self, call: CliCall) -> str:
        commands = self.visible(call.session.authenticated)
        if call.json:
            rows = [
                {
                    "request": command.name,
                    "syntax": command.syntax,
                    "help": command.summary,
                    "minarg": command.minimum,
                    "maxarg": command.maximum,
                    "flags": [flag.name for flag in CommandFlag if flag in command.flags and flag.name],
                    "json": command.json,
                }
                for command in commands
            ]
            return json_answer(call, *(json.dumps(row) for row in rows))
        wanted = {False}
        names = []
        for arg in call.args:
            if arg == "-a":
                wanted = {False, True}
            elif arg == "-d":
                wanted = {True}
            elif arg.startswith("-"):
                raise CliError(UNKNOWN, "Unknown flag\n")
            else:
                names.append(arg)
        if names:
            for command in commands:
                if command.name == names[0]:
                    return f"{command.syntax}\n{command.summary}\n"
            raise CliError(UNKNOWN, _UNKNOWN_TEXT)
        return "".join(f"{c.syntax}\n" for c in commands if bool(c.flags & CommandFlag.DEBUG) in wanted)


@dataclass(slots=True)
class CliSession:
    """One CLI connection; feed it octets, send what it returns, close when ``closing``."""

    dispatcher: Dispatcher
    authenticated: bool
    ident: str = ""
    challenge: str = ""
    internal: bool = False  # the peer is the manager: internal commands are allowed
    closing: bool = False
    audit: Callable[[CliSession, str, int | None, str], None] | None = None  # (session, line, status, answer)
    _line: bytearray = field(default_factory=bytearray)
    _heredoc: tuple[list[str], str, list[str]] | None = None

    @property
    def unfinished(self) -> bool:
        """Has a command been begun and not ended?"""
        return bool(self._line) or self._heredoc is not None

    def feed(self, data: bytes) -> bytes:
        """Take octets from the peer, carry out complete commands, return the answers."""
        out = bytearray()
        for byte_line, complete in self._lines(data):
            if not complete:
                break
            out += self._take(byte_line.decode("utf-8", "surrogateescape"))
            if self.closing:
                break
        return bytes(out)

    def _lines(self, data: bytes) -> list[tuple[bytes, bool]]:
        self._line += data
        limit = _LINE_LIMIT if self.authenticated else _LINE_LIMIT_UNAUTHENTICATED
        found: list[tuple[bytes, bool]] = []
        while (end := self._line.find(b"\n")) >= 0:
            found.append((bytes(self._line[:end]), True))
            del self._line[: end + 1]
        if len(self._line) > limit:
            found.append((bytes(self._line[:limit]), True))
            self._line.clear()
        return found

    def _take(self, line: str) -> bytes:
        if self._heredoc is not None:
            words, token, lines = self._heredoc
            if line.rstrip("\r").lstrip(" \t") != token:
                lines.append(line + "\n")
                return b""
            self._heredoc = None
            return self._run([*words, "".join(lines)], line)
        line = line.rstrip("\r").lstrip()
        if not line:
            return b""
        try:
            words = split(line.removeprefix("-"))
        except CliError as error:
            return self._answer(line, error.status, error.text + "\n")
        if self.authenticated and len(words) >= 3 and words[-2] == "<<" and words[-1]:
            self._heredoc = (words[:-2], words[-1], [])
            return b""
        return self._run(words, line)

    def _run(self, words: list[str], line: str) -> bytes:
        if self.audit is not None:
            self.audit(self, line, None, "")
        try:
            status, text = self._execute(words)
        except CliError as error:
            status, text = error.status, error.text
        except Exception as error:
            # one command fails, the process that was asked to carry it out goes on
            if self.dispatcher.fault is None:
                raise
            self.dispatcher.fault(traceback.format_exc())
            status, text = CANT, f"{words[0]} failed: {type(error).__name__}: {error}\n"
        return self._answer(line, status, text)

    def _answer(self, line: str, status: int, text: str) -> bytes:
        limit = self.dispatcher.limit()
        if len(text) > limit:
            text = text[: limit - 1]
            if status == OK:
                status = TRUNCATED
        if self.audit is not None:
            self.audit(self, line, status, text)
        if status == CLOSE or (not self.authenticated and status != OK):
            self.closing = True
        return frame(status, text)

    def _execute(self, words: list[str]) -> tuple[int, str]:
        if not words:
            raise CliError(SYNTAX, "Empty CLI command.\n")
        name, args = words[0], words[1:]
        if name[:1].isupper():
            raise CliError(UNKNOWN, f"{_UNKNOWN_TEXT}all commands are in lower-case.\n")
        command = COMMANDS.get(name)
        handler = self.dispatcher.handlers.get(name)
        if command is not None and (
            (command.flags & CommandFlag.AUTH and not self.authenticated)
            or (command.flags & CommandFlag.INTERNAL and not self.internal)
        ):
            command = handler = None
            if not self.authenticated:
                raise CliError(UNKNOWN, _UNKNOWN_TEXT)
        as_json = bool(args) and args[0] == "-j"
        if as_json:
            args = args[1:]
        call = CliCall(self, name, args, as_json)
        if command is None or handler is None:
            if self.dispatcher.wildcard is None or not self.authenticated or not name[:1].islower():
                raise CliError(UNKNOWN, _UNKNOWN_TEXT)
            return _as_result(self.dispatcher.wildcard(call))
        if as_json and not command.json:
            raise CliError(UNIMPLEMENTED, "JSON unimplemented\n")
        if len(args) < command.minimum:
            raise CliError(TOO_FEW, "Too few parameters\n")
        if command.maximum >= 0 and len(args) > command.maximum:
            raise CliError(TOO_MANY, "Too many parameters\n")
        return _as_result(handler(call))


def _as_result(answer: str | tuple[int, str]) -> tuple[int, str]:
    return (OK, answer) if isinstance(answer, str) else answer
