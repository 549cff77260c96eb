"""``varnishpy scoreboard``: what every worker is doing, live or once, from the stats socket of a running instance.

The oldest task stands first. The live view waits for an instance that has gone to come back. Keys: q quits.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from pathlib import Path
from typing import TypedDict

from varnishpy.base.workdir import owner, resolve_existing
from varnishpy.tools.columns import Heading, folded, shorten, table
from varnishpy.tools.usage import HELP, VERSION, WORKDIR, Option, ToolError, parse, tool

PROGRAM = "varnishpy scoreboard"
OPTIONS = [
    Option("1", "[-1]", "Print once to stdout"),
    HELP,
    Option("j", "[-j]", "Print once as JSON"),
    WORKDIR,
    Option("p:", "[-p <period>]", "Seconds between refreshes (default: 1)"),
    Option("s:", "[-s <path>]", "Path of the stats socket (default: stats.sock in the working directory)"),
    VERSION,
]
_HEADINGS = (
    Heading("AGE", right=True),
    Heading("KIND"),
    Heading("STATE"),
    Heading("VXID", right=True),
    Heading("CLIENT", spare=1),
    Heading("REQUEST", text=True),
)
_ANY_WIDTH = 1 << 20


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
    except PermissionError:
        raise ToolError(f"Could not get hold of {path}: permission denied, it belongs to {owner(Path(path))}") from None
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
    lines = ["   ".join(figures(board)), *table(_HEADINGS, task_rows(board), _ANY_WIDTH)]
    return "\n".join(lines) + "\n"


def picture(board: Board, note: str, width: int, height: int) -> list[str]:
    """The lines of the live view. ``note``: why the board is not of this moment, if it is not."""
    when = note or time.strftime("%H:%M:%S")
    head = folded([*figures(board), when], width).split("\n")
    rows = task_rows(board)[: max(height - len(head) - 3, 1)]
    lines = [*head, "", *table(_HEADINGS, rows, width)]
    lines += [""] * (height - len(lines) - 1)
    return [shorten(line, width) for line in [*lines, "quit (q)"]]


def _watch(path: str, period: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from varnishpy.tools.keys import keyboard

    console = Console()
    board = ask(path, "/scoreboard")  # an instance that is not there must be told of before the screen is taken over
    note = ""

    def view() -> Text:
        return Text("\n".join(picture(board, note, console.width, console.height)), no_wrap=True)

    with keyboard() as key, Live(view(), console=console, screen=True, auto_refresh=False) as live:
        due = time.monotonic() + period
        while True:
            pressed = key(max(0.0, due - time.monotonic()))
            if pressed in ("q", "Q", "\x03"):
                return
            if time.monotonic() < due:
                continue
            try:
                board, note = ask(path, "/scoreboard"), ""
            except ToolError:
                board, note = {"tasks": []}, "gone, waiting for it to come back"
            live.update(view(), refresh=True)
            due = time.monotonic() + period


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
