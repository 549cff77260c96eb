"""Finding room: the errors when there is none, and how many objects one new object may push out."""

from __future__ import annotations

from typing import Final

from varnishpy import log, stats
from varnishpy.log.tag_numbers import EXP_KILL
from varnishpy.params import params

OBJECT_OVERHEAD: Final = 120  # octets of an object's fixed parts in the reference


class StorageError(Exception):
    """Storage cannot take any more of a body; the text is the reason for the log."""


class NoSpace(StorageError):
    """There is no room, and the LRU could not make any.

    :param remark: what the storage itself has to say of it
    """

    def __init__(self, text: str, remark: str = "") -> None:
        super().__init__(text)
        self.remark = remark


class NukeBudget:
    """How many objects a single new one may push out (``nuke_limit``)."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: int = params.nuke_limit

    def spend(self) -> bool:
        """Take one; False, counted and logged, when the budget is used up."""
        if self.left > 0:
            self.left -= 1
            return True
        stats.main.inc("n_lru_limited")
        log.vsl(EXP_KILL, 0, "LRU reached nuke_limit")
        return False
