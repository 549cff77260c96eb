"""``varnishpy top``: the most frequent log records, as varnishtop(1). The keys stand below the list."""

from __future__ import annotations

import sys
import threading
import time

from varnishpy.log.grouping import Transaction
from varnishpy.log.tags import TAGS, Tag
from varnishpy.tools.columns import shorten
from varnishpy.tools.follow import Background, Follower, pick, reading
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy top"
OPTIONS = pick(
    "bcCdEghiILnQqrtTVxX",
    Option("1", "[-1]", "Run once"),
    Option("f", "[-f]", "First field only"),
    Option("p:", "[-p <period>]", "Sampling period"),
)
_KEYS = "first field only, or all (f)   clear (c)   quit (q)"
_WIDEST = max(len(tag.name) for tag in Tag)


class Ranking:
    """How often each record was seen. In the live view, counts fade to a rate per ``period`` seconds. Thread safe."""

    def __init__(self, first_field: bool = False, period: int = 60) -> None:
        self.first_field = first_field
        self._period = max(period, 1)
        self._counts: dict[tuple[str, str], float] = {}
        self._rounds = 0
        self._lock = threading.Lock()

    def count(self, name: str, text: str) -> None:
        """Count one record."""
        if self.first_field:
            for position, char in enumerate(text):
                if char == ":" or char.isspace():
                    text = text[:position]
                    break
        if not text:
            return
        with self._lock:
            key = (name, text)
            self._counts[key] = self._counts.get(key, 0.0) + 1.0

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._counts.clear()
            self._rounds = 0

    def ranking(self) -> list[tuple[float, str, str]]:
        """Count, tag and text, the most frequent first; equals by tag and text."""
        with self._lock:
            rows = [(count, name, text) for (name, text), count in self._counts.items()]
        return sorted(rows, key=lambda row: (-row[0], row[1], row[2]))

    def fade(self, shown: int) -> None:
        """One second has passed: pull every count towards a third and forget what is too rare to be shown."""
        rows = self.ranking()
        least = rows[min(shown, len(rows)) - 1][0] if rows else 0.0
        with self._lock:
            self._rounds = min(self._rounds + 1, self._period)
            for position, (_, name, text) in enumerate(rows):
                count = self._counts[name, text]
                count += (1 / 3 - count) / self._rounds
                self._counts[name, text] = count
                if count * 10 < least or position > shown * 10:
                    del self._counts[name, text]


def _live(follower: Follower, log: Background, ranking: Ranking) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from varnishpy.tools.keys import keyboard

    console = Console()

    def view() -> Text:
        ident = follower.reader.read_text("Arg", "-i") or "" if follower.reader is not None else ""
        rows = ranking.ranking()
        room = max(console.height - 4, 1)
        shown = rows[:room]
        note = f"{ident} ({log.note})" if log.note else ident
        lines = [f"list length {len(rows)}".ljust(max(console.width - len(note) - 1, 0)) + note, ""]
        lines += [shorten(f"{count:9.2f} {name:<{_WIDEST}} {text}", console.width) for count, name, text in shown]
        lines += [""] * (room - len(shown))
        return Text("\n".join([*lines, shorten(_KEYS, console.width)]), no_wrap=True)

    with keyboard() as key, Live(view(), console=console, screen=True, auto_refresh=False) as live:
        due = time.monotonic() + 1
        while not follower.stopping:
            live.update(view(), refresh=True)
            pressed = key(max(0.0, due - time.monotonic()))
            if pressed in ("q", "Q", "\x03", "\x11"):
                return
            if pressed == "c":
                ranking.clear()
            elif pressed == "f":
                ranking.first_field = not ranking.first_field
                ranking.clear()
            if time.monotonic() < due:
                continue
            due = time.monotonic() + 1
            if not log.ended:
                ranking.fade(max(console.height - 3, 1))


def _run(argv: list[str]) -> None:
    follower = Follower()
    once = first_field = False
    period = 60
    for letter, value in parse(PROGRAM, OPTIONS, argv):
        if letter == "1":
            once = follower.from_head = True
        elif letter == "f":
            first_field = True
        elif letter == "p":
            try:
                period = int(value, 0)
            except ValueError:
                raise ToolError(f"Syntax error, {value} is not a number") from None
        else:
            follower.option(letter, value)
    ranking = Ranking(first_field, period)

    def group(transactions: list[Transaction]) -> None:
        for transaction in transactions:
            for record in transaction.records:
                info = TAGS.get(record.tag)
                if info is not None and not info.flags and follower.selection.matches(record):
                    ranking.count(record.name, record.text)

    follower.setup()
    follower.on_group = group
    if not once:
        with reading(follower) as log:
            _live(follower, log, ranking)
        return
    follower.run()
    for count, name, text in ranking.ranking():
        # a wire string, whose octets are whatever the client sent
        sys.stdout.buffer.write(f"{count:9.2f} {name} {text}\n".encode("latin-1", "replace"))


main = tool(_run)
