"""Finding an object in the tier: which entry of the index may be used, and its octets.

Nothing found here is visible to anybody until all of it has been read: an engine that goes away in the middle of a body
costs a fetch from the origin, and not a body that is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from varnishpy.tier.errors import BadRecord
from varnishpy.tier.record import Head, Variant, decode_chunk, decode_head

if TYPE_CHECKING:
    from varnishpy.tier.store import Asked, Store

CHUNK: Final = 512 * 1024  # octets of a body in one value
INLINE: Final = 64 * 1024  # octets of a body that go with the head
_AT_A_TIME: Final = 4  # chunks asked for at once

Matches = Callable[[bytes | None], bool]  # does a Vary spec fit the request?


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a fetch would take.

    :ivar newer_than: an object by whose ``t_origin`` (of our clock) nothing is gained; minus infinity: anything will do
    :ivar stale: one that is not fresh any more, but still kept, will do where there is none that is fresh
    """

    digest: bytes
    matches: Matches
    newer_than: float = float("-inf")
    stale: bool = False


def usable(asked: Asked, variants: list[Variant], wanted: Wanted, now: float, newer_than: float) -> Variant | None:
    """The youngest object that no purge of its digest has made invalid, a fresh one before all; times are the engine's.

    :raises BadRecord:
    """
    least = max(asked.mark, asked.facts.floor, asked.facts.ban_floor)
    found: Variant | None = None
    best = (False, 0.0)
    for variant in variants:
        fresh = variant.fresh_until > now
        if variant.position < least or variant.until <= now or variant.t_origin <= newer_than:
            continue
        if (fresh or wanted.stale) and (found is None or (fresh, variant.t_origin) > best):
            try:
                if wanted.matches(variant.vary):
                    found, best = variant, (fresh, variant.t_origin)
            except (IndexError, ValueError):
                raise BadRecord("a Vary spec makes no sense") from None
    return found


class FoundObject:
    """An object of the tier, whose body is still to be read."""

    __slots__ = ("_store", "digest", "head", "t_origin", "variant")

    def __init__(self, store: Store, digest: bytes, variant: Variant, value: bytes, t_origin: float) -> None:
        self._store = store
        self.digest = digest
        self.variant = variant
        self.t_origin = t_origin  # by our clock
        self.head: Head = decode_head(variant.ident, value)
        if not variant.chunks and len(self.head.body) != variant.length:
            raise BadRecord("body has not the length it should have")

    def body(self) -> Iterator[bytes | memoryview]:
        """Its octets, piece by piece; waits for the engine. :raises TierError:"""
        variant = self.variant
        if not variant.chunks:
            if self.head.body:
                yield self.head.body
            return
        length = 0
        for first in range(1, variant.chunks + 1, _AT_A_TIME):
            count = min(_AT_A_TIME, variant.chunks + 1 - first)
            values, _ = self._store.read(self.digest, variant.ident, first, count)
            for number, value in enumerate(values, first):
                if value is None:
                    raise BadRecord("part of the body is missing")
                octets = decode_chunk(variant.ident, number, value)
                length += len(octets)
                yield octets
        if length != variant.length:
            raise BadRecord("body has not the length it should have")
