"""Times that travel: objects carry those of the engine's clock, so that nodes whose clocks differ agree on ages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from varnishpy.base import clock

if TYPE_CHECKING:
    from varnishpy.tier.store import Store


def machine_time() -> float:
    """Wall-clock time of this machine, without what tests have travelled."""
    return clock.now() - clock.travel(0.0)


class Clockwork:
    """The difference between the engine's clock and ours; 0 until it has been measured.

    :param now: our clock, against which objects' times are read
    :param machine: the same without travels: what is measured
    """

    def __init__(self, now: Callable[[], float] = clock.now, machine: Callable[[], float] = machine_time) -> None:
        self._now = now
        self._machine = machine
        self.ahead = 0.0  # by how many seconds the engine's clock is ahead of ours

    def measure(self, store: Store) -> None:
        """Ask the engine. :raises TierError:"""
        before = self._machine()
        there = store.time()
        after = self._machine()
        self.ahead = there - (before + after) / 2.0

    def now_there(self) -> float:
        """This moment by the engine's clock."""
        return self._now() + self.ahead

    def now_here(self) -> float:
        """This moment by ours."""
        return self._now()

    def there(self, moment: float) -> float:
        """A moment of ours by the engine's clock."""
        return moment + self.ahead

    def here(self, moment: float) -> float:
        """A moment of the engine's by our clock."""
        return moment - self.ahead
