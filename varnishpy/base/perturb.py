"""Schedule perturbation: pauses that make rare interleavings of threads common (debug=+perturb).

Off, it costs nothing on any path that matters: locks are perturbed by being watched ones (`locks`), which are chosen
when they are made, and the state machines look at `active` where they look at other debug bits. On, a thread stops now
and then, for nothing or for up to a millisecond: before it takes a lock, after it has let one go, and between two steps
of a request or a fetch. What goes wrong then goes wrong on a busy machine as well, once in ten thousand requests.
"""

from __future__ import annotations

import random
import time
from typing import Final

# How long a thread stops: one of these, drawn by lot, in seconds. None: it goes on at once.
_PAUSES: Final[tuple[float | None, ...]] = (*(None,) * 12, 0.0, 0.0, 0.0002, 0.001)

active = False


def perturb(on: bool) -> None:
    """Turn perturbation on or off for the process; locks made before stay as they are."""
    global active
    active = on


def pause() -> None:
    """Stop for a moment, or not. Any thread; does nothing unless perturbation is on."""
    if active:
        seconds = random.choice(_PAUSES)
        if seconds is not None:
            time.sleep(seconds)
