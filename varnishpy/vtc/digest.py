"""A failed script in a page: the place, what went over the line, and what the cache did; the log has the rest."""

from __future__ import annotations

import re
from typing import Final

from .runner import Finished

_AROUND: Final = 3  # lines of the script before and behind the one that failed
_MOST: Final = 24  # lines of what happened
_LINE: Final = re.compile(r"^[*-]{1,4}\s+(\S+)\s+(.*)$")
_FIRST_LINE: Final = re.compile(r"^(txreq|txresp|rxhdr|rxhdrs?)\|\s*(\S.*?)\s*$")
_RECORD: Final = re.compile(r"^vsl\|\s*(\d+) (\S+)\s+([bc-]) ?(.*)$")
_TROUBLE: Final = frozenset(("Error", "VCL_Error", "FetchError", "BogoHeader", "SessError", "LostHeader"))
_FOUND: Final = frozenset(("Hit", "HitMiss", "HitPass"))
_HTTP: Final = re.compile(r"^(?:[A-Z][A-Z-]* \S+(?: HTTP/\d\.\d)?|HTTP/\d\.\d .*)$")


class _Trail:
    """What happened, a line each, in the order of the log; each transaction of the cache is one line."""

    def __init__(self) -> None:
        self._lines: list[list[str]] = []
        self._transactions: dict[tuple[str, str], list[str]] = {}

    def take(self, who: str, text: str) -> None:
        """A line of the log."""
        record = _RECORD.match(text)
        if record is not None:
            self._record(who, *record.groups())
            return
        first = _FIRST_LINE.match(text.removesuffix("\\r"))
        if first is not None and _HTTP.match(first[2]):
            self._lines.append([f"{who:<4} {'sends' if first[1].startswith('tx') else 'gets '} {first[2]}"])

    def _record(self, who: str, vxid: str, tag: str, kind: str, text: str) -> None:
        parts = self._transactions.get((who, vxid))
        if tag == "VCL_call" or tag in _FOUND or tag in _TROUBLE:
            if parts is None:
                parts = self._transactions[who, vxid] = [f"{who:<4} {vxid}{' (fetch)' if kind == 'b' else ''}:"]
                self._lines.append(parts)
            parts.append(text if tag == "VCL_call" else tag if tag in _FOUND else f"{tag}: {text};")
        elif tag == "VCL_return" and parts is not None:
            parts[-1] += f" {text},"

    def show(self) -> list[str]:
        """The last of it."""
        lines = [" ".join(parts).rstrip(",;") for parts in self._lines]
        left_out = len(lines) - _MOST
        return [f"... {left_out} more before", *lines[-_MOST:]] if left_out > 0 else lines


def digest(done: Finished) -> str:
    """The page."""
    outcome = done.outcome
    place = f"{done.source.name}:{outcome.line}:{outcome.column}" if outcome.line else done.source.name
    out = [f"{place}: {outcome.reason}"]
    rows = done.source.text.splitlines()
    if outcome.line:
        for number in range(max(outcome.line - _AROUND, 1), min(outcome.line + _AROUND, len(rows)) + 1):
            out.append(f"{'>' if number == outcome.line else ' '} {number:4d}  {rows[number - 1]}")
    trail = _Trail()
    for line in done.log.decode("latin-1").splitlines():
        match = _LINE.match(line)
        if match is not None:
            trail.take(match[1], match[2])
    happened = trail.show()
    if happened:
        out += ["", *(f"    {line}" for line in happened)]
    out += ["", "    (the whole log: varnishpy test -v)"]
    return "\n".join(out) + "\n"


def annotation(done: Finished) -> str:
    """The failure as a code host's annotation of the line that failed (workflow command ``error``)."""
    outcome = done.outcome
    place = f",line={outcome.line},col={outcome.column}" if outcome.line else ""
    text = outcome.reason.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::error file={done.source.name}{place},title=varnishpy test::{text}"
