"""Whom a cache tells of what is invalidated in it, so that others can do the same.

Without one (the usual case) hash, bans and keys act by themselves. With one they hand purges and bans over, and it
calls their methods that end in ``_here``, sooner or later, on this node as on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from varnishpy.cache.ban_spec import Test
    from varnishpy.stats import Counting


class Spreading(Protocol):
    """See the module text. Any thread; may wait for some tens of milliseconds, and says so to the worker's pool."""

    def purge(self, wrk: Counting, digest: bytes, now: float, ttl: float, grace: float, keep: float) -> int:
        """As `Hash.purge`."""

    def purge_keys(self, namespace: str, keys: Sequence[str]) -> int:
        """As `KeyIndex.purge`."""

    def soften_keys(
        self, namespace: str, keys: Sequence[str], now: float, ttl: float, grace: float, keep: float
    ) -> int:
        """As `KeyIndex.soften`."""

    def ban(self, tests: tuple[Test, ...]) -> None:
        """As `Bans.add`. :raises BanError:"""
