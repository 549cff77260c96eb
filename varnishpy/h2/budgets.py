"""What a peer may ask of us before we hang up: budgets that time fills again. An honest peer never notices them."""

from __future__ import annotations

from typing import Final

# Frames that make us work without getting anything done (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, ...) are
# paid for from a purse that time and real work fill again.
PURSE: Final = 10_000  # frames
PURSE_REFILL: Final = 1_000.0  # frames per second


class Purse:
    """Pays for frames that get nothing done."""

    __slots__ = ("_t_filled", "left")

    def __init__(self, now: float) -> None:
        self.left = float(PURSE)
        self._t_filled = now

    def spend(self, count: int, now: float) -> bool:
        """Pay for frames; False: the peer has spent everything."""
        self.left -= count
        if self.left >= 0:
            return True
        self.left = min(float(PURSE), self.left + (now - self._t_filled) * PURSE_REFILL)
        self._t_filled = now
        return self.left >= 0

    def earn(self, count: int) -> None:
        """Real work was done."""
        if self.left < PURSE:
            self.left = min(float(PURSE), self.left + count)


class ResetBudget:
    """Pays for streams that were reset young (the attack known as Rapid Reset).

    :param limit: resets per ``period`` seconds; 0: no limit
    :param age: seconds under which a stream is young

    VCL may change limit, period and age (VMOD h2), between any two resets.
    """

    __slots__ = ("_t_filled", "age", "left", "limit", "period")

    def __init__(self, limit: int, period: float, age: float, now: float) -> None:
        self.limit = limit
        self.period = period
        self.age = age
        self.left = float(limit)
        self._t_filled = now

    def counts(self, t_open: float, now: float) -> bool:
        """Does the reset of a stream of that age have to be paid for?"""
        return self.limit > 0 and now - t_open <= self.age

    def charge(self, now: float) -> bool:
        """Pay for one reset; False: the budget is overdrawn."""
        refill = (now - self._t_filled) * self.limit / self.period
        self.left = min(float(self.limit), self.left + max(0.0, refill)) - 1.0
        self._t_filled = now
        return self.left >= 0.0
