"""What ``vcl.list`` prints (varnish-cli(7)): one table for the child, who answers while it runs, and the manager."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_BUSY_COLUMN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VclRow:
    """One program or label.

    :ivar busy: tasks that use it; ``None`` where nobody can know, for no child runs
    :ivar target: the program that a label stands for
    :ivar users: of a label the programs that say ``return (vcl(label))``, of a program its labels
    """

    status: str
    state: str
    temperature: str
    busy: int | None
    name: str
    target: str | None = None
    users: int = 0

    def cells(self) -> list[str]:
        """The words of its line."""
        cells = [self.status, self.state, self.temperature, "-" if self.busy is None else str(self.busy), self.name]
        if self.target is not None:
            plural = "'s" if self.users > 1 else ""
            cells += ["->", self.target + (f" ({self.users} return(vcl){plural})" if self.users else "")]
        elif self.users:
            cells += ["<-", f"({self.users} label{'s' if self.users > 1 else ''})"]
        return cells

    def as_json(self) -> dict[str, object]:
        """Its element of ``vcl.list -j``."""
        row: dict[str, object] = {"status": self.status, "state": self.state, "temperature": self.temperature}
        if self.busy is not None:
            row["busy"] = self.busy
        row["name"] = self.name
        if self.target is not None:
            row["label"] = {"name": self.target} | ({"refs": self.users} if self.users else {})
        elif self.users:
            row["labels"] = self.users
        return row


def list_text(rows: Iterable[VclRow]) -> str:
    """The table; the count of tasks stands to the right."""
    return columns([row.cells() for row in rows], right=_BUSY_COLUMN)


def columns(rows: list[list[str]], right: int = -1) -> str:
    """Rows of words in columns as wide as their widest word, one of them to the right."""
    count = max((len(row) for row in rows), default=0)
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(count)]
    lines = []
    for row in rows:
        cells = [word.rjust(widths[at]) if at == right else word.ljust(widths[at]) for at, word in enumerate(row)]
        lines.append("   ".join(cells).rstrip() + "\n")
    return "".join(lines)
