"""Random numbers that a test can foresee.

Directors and ``std.random`` draw from here. As long as nobody seeds it, numbers come from Python's generator. After
`seed` (``debug.srandom``) they are those of FreeBSD's random(3) for that seed, which scripts written for the reference
expect: an additive feedback generator, r[i] = r[i-3] + r[i-31] modulo 2**32, of which the lowest bit is not used.
"""

from __future__ import annotations

import random
from typing import Final

from varnishpy.base.locks import make_lock

_DEGREE: Final = 31
_DISTANCE: Final = 3
_WARM_UP: Final = 310


class _Additive:
    """random(3) of FreeBSD with the state that srandom(3) sets up there."""

    def __init__(self, seed: int) -> None:
        word = seed & 0xFFFFFFFF
        state = [word]
        for _ in range(1, _DEGREE):  # the minimal standard generator, between 0 and 2**31 - 3
            word = (word % 0x7FFFFFFE + 1) * 16807 % 0x7FFFFFFF - 1
            state.append(word)
        self._state = state
        self._front = _DISTANCE
        self._lock = make_lock("misc")
        for _ in range(_WARM_UP):
            self.draw()

    def draw(self) -> int:
        """31 bits."""
        with self._lock:
            state, front = self._state, self._front
            value = state[front] = (state[front] + state[front - _DISTANCE]) & 0xFFFFFFFF
            self._front = (front + 1) % _DEGREE
        return value >> 1


_seeded: _Additive | None = None


def seed(number: int) -> None:
    """From now on the numbers that random(3) gives after srandom(number)."""
    global _seeded
    _seeded = _Additive(number)


def testable_fraction() -> float:
    """A number from 0 to 1, 1 excluded; of a seeded sequence it takes one step."""
    generator = _seeded
    return random.random() if generator is None else generator.draw() / (1 << 31)


def testable_random() -> float:
    """A number from 0 to 1, 1 excluded; of a seeded sequence it takes two steps."""
    generator = _seeded
    if generator is None:
        return random.random()
    return generator.draw() / (1 << 31) + generator.draw() / (1 << 62)
