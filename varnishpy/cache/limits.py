"""Limits that many nodes share: what VMOD vsthrottle needs of a tier, if there is one.

It is declared here since VCL and VMODs stand above and know nothing of engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket after a call.

    :ivar denied: there was no token, or the bucket is blocked
    :ivar left: tokens that are left
    :ivar blocked: seconds for which it is blocked
    """

    denied: bool
    left: int
    blocked: float


class SharedLimits(Protocol):
    """Token buckets that all nodes have in common. Any thread; waits for some tens of milliseconds at most."""

    def bucket(self, name: bytes, limit: int, period: float, block: float, amount: int) -> Bucket | None:
        """Take so many tokens (1, or 0 to look, or -1 to give one back); ``None``: it cannot be asked just now.

        :param limit: tokens of a full bucket
        :param period: seconds in which it is refilled
        :param block: seconds for which it is blocked when a token was wanted and there was none; 0: not at all
        """
