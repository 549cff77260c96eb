"""Tables for terminals: what is too wide loses columns that matter less, then the end of its longest text; no number is
ever cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_GAP = "  "
_LEAST = 12  # characters that are left of a text


@dataclass(frozen=True, slots=True)
class Heading:
    """A column. ``spare``: 0 is always there, of others the highest goes first. ``text``: it may be cut."""

    name: str
    right: bool = False
    spare: int = 0
    text: bool = False


def table(headings: Sequence[Heading], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of at most so many characters, the first with the names of the columns."""
    everything = [[heading.name for heading in headings], *rows]
    widths = [max(len(row[column]) for row in everything) for column in range(len(headings))]
    least = [min(size, _LEAST) if heading.text else size for size, heading in zip(widths, headings, strict=True)]
    kept = list(range(len(headings)))
    while (spare := max(kept, key=lambda column: headings[column].spare)) and headings[spare].spare:
        if _total([least[column] for column in kept]) <= width:
            break
        kept.remove(spare)
    over = _total([widths[column] for column in kept]) - width
    for column in sorted(kept, key=lambda column: -widths[column]):
        if over > 0 and headings[column].text:
            fewer = min(over, widths[column] - least[column])
            widths[column] -= fewer
            over -= fewer
    return [_line([(headings[c], row[c], widths[c]) for c in kept])[: max(width, 1)] for row in everything]


def _total(widths: list[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(cells: list[tuple[Heading, str, int]]) -> str:
    return _GAP.join(
        shorten(text, width).rjust(width) if heading.right else shorten(text, width).ljust(width)
        for heading, text, width in cells
    ).rstrip()


def shorten(text: str, width: int) -> str:
    """The text, its end replaced by an ellipsis if it is longer."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def folded(words: Sequence[str], width: int) -> str:
    """The texts side by side, on as many lines of so many columns as they need."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 3 + len(word) <= width:
            lines[-1] += "   " + word
        else:
            lines.append(word)
    return "\n".join(lines)
