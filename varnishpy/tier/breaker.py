"""A breaker: after failures in a row nobody asks the engine for a while, then one asks; if that works, all do again.

So an engine that never answers costs a few deadlines, and not one for each miss.
"""

from __future__ import annotations

from enum import Enum

from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.params import params


class State(Enum):
    """CLOSED is the good one: the current flows."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "half open"


class Breaker:
    """Any thread. ``tier_breaker_errors`` failures in a row open it for ``tier_breaker_pause`` seconds."""

    def __init__(self) -> None:
        self._lock = make_lock("tier_breaker")
        self._failures = 0
        self._until = 0.0
        self.state = State.CLOSED
        self.opened = 0  # how often

    def allows(self) -> bool:
        """May one ask? Whoever may, says afterwards how it went."""
        if self.state is State.CLOSED:
            return True
        with self._lock:
            now = clock.mono()
            if now < self._until:
                return False
            # one tries; should it never tell how that went, another may after the next pause
            self.state = State.TRYING
            self._until = now + params.tier_breaker_pause
            return True

    def succeeded(self) -> None:
        """It works (again)."""
        if self._failures or self.state is not State.CLOSED:
            with self._lock:
                self._failures = 0
                self.state = State.CLOSED

    def failed(self) -> bool:
        """It did not work; True if this opened the breaker."""
        with self._lock:
            self._failures += 1
            was = self.state
            if was is State.CLOSED and self._failures < params.tier_breaker_errors:
                return False
            self.state = State.OPEN
            self._until = clock.mono() + params.tier_breaker_pause
            if was is State.CLOSED:
                self.opened += 1
            return was is State.CLOSED
