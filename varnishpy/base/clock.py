"""The two clocks.

``now`` is wall-clock time in seconds since the epoch: what is logged, what objects age by. ``mono`` is monotonic time
in seconds: what deadlines are measured with.

Tests may `travel`: then wall-clock time is that much ahead of the machine's, in this process, until they come back.
"""

from __future__ import annotations

import time
from typing import Final

mono: Final = time.monotonic

NEVER: Final = float("inf")
"""The deadline of what may wait for ever."""

_ahead = 0.0


def now() -> float:
    """Wall-clock time."""
    return time.time() + _ahead


def travel(seconds: float) -> float:
    """Go that far into the future from here (or back, below 0); how far ahead of the machine's clock that is.

    Whoever waits for a moment of the wall clock must be woken afterwards (`Expiry.wake`, `Bans.wake`).
    """
    global _ahead
    _ahead += seconds
    return _ahead


def milliseconds(seconds: float) -> int:
    """For poll(2): rounded up, and at least 1, so that a wait is never over before its time."""
    return max(1, int(seconds * 1000 + 0.999))
