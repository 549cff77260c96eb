"""Applying an invalidation to this node's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.cache.background import BackgroundCounts
from varnishpy.cache.ban_spec import parse_words
from varnishpy.tier.record import BAN, KEYS, PURGE, Invalidation, key_of, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from varnishpy.cache.ban_spec import Test
    from varnishpy.cache.hash import Hash
    from varnishpy.stats import Counting
    from varnishpy.tier.clockwork import Clockwork
    from varnishpy.tier.recent import Recent


class Applier:
    """What an invalidation means here. Any thread."""

    def __init__(self, hash_: Hash, recent: Recent, times: Clockwork) -> None:
        self._hash = hash_
        self._recent = recent
        self._times = times

    def note(self, invalidation: Invalidation) -> tuple[Test, ...]:
        """Let fetches that have begun know of it; a ban's conditions.

        :raises BanError: it is a ban that makes no sense here
        """
        tests = parse_words(invalidation.words) if invalidation.kind == BAN else ()
        with self._recent.gate:
            self._recent.note(invalidation, tests, self._times.here(invalidation.moment))
        return tests

    def apply(self, invalidation: Invalidation, wrk: Counting | None = None) -> int:
        """Note it, and do it to what is in the cache; how many objects it met.

        :raises BanError: as `note`
        """
        tests = self.note(invalidation)
        counts = BackgroundCounts()
        try:
            return self._act(invalidation, tests, counts if wrk is None else wrk)
        finally:
            counts.flush()

    def _act(self, invalidation: Invalidation, tests: tuple[Test, ...], wrk: Counting) -> int:
        hash_ = self._hash
        now = self._times.now_here()
        times = (invalidation.ttl, invalidation.grace, invalidation.keep)
        if invalidation.kind == PURGE:
            return hash_.purge_here(wrk, invalidation.digest, now, *times)
        if invalidation.kind == KEYS:
            met = 0
            for namespace, keys in by_namespace(invalidation.tags).items():
                if invalidation.is_hard:
                    met += hash_.keys.purge_here(keys, namespace)
                else:
                    met += hash_.keys.soften_here(keys, namespace, now, *times)
            return met
        if invalidation.kind == BAN:
            hash_.bans.add(tests)
            return 0
        return hash_.soften_all_here(now)


def by_namespace(tags: Iterable[bytes]) -> dict[str, list[str]]:
    """Tags taken apart."""
    found: dict[str, list[str]] = {}
    for namespace, key in map(key_of, tags):
        found.setdefault(namespace, []).append(key)
    return found


def tags_of(namespace: str, keys: Sequence[str]) -> tuple[bytes, ...]:
    """Tags of keys in one namespace."""
    return tuple(tag_of(namespace, key) for key in keys)


def words_of(tests: Iterable[Test]) -> tuple[str, ...]:
    """The conditions of a ban as the CLI would take them."""
    words: list[str] = []
    for test in tests:
        words += [*(["&&"] if words else []), test.field.name + test.header_as_written, test.operator, test.text]
    return tuple(words)
