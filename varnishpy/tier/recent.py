"""What was invalidated on this node lately, so that no fetch that began before it makes its answer available after it.

Each invalidation that is applied here is a *tick*. A fetch remembers the tick at which it began; when its answer is
about to become available it asks whether anything that names it has come since. Both happen under the `gate`:

* who invalidates notes it under the gate, then acts on the cache;
* who fetches asks, and makes the object available, under the gate.

So either the fetch sees the note, or the invalidation sees the object. The gate comes before all locks of the cache.

Bans are kept for objects from the engine as well, which may be older than the bans this process has seen as bans.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from varnishpy.base.locks import make_lock
from varnishpy.cache.ban import Ban
from varnishpy.params import params
from varnishpy.tier.record import ALL, KEYS, PURGE, Invalidation

if TYPE_CHECKING:
    from varnishpy.cache.ban_spec import Test
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.http.message import Message

_MOST: Final = (
    65536  # digests and tags that are remembered; fetches that began before the forgotten ones are not stored
)


class _Latest:
    """When something with a name was invalidated last: the latest ones of each name."""

    __slots__ = ("_entries", "forgotten")

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self.forgotten = 0  # the latest tick that is not known any more

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, name: bytes, tick: int, number: int) -> None:
        entries = self._entries
        entries[name] = (tick, max(number, entries.pop(name, (0, 0))[1]))
        if len(entries) > _MOST:
            _, (self.forgotten, _) = entries.popitem(last=False)

    def tick(self, name: bytes) -> int:
        return self._entries.get(name, (self.forgotten, 0))[0]

    def number(self, name: bytes) -> int:
        return self._entries.get(name, (0, 0))[1]


class Recent:
    """See the module text. Whoever calls anything but `tick` holds the gate."""

    def __init__(self) -> None:
        self.gate = make_lock("tier_gate")
        self.tick = 0  # read without the gate: an old one makes a fetch count as older than it is
        self._digests = _Latest()
        self._tags = _Latest()
        self._bans: list[tuple[int, int, Ban]] = []  # tick, number, ban; the latest one last
        self._bans_forgotten = 0
        self._all = 0  # the tick of the latest ALL

    def note(self, invalidation: Invalidation, tests: tuple[Test, ...] = (), moment: float = 0.0) -> None:
        """It is about to be applied.

        :param tests: the conditions of a ban, and the moment it was made at by this node's clock
        """
        self.tick += 1
        if invalidation.kind == PURGE:
            self._digests.note(invalidation.digest, self.tick, invalidation.number)
        elif invalidation.kind == KEYS:
            for tag in invalidation.tags:
                self._tags.note(tag, self.tick, invalidation.number)
        elif invalidation.kind == ALL:
            self._all = self.tick
        else:
            self._bans.append((self.tick, invalidation.number, Ban(tests, moment, moment)))
            if len(self._bans) > params.tier_bans:
                self._bans_forgotten = self._bans.pop(0)[0]

    def is_outdated(
        self, tick: int, digest: bytes, tags: Iterable[bytes], oc: ObjectCore, request: Message | None
    ) -> bool:
        """Has anything that names an object been invalidated since that tick?

        :param oc: with its stored object, for bans
        """
        if self.tick == tick:
            return False
        if tick < max(self._all, self._bans_forgotten) or self._digests.tick(digest) > tick:
            return True
        if any(self._tags.tick(tag) > tick for tag in tags):
            return True
        return any(at > tick and ban.matches(oc, request)[0] for at, _, ban in reversed(self._bans))

    def is_banned(self, position: int, oc: ObjectCore, request: Message | None) -> bool:
        """Does a ban with a number above that position hold for an object?"""
        return any(number > position and ban.matches(oc, request)[0] for _, number, ban in self._bans)

    def purged(self, digest: bytes, tags: Iterable[bytes]) -> int:
        """The highest number of a purge of any of these, as far as this node knows."""
        return max((self._digests.number(digest), *(self._tags.number(tag) for tag in tags)))

    @property
    def ban_count(self) -> int:
        """Bans that are remembered."""
        return len(self._bans)
