"""Groups of transactions as varnishlog prints them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from varnishpy.log.grouping import Transaction
from varnishpy.log.record import Record
from varnishpy.log.selection import Selection

_TITLES = {
    "unknown": "<< Unknown  >>",
    "sess": "<< Session  >>",
    "req": "<< Request  >>",
    "bereq": "<< BeReq    >>",
    "raw": "<< Record   >>",
}


def format_record(record: Record, verbose: bool) -> str:
    """One record as a line without its end; verbose: with id and side."""
    if verbose:
        return f"{record.vxid:10d} {record.name:<14} {record.type_letter} {record.display()}"
    return f"{record.name:<14} {record.display()}"


def shown(group: list[Transaction], selection: Selection) -> Iterator[Transaction]:
    """The transactions of a group that ``-b``, ``-c`` and ``-E`` leave."""
    for transaction in group:
        if (selection.client or selection.backend) and transaction.kind != "raw":
            if transaction.kind == "req":
                if not selection.client or (transaction.reason == "esi" and not selection.esi):
                    continue
            elif transaction.kind != "bereq" or not selection.backend:
                continue
        yield transaction


def _mark(level: int, sign: str) -> str:
    if not level:
        return ""
    return f"{sign}{level % 10}{sign} " if level > 3 else f"{sign * level:<3} "


def print_group(group: list[Transaction], selection: Selection, out: TextIO) -> None:
    """Write a group with its headings; a blank line ends it unless the mode is raw."""
    lines = []
    headed = False
    for transaction in shown(group, selection):
        verbose = transaction.level == 0 or selection.verbose
        if transaction.level:
            headed = True
            title = _TITLES[transaction.kind]
            indent, gap = (" " * 11, "  ") if verbose else ("", "")
            lines.append(f"{_mark(transaction.level, '*')}{indent}{title:<14} {gap}{transaction.vxid:<10d}")
        mark = _mark(transaction.level, "-")
        for record in transaction.records:
            if selection.matches(record):
                lines.append(mark + format_record(record, verbose))
    if headed:
        lines.append("")
    if lines:
        out.write("\n".join(lines) + "\n")
