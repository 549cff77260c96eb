"""Names that somebody may have meant, for messages about those that there are not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ABOUT = 0.08  # a second name is shown if it is about as near as the first


def nearest(word: str, known: Iterable[str], ratio: float = 0.7) -> list[str]:
    """The known name that is nearest to a word, and a second one if it is about as near; none if none is near.

    Upper and lower case count as the same.

    :param ratio: what near is, in difflib's measure
    """
    by_lower = {name.lower(): name for name in known}
    matcher = difflib.SequenceMatcher(b=word.lower())
    measured: list[tuple[float, str]] = []
    for name in difflib.get_close_matches(word.lower(), by_lower, 2, ratio):
        matcher.set_seq1(name)
        measured.append((matcher.ratio(), by_lower[name]))
    return [name for found, name in measured if found > measured[0][0] - _ABOUT]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean X?`` with a blank in front, to end a message with; empty if no known name is near.

    Upper and lower case count as the same.
    """
    near = nearest(word, known)
    return f" Did you mean {near[0]}?" if near else ""
