"""What an engine must be able to do for the tier; `EngineStore` does it on Valkey or Redis.

All methods may be called by any thread, wait at most some tens of milliseconds, and raise `TierError` when the engine
cannot do it. None of them knows of the cache.

How invalidation and storing fit together. All invalidations of all nodes are *numbered* by one counter. Who invalidates
takes a number (`number`), then marks what it names with that number (`mark`), then appends the record to the log
(`append`); only then is it acknowledged. Who fetches reads the counter (`Facts.number`) *before* it asks the origin:
the *position* of what it gets. An object whose position is below the mark of its digest or of one of its tags was asked
for before an invalidation, and is neither published nor found. It does not matter which clocks are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from varnishpy.cache.limits import Bucket
from varnishpy.tier.breaker import State
from varnishpy.tier.record import Invalidation


@dataclass(frozen=True, slots=True)
class Facts:
    """Where the log stands.

    :ivar number: of the latest invalidation
    :ivar floor: objects with a lower position are gone for good: the engine had lost records
    :ivar ban: id of the latest ban in the log; who has not read it yet cannot judge what is stored
    :ivar ban_floor: number of the latest ban that is not kept any more; objects with a lower position cannot be judged
    :ivar trimmed: id of the latest record that the log does not hold any more, empty if it holds all
    :ivar missing: ids that were asked for and are not there, though they were not trimmed: the engine has lost them
    """

    number: int = 0
    floor: int = 0
    ban: bytes = b""
    ban_floor: int = 0
    trimmed: bytes = b""
    missing: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the engine knows of a digest.

    :ivar index: sealed, see record.py; ``None``: there is nothing
    :ivar mark: number of the latest purge of it
    """

    facts: Facts
    index: bytes | None
    mark: int


class Published(Enum):
    """How publishing an index went."""

    STORED = "stored"
    CHANGED = "changed"  # somebody else has published another one meanwhile: read it, and try again
    PURGED = "purged"  # the digest was purged after the position


class Store(Protocol):
    """See the module text."""

    @property
    def state(self) -> State:
        """Is it asked just now?"""

    def ask(self, digest: bytes) -> Asked:
        """Facts, index and mark; one round trip."""

    def read(
        self, digest: bytes, ident: bytes, first: int, count: int, tags: Sequence[bytes] = ()
    ) -> tuple[list[bytes | None], list[int]]:
        """Sealed values of an object, 0 being its head, and the marks of tags."""

    def present(self, digest: bytes, ident: bytes, first: int, count: int) -> int:
        """How many of those values there are."""

    def write(self, digest: bytes, ident: bytes, first: int, values: Sequence[bytes], life: float) -> None:
        """Keep values of an object for so many seconds."""

    def publish(self, digest: bytes, nonce: bytes, index: bytes, position: int, life: float) -> Published:
        """Replace the index that has that nonce (empty: there is none), unless the digest was purged."""

    def forget(self, digest: bytes, ident: bytes, count: int) -> None:
        """Remove values of an object that was not published."""

    def number(self) -> int:
        """A new number for an invalidation."""

    def mark(self, invalidation: Invalidation) -> None:
        """Mark what it names with its number."""

    def append(self, invalidation: Invalidation) -> bytes:
        """Add it to the log, and to the list of bans if it is one; its id in the log."""

    def follow(self, after: bytes, wait: float) -> list[tuple[bytes, bytes]]:
        """Ids and sealed records of the log behind an id (``0-0``: from its start), in order.

        :param wait: seconds to wait for the first of them; 0: not at all
        """

    def bans(self, after: bytes) -> list[tuple[bytes, bytes]]:
        """The same of the list of bans, which is kept longer than the log."""

    def repair(self, number: int, missing: bool = False) -> Facts:
        """The engine has lost what we have seen: raise counter and floor above that number and all that it has given
        since, tell everybody by an ``ALL`` record. Not if somebody has done so already.

        :param missing: it has, whatever its counter says: records are not there
        """

    def facts(self, known: Sequence[bytes] = ()) -> Facts:
        """Where the log stands.

        :param known: ids of records that it must have
        """

    def time(self) -> float:
        """Seconds since the epoch by the engine's clock."""

    def report(self, node: str, applied: bytes) -> None:
        """This node lives, and has applied the log up to that id."""

    def nodes(self) -> dict[str, tuple[bytes, float]]:
        """What nodes have reported, and when, by the engine's clock."""

    def forget_node(self, node: str) -> None:
        """It has not reported for long."""

    def lease(self, digest: bytes, holder: bytes, life: float) -> bool:
        """Become the one node that fetches; False while another is."""

    def leased(self, digest: bytes) -> bool:
        """Does any node fetch it?"""

    def release(self, digest: bytes, holder: bytes) -> None:
        """Give a lease back, if it is still ours."""

    def bucket(self, name: bytes, limit: int, period: float, block: float, amount: int) -> Bucket:
        """As `SharedLimits.bucket`."""

    def close(self) -> None:
        """Let go of all connections."""
