"""The tier as the rest of the process knows it: get, put, invalidate, follow.

`Tier.get` is asked by fetches before they ask the origin, `Tier.put` is given what they have fetched,
`Tier.invalidator` is told of purges and bans, and the follower applies those of all nodes. A fetch holds a `Ticket`
from before its first question on: when it began, in ticks of this node and in numbers of all. docs/many-nodes.md has
the drawing.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from varnishpy import log, stats
from varnishpy.base import clock
from varnishpy.cache.background import BackgroundCounts
from varnishpy.log.tag_numbers import ERROR
from varnishpy.params import params
from varnishpy.tier.applying import Applier
from varnishpy.tier.behind import Job, WriteBehind
from varnishpy.tier.breaker import State
from varnishpy.tier.clockwork import Clockwork
from varnishpy.tier.errors import BadRecord, TierError
from varnishpy.tier.follower import SETTLE, Follower
from varnishpy.tier.invalidating import LIVE, Invalidator, Outcome
from varnishpy.tier.position import PositionFile
from varnishpy.tier.putting import put
from varnishpy.tier.reading import FoundObject, Wanted, usable
from varnishpy.tier.recent import Recent
from varnishpy.tier.record import Variant, decode_index, tag_of
from varnishpy.tier.store import Published

if TYPE_CHECKING:
    from varnishpy.cache.hash import Hash
    from varnishpy.cache.limits import Bucket
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.http.message import Message
    from varnishpy.stats import Counting
    from varnishpy.stats.names import TierName
    from varnishpy.storage.object import StoredObject
    from varnishpy.tier.store import Store

_CATCH_UP: Final = 2.0  # seconds that a node reads the log before it takes traffic
_LOOK: Final = 0.010  # seconds between looks for what another node fetches


class Ticket:
    """When a fetch began.

    :ivar tick: of this node, see recent.py
    :ivar position: number of the latest invalidation of all; ``None``: the engine could not tell, nothing can be stored
    :ivar loaded: its object came from the tier
    :ivar lease: what holds other nodes back until it is over
    """

    __slots__ = ("digest", "lease", "loaded", "position", "tick")

    def __init__(self, tick: int, digest: bytes) -> None:
        self.tick = tick
        self.digest = digest
        self.position: int | None = None
        self.loaded = False
        self.lease: bytes | None = None


class Tier:
    """See the module text.

    :param workdir: where the position in the log is kept; ``None``: nowhere
    :param settle: seconds after an outage in which nothing is taken from the engine
    """

    def __init__(
        self,
        store: Store,
        hash_: Hash,
        counters: stats.Counters[TierName],
        address: str = "",
        workdir: Path | None = None,
        wait_all: bool = False,
        name: str = "",
        times: Clockwork | None = None,
        settle: float = SETTLE,
    ) -> None:
        self.store = store
        self.counters = counters
        self.node = f"{name or socket.gethostname()}.{os.urandom(4).hex()}"
        self.times = Clockwork() if times is None else times
        self.recent = Recent()
        self.address = address
        self._hash = hash_
        applier = Applier(hash_, self.recent, self.times)
        self.invalidator = Invalidator(store, self.node, applier, lambda: self.follower, self.times, counters, wait_all)
        self.follower = Follower(
            store,
            self.node,
            applier,
            self.times,
            counters,
            PositionFile(workdir, address),
            self.invalidator.flush,
            settle,
        )
        self.writer = WriteBehind(lambda job: counters.inc("dropped"), self._defect)
        self._stopping = threading.Event()

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Catch up with the log, and follow it. From now on purges and bans go to all nodes."""
        self._hash.spreading = self._hash.bans.spreading = self._hash.keys.spreading = self.invalidator
        self.follower.start(_CATCH_UP)
        self.writer.start()
        stats.add_collector(self._gauges)

    def stop(self) -> None:
        """End the threads. Purges and bans are this node's own again."""
        self._stopping.set()
        self._hash.spreading = self._hash.bans.spreading = self._hash.keys.spreading = None
        stats.remove_collector(self._gauges)
        self.writer.stop()
        self.follower.stop()
        self.store.close()

    @staticmethod
    def _defect(exc: Exception) -> None:
        log.vsl(ERROR, 0, f"tier: {type(exc).__name__}: {exc}")

    # -- get -------------------------------------------------------------------------------------------------------

    def begin(self, digest: bytes) -> Ticket:
        """A fetch begins; before it asks anybody."""
        return Ticket(self.recent.tick, digest)

    def get(self, ticket: Ticket, wanted: Wanted) -> FoundObject | None:
        """Look for an object, and learn what a store of the origin's answer must know. Waits for the engine.

        :raises TierError: it could not be asked; a fetch goes on without the tier
        """
        if self.invalidator.pending:
            return None  # the engine does not know of purges that we have acknowledged
        asked = self.store.ask(wanted.digest)
        number = asked.facts.number
        if number < self.follower.position.number:
            return None  # it has lost some: the follower will see to it
        self.follower.note_number(number)
        ticket.position = number
        if asked.index is None or not self.follower.is_settled:
            return None
        try:
            _, variants = decode_index(asked.index)
            newer_than = self.times.there(wanted.newer_than)
            variant = usable(asked, variants, wanted, self.times.now_there(), newer_than)
            if variant is None:
                return None
            if not self.follower.has_seen(asked.facts.ban):
                self.counters.inc("behind")
                return None
            values, marks = self.store.read(wanted.digest, variant.ident, 0, 1, variant.tags)
            if max((*marks, self.recent.purged(wanted.digest, variant.tags))) > variant.position:
                self.counters.inc("invalid")
                return None
            if values[0] is None:
                return None  # evicted
            return FoundObject(self.store, wanted.digest, variant, values[0], self.times.here(variant.t_origin))
        except BadRecord:
            self.counters.inc("corrupt")
            return None

    def get_or_lease(self, ticket: Ticket, wanted: Wanted) -> FoundObject | None:
        """As `get`; where another node fetches the same, wait for it, for ``tier_wait`` at most.

        With nothing found the caller fetches for all, and holds the lease of ``ticket`` where that could be had.
        """
        found = self.get(ticket, wanted)
        patience = params.tier_wait
        if found is not None or patience <= 0.0 or ticket.position is None:
            return found
        holder = os.urandom(8)
        if self.store.lease(wanted.digest, holder, params.tier_lease):
            ticket.lease = holder
            return None
        self.counters.inc("waited")
        deadline = clock.mono() + patience
        while clock.mono() < deadline and not self._stopping.wait(_LOOK):
            over = not self.store.leased(wanted.digest)
            found = self.get(ticket, wanted)
            if found is not None or over:
                return found
        return None

    # -- making available --------------------------------------------------------------------------------------------

    def tags_of(self, stobj: StoredObject) -> tuple[bytes, ...]:
        """The surrogate keys of an object."""
        return tuple(tag_of(namespace, key) for namespace, key in self._hash.keys.keys_of(stobj))

    def is_banned(self, position: int, oc: ObjectCore, request: Message) -> bool:
        """Does a ban that is newer than an object of the tier hold for it?"""
        with self.recent.gate:
            return self.recent.is_banned(position, oc, request)

    def release(self, ticket: Ticket, oc: ObjectCore, request: Message, make_available: Callable[[], None]) -> None:
        """Make an object available, unless it has been invalidated since its fetch began: then nobody finds it.

        While the node is blind it will not be trusted for long.
        """
        stobj = oc.stobj
        assert stobj is not None
        tags = self.tags_of(stobj)
        if self.follower.blind:
            oc.ttl = min(oc.ttl, self.times.now_here() + params.tier_max_lag - oc.t_origin)
        recent = self.recent
        with recent.gate:
            outdated = recent.is_outdated(ticket.tick, ticket.digest, tags, oc, request)
            if outdated:
                self._hash.outdate(oc)
            make_available()
        if outdated:
            ticket.position = None
            self._hash.kill(oc)

    # -- put -------------------------------------------------------------------------------------------------------

    def put(self, ticket: Ticket, oc: ObjectCore, wrk: Counting) -> None:
        """Have a complete object stored some time. It is held until then."""
        stobj = oc.stobj
        if ticket.position is None or stobj is None or self.invalidator.pending:
            return
        self._hash.ref(oc)
        lease, ticket.lease = ticket.lease, None
        variant = Variant(
            b"",
            ticket.position,
            self.times.there(oc.t_origin),
            oc.ttl,
            oc.grace,
            oc.keep,
            stobj.flags,
            stobj.length,
            0,
            oc.vary,
            self.tags_of(stobj),
        )
        self.writer.put(_Put(self, ticket.digest, variant, oc, lease))

    def end(self, ticket: Ticket) -> None:
        """A fetch is over: others need not wait for it."""
        lease, ticket.lease = ticket.lease, None
        if lease is not None:
            self.writer.put(_Release(self, ticket.digest, lease))

    def store_object(self, digest: bytes, variant: Variant, stobj: StoredObject) -> None:
        """Write an object now; on the writer's thread."""
        try:
            outcome = put(self.store, digest, variant, stobj, self.times.now_there)
        except TierError:
            self.counters.inc("put_failed")
            return
        if outcome is Published.STORED:
            self.counters.inc("put")
        elif outcome is Published.PURGED:
            self.counters.inc("put_refused")

    def free(self, oc: ObjectCore) -> None:
        """Give the reference of `put` back."""
        counts = BackgroundCounts()
        self._hash.deref(counts, oc)
        counts.flush()

    @property
    def has_told_all(self) -> bool:
        """Was the latest invalidation on this thread acknowledged as it should be?"""
        return self.invalidator.outcome in (Outcome.LOGGED, Outcome.EVERYWHERE)

    # -- limits ----------------------------------------------------------------------------------------------------

    def bucket(self, name: bytes, limit: int, period: float, block: float, amount: int) -> Bucket | None:
        """As `SharedLimits.bucket`."""
        try:
            found = self.store.bucket(name, limit, period, block, amount)
        except TierError:
            self.counters.inc("limits_local")
            return None
        self.counters.inc("limits")
        return found

    # -- showing ---------------------------------------------------------------------------------------------------

    def _gauges(self) -> None:
        counters = self.counters
        counters.set("queue", len(self.writer))
        counters.set("queue_octets", self.writer.octets)
        counters.set("pending", self.invalidator.pending)
        counters.set("lag", int(self.follower.lag * 1000))
        counters.set("open", int(self.store.state is not State.CLOSED))

    def status(self) -> dict[str, object]:
        """For ``tier.status`` and the stats page. Asks the engine which nodes there are."""
        now = self.times.now_there()
        nodes: list[dict[str, object]] = []
        error = ""
        try:
            for node, (applied, moment) in sorted(self.store.nodes().items()):
                if now - moment < LIVE:
                    row = {"node": node, "applied": applied.decode("latin-1"), "heard": round(now - moment, 3)}
                    nodes.append({**row, "self": node == self.node})
        except TierError as exc:
            error = str(exc)
        self._gauges()
        return {
            "engine": self.address,
            "node": self.node,
            "breaker": self.store.state.value,
            "error": error,
            "blind": self.follower.blind,
            "lag": round(self.follower.lag, 3),
            "applied": self.follower.position.at.decode("latin-1"),
            "number": self.follower.position.number,
            "clock_ahead": round(self.times.ahead, 6),
            "pending": self.invalidator.pending,
            "queue": len(self.writer),
            "queue_octets": self.writer.octets,
            "bans": self.recent.ban_count,
            "nodes": nodes,
            "counters": self.counters.snapshot(),
        }


class _Put(Job):
    """An object that waits to be stored, with a reference to it."""

    __slots__ = ("_digest", "_lease", "_oc", "_tier", "_variant", "size")

    def __init__(self, tier: Tier, digest: bytes, variant: Variant, oc: ObjectCore, lease: bytes | None) -> None:
        self._tier = tier
        self._digest = digest
        self._variant = variant
        self._oc = oc
        self._lease = lease
        self.size = variant.length + 1024

    def run(self) -> None:
        stobj = self._oc.stobj
        if stobj is not None and not stobj.incomplete:
            self._tier.store_object(self._digest, self._variant, stobj)
        if self._lease is not None:
            _Release(self._tier, self._digest, self._lease).run()

    def release(self) -> None:
        self._tier.free(self._oc)


class _Release(Job):
    """A lease that is to be given back; dropped, it ends by itself."""

    __slots__ = ("_digest", "_lease", "_tier", "size")

    def __init__(self, tier: Tier, digest: bytes, lease: bytes) -> None:
        self._tier = tier
        self._digest = digest
        self._lease = lease
        self.size = 64

    def run(self) -> None:
        try:
            self._tier.store.release(self._digest, self._lease)
        except TierError:
            return  # it ends by itself

    def release(self) -> None:
        """It holds nothing."""
