"""``varnishpy scoreboard``: what every worker is doing, live or once, from the stats socket of a running instance.

The oldest task stands first. Keys: q quits.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from pathlib import Path
from typing import TypedDict

from varnishpy.base.workdir import resolve_existing
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy scoreboard"
OPTIONS = [
    Option("1", "[-1]", "Print once to stdout"),
    Option("h", "[-h]", "Usage help", "help"),
    Option("j", "[-j]", "Print once as JSON"),
    Option("n:", "[-n <dir>]", "Working directory of the instance"),
    Option("p:", "[-p <period>]", "Seconds between refreshes (default: 1)"),
    Option("s:", "[-s <path>]", "Path of the stats socket (default: stats.sock in the working directory)"),
    Option("V", "[-V]", "Version", "version"),
]
_HEADS = ("AGE", "KIND", "STATE", "VXID", "CLIENT", "REQUEST")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("varnishpy", timeout=5)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Task(TypedDict, total=False):
    """A task as ``/scoreboard`` shows it; ``age`` in seconds."""

    age: float
    kind: str
    state: str
    waiting: bool
    vxid: int
    client: str
    request: str


class Board(TypedDict, total=False):
    """The page ``/scoreboard``."""

    pools: list[dict[str, float]] | dict[str, dict[str, float]]
    tasks: list[Task]
    sessions: int
    parked: int
    tracked: bool


def ask(path: str, page: str) -> Board:
    """A page of the stats socket, parsed. Raises ToolError."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ToolError(f"Could not get hold of the stats socket {path}, is varnishpy running? ({reason})") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise ToolError(f"{page}: {answer.status} {body.decode('utf-8', 'replace').strip()}")
    try:
        board: Board = json.loads(body)
    except ValueError:
        raise ToolError(f"{page}: the answer is not JSON") from None
    return board


def figures(board: Board) -> list[str]:
    """Running, idle and queued over all pools, and sessions, if the instance tells of them."""
    pools = board.get("pools") or []
    pools = list(pools.values()) if isinstance(pools, dict) else pools
    counts = {
        name: sum(int(pool.get(name, 0)) for pool in pools if isinstance(pool, dict))
        for name in ("threads", "idle", "active", "queued")
    }
    running = counts["threads"] - counts["idle"]
    found = [
        f"{running} running ({max(running - counts['active'], 0)} waiting)",
        f"{counts['idle']} idle",
        f"{counts['queued']} queued",
        f"{counts['threads']} threads in {len(pools)} pool{'' if len(pools) == 1 else 's'}",
    ]
    if "sessions" in board:
        found.append(f"{board['sessions']} sessions ({board.get('parked', 0)} parked)")
    if not board.get("tracked", True):
        found.append("thread_pool_track is off")
    return found


def folded(words: list[str], width: int) -> str:
    """The texts side by side, on as many lines of so many columns as they need."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 3 + len(word) <= width:
            lines[-1] += "   " + word
        else:
            lines.append(word)
    return "\n".join(lines)


def task_rows(board: Board) -> list[tuple[str, ...]]:
    """The tasks as texts, the oldest first."""
    tasks = sorted(board.get("tasks", []), key=lambda task: -float(task.get("age", 0)))
    return [
        (
            f"{float(task.get('age', 0)):.3f}",
            str(task.get("kind", "")),
            str(task.get("state", "")) + (", waiting" if task.get("waiting") else ""),
            str(task.get("vxid") or ""),
            str(task.get("client") or ""),
            str(task.get("request") or ""),
        )
        for task in tasks
    ]


def as_text(board: Board) -> str:
    """The whole board as aligned text."""
    rows = [_HEADS, *task_rows(board)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS) - 1)]
    lines = ["   ".join(figures(board))]
    for row in rows:
        lines.append("  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _watch(path: str, period: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from varnishpy.tools.keys import keyboard

    console = Console()

    def view() -> Group:
        board = ask(path, "/scoreboard")
        table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
        for name in _HEADS:
            table.add_column(name, justify="right" if name in ("AGE", "VXID") else "left", no_wrap=True)
        for row in task_rows(board)[: max(console.height - 5, 1)]:
            table.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in row))
        head = Text(folded([*figures(board), time.strftime("%H:%M:%S")], console.width), "bold", no_wrap=True)
        return Group(head, Text(""), table)

    first = view()  # an instance that is not there must be told of before the screen is taken over
    with keyboard() as key, Live(first, console=console, screen=True, auto_refresh=False) as live:
        while True:
            pressed = key(period)
            if pressed in ("q", "Q", "\x03"):
                return
            live.update(view(), refresh=True)


def _run(argv: list[str]) -> None:
    mode = ""
    instance: str | None = None
    path: str | None = None
    period = 1.0
    for letter, value in parse(PROGRAM, OPTIONS, argv):
        if letter in "1j":
            mode = letter
        elif letter == "n":
            instance = value
        elif letter == "s":
            path = value
        elif letter == "p":
            try:
                period = float(value)
            except ValueError:
                period = 0.0
            if period <= 0:
                raise ToolError(f"-p: Invalid '{value}'")
    if path is None:
        try:
            workdir: Path = resolve_existing(instance)
        except ValueError as error:
            raise ToolError(str(error)) from None
        path = str(workdir / "stats.sock")
    if not mode and not sys.stdout.isatty():
        mode = "1"
    if mode == "1":
        sys.stdout.write(as_text(ask(path, "/scoreboard")))
    elif mode == "j":
        sys.stdout.write(json.dumps(ask(path, "/scoreboard"), indent=2) + "\n")
    else:
        _watch(path, period)


main = tool(_run)
