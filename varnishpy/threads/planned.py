"""``debug.reqpool.fail``: refusals by plan, so that tests see what becomes of a request for which there is no thread.

The plan is read from left to right: at each ``f`` the attempt that falls to it is refused. Attempts are those to have
a request of an HTTP/2 session run, or a session that has rested resumed.
"""

from __future__ import annotations

from varnishpy.base.locks import make_lock
from varnishpy.log import vsl
from varnishpy.log.tag_numbers import DEBUG


class PlannedRefusals:
    """The plan; ``left`` may be looked at without the lock: it is 0 but for tests."""

    __slots__ = ("_mutex", "left")

    def __init__(self) -> None:
        self._mutex = make_lock("misc")
        self.left = 0  # bit 0 is the next attempt

    def set(self, text: str) -> None:
        """A new plan: ``F__F`` refuses the first and the fourth attempt from now."""
        with self._mutex:
            self.left = sum(1 << at for at, letter in enumerate(text) if letter in "fF")

    def next(self) -> bool:
        """Is the attempt that is made now to be refused?"""
        with self._mutex:
            refused = bool(self.left & 1)
            self.left >>= 1
            left = self.left
        if refused:
            vsl(DEBUG, 0, f"Failing due to reqpoolfail (next= 0x{left:x})")
        return refused


planned = PlannedRefusals()
