"""``varnishpy top``: the most frequent log records, as varnishtop(1)."""

from __future__ import annotations

import sys
import threading
import time

from varnishpy.log.grouping import Transaction
from varnishpy.log.tags import TAGS, Tag
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
    from varnishpy.tools.screen import DIM, Screen, screen

    ident = follower.reader.read_text("Arg", "-i") or "" if follower.reader is not None else ""

    def draw(to: Screen) -> None:
        rows = ranking.ranking()
        to.clear()
        note = f"{ident} ({log.note})" if log.note else ident
        head = f"list length {len(rows)}"
        to.put(0, 0, head)
        to.put(0, max(to.width - len(note) - 1, len(head) + 1), note)
        to.put(to.height - 1, 0, _KEYS, DIM)
        for line, (count, name, text) in enumerate(rows[: max(to.height - 3, 0)], 2):
            to.put(line, 0, f"{count:9.2f} {name:<{_WIDEST}} {text[: to.width - 20]}")
        to.show()

    with screen() as to:
        due = 0.0
        while not follower.stopping:
            draw(to)
            if time.monotonic() >= due:
                due = time.monotonic() + 1
                if not log.ended:
                    ranking.fade(max(to.height - 3, 1))
            code = to.key(due - time.monotonic())
            if code == ord("f"):
                ranking.first_field = not ranking.first_field
            if code in (ord("c"), ord("f")):
                ranking.clear()
            else:
                to.common(code)


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
