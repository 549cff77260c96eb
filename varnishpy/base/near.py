"""Names that somebody may have meant, for messages about those that there are not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean X?`` with a blank in front, to end a message with; empty if no known name is near.

    Upper and lower case count as the same.
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, 1, 0.7)
    return f" Did you mean {by_lower[near[0]]}?" if near else ""
