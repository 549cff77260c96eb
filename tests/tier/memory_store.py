"""A `Store` of dictionaries: what the engine does, in this process, as slow and as broken as a test wants it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from varnishpy.cache.limits import Bucket
from varnishpy.params import params
from varnishpy.tier.breaker import State
from varnishpy.tier.errors import TierError
from varnishpy.tier.position import order
from varnishpy.tier.record import ALL, BAN, KEYS, NONCE, PURGE, SEALED, Invalidation
from varnishpy.tier.store import Asked, Facts, Published

Entry = tuple[bytes, bytes]


@dataclass
class Content:
    """All that the engine knows."""

    facts: Facts = field(default_factory=Facts)
    indices: dict[bytes, bytes] = field(default_factory=dict)
    marks: dict[bytes, int] = field(default_factory=dict)
    values: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    log: list[Entry] = field(default_factory=list)
    bans: list[Entry] = field(default_factory=list)
    nodes: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    leases: dict[bytes, bytes] = field(default_factory=dict)
    taken: dict[bytes, int] = field(default_factory=dict)
    appended: int = 0


class MemoryStore:
    """See the module text.

    :param clock: the engine's
    :ivar before: called with the name of each call before it is carried out; may raise `TierError`, or do something
        else in between
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.content = Content()
        self.before: Callable[[str], None] = lambda name: None
        self.down = False
        self._lives = 0

    def restart(self, content: Content) -> None:
        """It comes back, with what it had then. Its clock may be behind the one before: ids begin anew."""
        self.content = content
        self._lives += 1
        self.down = False

    def snapshot(self) -> Content:
        return copy.deepcopy(self.content)

    @property
    def state(self) -> State:
        return State.OPEN if self.down else State.CLOSED

    def _call(self, name: str) -> Content:
        self.before(name)
        if self.down:
            raise TierError("the engine is down")
        return self.content

    def ask(self, digest: bytes) -> Asked:
        content = self._call("ask")
        return Asked(content.facts, content.indices.get(digest), content.marks.get(digest, 0))

    def read(
        self, digest: bytes, ident: bytes, first: int, count: int, tags: Sequence[bytes] = ()
    ) -> tuple[list[bytes | None], list[int]]:
        content = self._call("read")
        values = [content.values.get((ident, number)) for number in range(first, first + count)]
        return values, [content.marks.get(tag, 0) for tag in tags]

    def present(self, digest: bytes, ident: bytes, first: int, count: int) -> int:
        content = self._call("present")
        return sum((ident, number) in content.values for number in range(first, first + count))

    def write(self, digest: bytes, ident: bytes, first: int, values: Sequence[bytes], life: float) -> None:
        content = self._call("write")
        content.values.update({(ident, number): value for number, value in enumerate(values, first)})

    def publish(self, digest: bytes, nonce: bytes, index: bytes, position: int, life: float) -> Published:
        content = self._call("publish")
        if content.marks.get(digest, 0) > position:
            return Published.PURGED
        if content.indices.get(digest, b"")[SEALED : SEALED + NONCE] != nonce:
            return Published.CHANGED
        content.indices[digest] = index
        return Published.STORED

    def forget(self, digest: bytes, ident: bytes, count: int) -> None:
        content = self._call("forget")
        for number in range(count):
            content.values.pop((ident, number), None)

    def number(self) -> int:
        content = self._call("number")
        content.facts = replace(content.facts, number=content.facts.number + 1)
        return content.facts.number

    def mark(self, invalidation: Invalidation) -> None:
        content = self._call("mark")
        names = {PURGE: (invalidation.digest,), KEYS: invalidation.tags}.get(invalidation.kind, ())
        for name in names:
            content.marks[name] = max(content.marks.get(name, 0), invalidation.number)
        content.indices.pop(invalidation.digest, None)

    def append(self, invalidation: Invalidation) -> bytes:
        content = self._call("append")
        content.appended += 1
        entry = (b"%d-%d" % (content.appended, self._lives), invalidation.encode())
        content.log.append(entry)
        while len(content.log) > params.tier_log_length:
            content.facts = replace(content.facts, trimmed=content.log.pop(0)[0])
        if invalidation.kind == BAN:
            content.bans.append(entry)
            content.facts = replace(content.facts, ban=entry[0])
        return entry[0]

    def follow(self, after: bytes, wait: float) -> list[Entry]:
        content = self._call("follow")
        return [entry for entry in content.log if order(entry[0]) > order(after)][:512]

    def bans(self, after: bytes) -> list[Entry]:
        content = self._call("bans")
        return [entry for entry in content.bans if order(entry[0]) > order(after)]

    def repair(self, number: int, missing: bool = False) -> Facts:
        content = self._call("repair")
        if content.facts.floor <= number and (missing or content.facts.number < number):
            floor = max(number, content.facts.number) + 1000
            content.facts = replace(content.facts, number=floor, floor=floor, ban=b"")
            self.append(Invalidation(ALL, floor))
        return self.content.facts

    def facts(self, known: Sequence[bytes] = ()) -> Facts:
        content = self._call("facts")
        there = {name for name, _ in content.log}
        absent = [name for name in known if name not in there and order(name) > order(content.facts.trimmed)]
        return replace(content.facts, missing=tuple(absent))

    def time(self) -> float:
        self._call("time")
        return self._clock()

    def report(self, node: str, applied: bytes) -> None:
        self._call("report").nodes[node] = (applied, self._clock())

    def nodes(self) -> dict[str, tuple[bytes, float]]:
        return dict(self._call("nodes").nodes)

    def forget_node(self, node: str) -> None:
        self._call("forget_node").nodes.pop(node, None)

    def lease(self, digest: bytes, holder: bytes, life: float) -> bool:
        return self._call("lease").leases.setdefault(digest, holder) == holder

    def leased(self, digest: bytes) -> bool:
        return digest in self._call("leased").leases

    def release(self, digest: bytes, holder: bytes) -> None:
        leases = self._call("release").leases
        if leases.get(digest) == holder:
            del leases[digest]

    def bucket(self, name: bytes, limit: int, period: float, block: float, amount: int) -> Bucket:
        """Without any clock: it is never refilled."""
        taken = self._call("bucket").taken
        left = limit - taken.get(name, 0)
        denied = amount > 0 >= left
        taken[name] = taken.get(name, 0) + (0 if denied else amount)
        return Bucket(denied, limit - taken[name], block if denied else 0.0)

    def close(self) -> None:
        """Nothing is open."""
