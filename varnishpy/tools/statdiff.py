"""``varnishpy statdiff``: what differs between two outputs of ``varnishpy stat -1``, as varnishstatdiff(1) shows it.

The output looks like a unified diff, in the order of the counters' names. A counter that is in both takes two lines,
and only its figures are marked; one that is in one of the two takes a line marked as a whole.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from varnishpy.tools.usage import Option, ToolError, parse_words, tool, usage

PROGRAM = "varnishpy statdiff"
WORDS = "<file1> <file2>"
OPTIONS = [Option("h", "[-h]", "Usage help"), Option("V", "[-V]", "Version")]

#: what `varnishpy stat -1` has in place of the rate of a gauge
_NO_RATE = "."
_GAP = 2


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a line says of a counter. Texts, since they are only compared and shown."""

    value: str
    rate: str
    description: str

    def same(self, other: _Figures) -> bool:
        return (self.value, self.rate) == (other.value, other.rate)


def read_figures(path: str) -> dict[str, _Figures]:
    """The figures in a file, by the counter's name.

    :raises ToolError: if it cannot be read, or is no output of ``varnishpy stat -1``
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ToolError(f"Cannot open {path}: {error.strerror}") from None
    figures = {}
    for number, line in enumerate(lines, 1):
        parts = line.split(maxsplit=3)
        if not parts:
            continue
        if len(parts) < 3:
            raise ToolError(f"{path}, line {number}: not a counter with its value and rate: {line.strip()}")
        figures[parts[0]] = _Figures(parts[1], parts[2], parts[3].rstrip() if len(parts) > 3 else "")
    return figures


def differences(old: dict[str, _Figures], new: dict[str, _Figures]) -> list[str]:
    """The lines that tell what differs, without their ends."""
    rows = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None or after is None or not before.same(after):
            rows.append((name, before, after))
    figures = [side for _, *sides in rows for side in sides if side is not None]
    names = max((len(name) for name, _, _ in rows), default=0) + _GAP
    values = max((len(side.value) for side in figures), default=0) + _GAP
    rates = max((len(side.rate) for side in figures), default=0) + _GAP

    def line(mark: str, name: str, sign: str, side: _Figures, description: str) -> str:
        rate_sign = " " if side.rate == _NO_RATE else sign
        text = f"{mark}{name:<{names}}{sign}{side.value:<{values}}{rate_sign}{side.rate:<{rates}}{description}"
        return text.rstrip()

    lines = []
    for name, before, after in rows:
        if before is not None and after is not None:
            lines.append(line(" ", name, "-", before, before.description))
            lines.append(line(" ", "", "+", after, ""))
        elif before is not None:
            lines.append(line("-", name, " ", before, before.description))
        elif after is not None:
            lines.append(line("+", name, " ", after, after.description))
    return lines


def _run(argv: list[str]) -> None:
    _, files = parse_words(PROGRAM, OPTIONS, argv, WORDS)
    if len(files) != 2:
        amount = "not enough" if len(files) < 2 else "too many"
        raise ToolError(f"Error: {amount} arguments.\n\n{usage(PROGRAM, OPTIONS, WORDS)}")
    old, new = (read_figures(path) for path in files)
    lines = [f"--- {files[0]}", f"+++ {files[1]}", *differences(old, new)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


main = tool(_run)
