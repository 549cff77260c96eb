"""The hash: from digest to object, and how requests for one object wait for one fetch.

Lookup walks the objects of a head, newest first, under the head's lock. It ends in one of

* ``HIT``: an object with a reference for the caller;
* ``HITPASS``: no object, the request is to be passed (``req.hitmiss_info`` is the marker's id and remaining ttl);
* ``HITMISS``: the marker, referenced, and a busy object core to fetch into (``req.hitmiss_info`` likewise);
* ``HIT_GRACE``: a stale object, referenced, and a busy object core if this request is to start the refetch;
* ``MISS``: a busy object core, and perhaps a stale object, referenced, for a conditional fetch;
* ``BUSY``: the request is on the waiting list, **and belongs to it**: the caller must not touch it any more.

A waiting request comes back through ``req.reembark()`` and calls `Hash.lookup` again, which then first
looks at the object that woke it (``waitinglist.py``).
"""

from __future__ import annotations

from enum import IntEnum
from math import nan
from typing import TYPE_CHECKING, Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.panic import invariant, present
from varnishpy.cache import vary, waitinglist
from varnishpy.cache.background import BackgroundCounts
from varnishpy.cache.catflap import Verdict
from varnishpy.cache.keys import KeyIndex
from varnishpy.cache.objcore import (
    EXP_NEW,
    EXP_REFD,
    OC_ASK,
    OC_BUSY,
    OC_CANCEL,
    OC_DYING,
    OC_FAILED,
    OC_HFM,
    OC_HFP,
    OC_OUTDATED,
    OC_PRIVATE,
    OC_SUPERSEDED,
    OC_WITHDRAWN,
    ObjectCore,
)
from varnishpy.cache.objhead import HeadLocks, ObjectHead
from varnishpy.cache.waitinglist import rush, wake
from varnishpy.log.tag_numbers import NOTICE
from varnishpy.params import params
from varnishpy.stats import Counting
from varnishpy.storage.boc import BocState, BusyObjectControl
from varnishpy.storage.core import Core

if TYPE_CHECKING:
    from varnishpy.cache.asking import Asking
    from varnishpy.cache.ban import Bans
    from varnishpy.cache.cold import ColdObjects
    from varnishpy.cache.expire import Expiry
    from varnishpy.cache.spreading import Spreading

_UNFIT: Final = OC_WITHDRAWN | OC_HFM | OC_HFP | OC_CANCEL | OC_FAILED | OC_ASK | OC_OUTDATED
_GONE: Final = OC_DYING | OC_FAILED | OC_WITHDRAWN
_PRIVATE_HEADS: Final = 64


class Lookup(IntEnum):
    """How a lookup ended; see the module text."""

    MISS = 0
    HITMISS = 1
    HITPASS = 2
    HIT = 3
    HIT_GRACE = 4
    BUSY = 5


# plain constants for code that runs for each request: members of an Enum cost two look-ups each time
LOOKUP_HIT: Final = Lookup.HIT
LOOKUP_HIT_GRACE: Final = Lookup.HIT_GRACE
LOOKUP_BUSY: Final = Lookup.BUSY


Found = tuple[Lookup, ObjectCore | None, ObjectCore | None]


class Hash:
    """See the module text. Thread safe."""

    def __init__(self, expiry: Expiry, bans: Bans) -> None:
        # single operations on it are atomic; death of a head is under its lock
        self._heads: dict[bytes, ObjectHead] = {}
        self.head_locks = HeadLocks()
        self._private = [ObjectHead(b"", True) for _ in range(_PRIVATE_HEADS)]
        self._turn = 0
        self.expiry = expiry
        self.bans = bans
        self.spreading: Spreading | None = None
        expiry.attach(self)
        bans.attach(self)
        self.keys = KeyIndex(expiry, self.all_objects)
        self.cold: ColdObjects | None = None  # what storage has kept from before the start

    def __len__(self) -> int:
        return len(self._heads)

    # -- lookup ----------------------------------------------------------------------------------------------------

    def lookup(self, wrk: Counting, req: Asking, digest: bytes, always_insert: bool = False) -> Found:
        """Find an object for a request, or let it fetch one, or let it wait; see the module text.

        :param always_insert: do not look, give a busy object core (as ``req.hash_always_miss`` does)
        """
        if req.waiting_on is not None:
            return self._lookup_again(wrk, req, digest, always_insert)
        unsettled = req.before_wait is not None
        found = self._lookup(wrk, req, digest, always_insert)
        if unsettled and found[0] is LOOKUP_BUSY:  # it is not on the waiting list yet
            req.settle()
            return self._lookup(wrk, req, digest, always_insert)
        return found

    def _lookup_again(self, wrk: Counting, req: Asking, digest: bytes, always_insert: bool) -> Found:
        """Lookup of a request that was woken: first look at the object that woke it.

        The object counts as fresh whatever its ttl: it was fetched while this request waited for it.
        """
        req.waiting_on = None
        oc, req.objcore = req.objcore, None
        if oc is None:
            return self._lookup(wrk, req, digest, always_insert)
        may_fit = not (oc.flags & _UNFIT or always_insert or req.hash_always_miss)
        if may_fit and (oc.variant is None or req.hash_ignore_vary or self._matches(oc.variant, req)):
            with oc.objhead.lock:
                oc.hits += 1
                woken = rush(wrk, oc)
            wake(woken)
            self._touch(oc, req.t_req)
            return Lookup.HIT, oc, None
        found = self._lookup(wrk, req, digest, always_insert)
        # req may be waiting again, and run elsewhere, from here on
        if not oc.flags & (OC_WITHDRAWN | OC_FAILED):
            with oc.objhead.lock:
                woken = rush(wrk, oc)  # it is not for us, but those behind us have not seen it yet
            wake(woken)
        self.deref(wrk, oc)
        return found

    def _lookup(self, wrk: Counting, req: Asking, digest: bytes, always_insert: bool) -> Found:
        head = self._locked_head(wrk, digest)
        woken: list[Asking] | None = None
        try:
            if always_insert or req.hash_always_miss:
                return Lookup.MISS, None, self._insert_busy(wrk, head, None, req)
            t_req = req.t_req
            ignore_vary = req.hash_ignore_vary
            newest_ban = self.bans.newest
            busy_found = False
            stale: ObjectCore | None = None
            other: vary.Entries | None = None
            oc: ObjectCore | None = None
            any_variant = params.ban_any_variant
            mismatches = 0
            catflap = req.catflap
            for candidate in head.objcs:
                flags = candidate.flags
                if flags & (_GONE | OC_BUSY):
                    if not flags & _GONE and not req.hash_ignore_busy:
                        boc = candidate.boc
                        expected = boc.variant if boc is not None else None
                        if expected is None or ignore_vary or self._matches(expected, req):
                            busy_found = True
                    continue
                ttl = candidate.ttl
                if ttl <= 0.0 and not flags & OC_ASK:
                    continue
                variant = candidate.variant
                if variant is not None and not ignore_vary:
                    if any_variant > 0:
                        any_variant -= 1
                        if candidate.ban is not newest_ban and self._banned(candidate, req):
                            continue
                    if not self._matches(variant, req):
                        if other is None:
                            other = variant
                        mismatches += 1
                        continue
                if candidate.ban is not newest_ban and self._banned(candidate, req):
                    continue
                if catflap is not None:
                    verdict = catflap.judge(candidate)
                    if verdict is Verdict.CONTINUE:
                        continue
                    if verdict is not Verdict.DEFAULT:
                        oc = candidate if verdict is Verdict.HIT else None
                        break
                if flags & OC_ASK:
                    if stale is None or candidate.t_origin > stale.t_origin:
                        stale = candidate
                    continue
                fresh_until = candidate.t_origin + ttl
                d_ttl = req.d_ttl
                if fresh_until > t_req and (d_ttl <= 0.0 or d_ttl >= ttl or candidate.t_origin + d_ttl > t_req):
                    oc = candidate
                    break
                if fresh_until <= t_req and (stale is None or candidate.t_origin > stale.t_origin):
                    stale = candidate

            if catflap is not None:
                oc = catflap.choose(oc)
            if mismatches and mismatches >= params.vary_notice and (oc is not None or not busy_found):
                req.log.put(NOTICE, f"vsl: High number of variants ({mismatches})")

            if oc is None:
                return self._not_found(wrk, req, head, stale, other, busy_found)
            if not oc.flags & (OC_HFM | OC_HFP):
                oc.refcount += 1
                oc.hits += 1
                if head.waiting:
                    woken = rush(wrk, oc)
                last_use = oc.last_lru
                if last_use and t_req - last_use >= params.lru_interval:
                    self._touch(oc, t_req)
                return Lookup.HIT, oc, None
            req.hitmiss_info = (oc.xid, oc.expires(req.d_ttl) - t_req)
            if oc.flags & OC_HFP:
                if head.waiting:
                    woken = rush(wrk, oc)
                wrk.stats.cache_hitpass += 1
                return Lookup.HITPASS, None, None
            oc.refcount += 1
            wrk.stats.cache_hitmiss += 1
            return Lookup.HITMISS, oc, self._insert_busy(wrk, head, None, req)
        finally:
            head.lock.release()
            if woken:
                wake(woken)

    def _not_found(
        self,
        wrk: Counting,
        req: Asking,
        head: ObjectHead,
        stale: ObjectCore | None,
        other: vary.Entries | None,
        busy_found: bool,
    ) -> Found:
        """Nothing fresh is there: what is stale will do, or is fetched anew, or somebody's fetch is waited for.

        :param head: locked
        :param stale: the youngest object that fits and is not fresh any more
        :param other: the variant of some object that does not fit
        :param busy_found: an object that may fit is being fetched
        """
        if stale is not None and stale.flags & OC_HFM:
            req.hitmiss_info = (stale.xid, stale.expires(req.d_ttl) - req.t_req)
            wrk.stats.cache_hitmiss += 1
            return Lookup.HITMISS, None, self._insert_busy(wrk, head, None, req)

        in_grace = stale is not None and self._graced(stale, req)
        if stale is not None and stale.flags & OC_ASK:
            in_grace = busy_found = False  # each request asks by itself, as for what is known to be uncacheable
        if not busy_found:
            busy = self._insert_busy(wrk, head, other if stale is None else stale.variant, req)
            if stale is not None:
                stale.refcount += 1
                if in_grace:
                    stale.hits += 1
                    return Lookup.HIT_GRACE, stale, busy
            return Lookup.MISS, stale, busy
        if in_grace and stale is not None:
            stale.refcount += 1
            stale.hits += 1
            return Lookup.HIT_GRACE, stale, None

        waitinglist.join(wrk, head, req)
        return Lookup.BUSY, None, None

    def _locked_head(self, wrk: Counting, digest: bytes) -> ObjectHead:
        """The head of a digest, alive and locked; made if need be."""
        heads = self._heads
        while True:
            head = heads.get(digest)
            if head is None:
                if self.cold is not None and self.cold.thaw(digest):
                    continue
                fresh = self.head_locks.new_head(digest)
                head = heads.setdefault(digest, fresh)
                if head is fresh:
                    wrk.stats.n_objecthead += 1
            head.lock.acquire()
            if not head.dead:
                return head
            head.lock.release()

    @staticmethod
    def _matches(variant: vary.Entries, req: Asking) -> bool:
        return vary.match_entries(variant, req.http, params.http_gzip_support)

    def _banned(self, oc: ObjectCore, req: Asking) -> bool:
        """Hold new bans against an object; the head's lock is held."""
        if not self.bans.check_object(oc, req):
            return False
        oc.flags |= OC_DYING
        self.expiry.remove(oc)
        return True

    @staticmethod
    def _graced(oc: ObjectCore, req: Asking) -> bool:
        grace = oc.grace
        if 0.0 <= req.d_grace < grace:
            grace = req.d_grace
        return oc.expires(req.d_ttl) + grace >= req.t_req

    @staticmethod
    def _touch(oc: ObjectCore, now: float) -> None:
        stobj = oc.stobj
        if stobj is not None:
            stobj.stevedore.lru.touch(oc, now)

    @staticmethod
    def _insert_busy(wrk: Counting, head: ObjectHead, like: vary.Entries | None, req: Asking) -> ObjectCore:
        """A new busy object core, owned by the caller; the head's lock is held.

        :param like: a stored variant, which tells what the response will vary on
        """
        oc = ObjectCore(head, OC_BUSY)
        head.objcs = (*head.objcs, oc)
        wrk.stats.n_objectcore += 1
        if like is not None and oc.boc is not None:
            oc.boc.variant = vary.predict(like, req.http)
        return oc

    @staticmethod
    def walk_away(req: Asking) -> bool:
        """Take a request off the waiting list it is on; see `waitinglist.leave`."""
        return waitinglist.leave(req)

    def publish(self, head: ObjectHead) -> None:
        """Let a head be found whose objects are complete; there is none of its digest yet."""
        self._heads[head.digest] = head
        stats.main.inc("n_objecthead")

    # -- a fetch's way ---------------------------------------------------------------------------------------------

    def insert_private(self, wrk: Counting) -> ObjectCore:
        """An object core that no lookup finds: a pass, or a cached request body."""
        self._turn = turn = (self._turn + 1) % _PRIVATE_HEADS  # a lost update does no harm: any head will do
        wrk.stats.n_objectcore += 1
        return ObjectCore(self._private[turn], OC_PRIVATE)

    def set_state(self, wrk: Counting, oc: ObjectCore, state: BocState) -> None:
        """Move the fetch of an object core on: streaming makes it available, failure wakes who waited in vain."""
        boc = present(oc.boc, "only a fetch has states")
        if state is BocState.FAILED:
            self.fail(wrk, oc)
        elif boc.state < BocState.STREAM <= state:
            self.unbusy(wrk, oc)
        boc.set_state(state)

    def unbusy(self, wrk: Counting, oc: ObjectCore) -> None:
        """The headers are stored: the object may be found. Times, flags, ``xid`` and ``vary`` must be set."""
        invariant(oc.stobj is not None, "an available object has storage")
        if oc.flags & OC_PRIVATE or not oc.flags & OC_BUSY:
            return
        if oc.vary is not None:
            oc.variant = vary.entries(oc.vary)
        self.bans.new_object(oc)
        head = oc.objhead
        with head.lock:
            oc.refcount += 1
            oc.exp_flags |= EXP_REFD | EXP_NEW
            head.add_first(oc)
            oc.flags &= ~OC_BUSY
            woken = rush(wrk, oc)
        self.expiry.insert(wrk, oc)
        wake(woken)

    def fail(self, wrk: Counting, oc: ObjectCore) -> None:
        """The fetch failed: no lookup finds the object any more; one of those who wait may try it himself."""
        woken = None
        with oc.objhead.lock:
            oc.flags |= OC_FAILED
            if oc.flags & OC_BUSY:
                oc.flags &= ~OC_BUSY
                woken = rush(wrk, oc)
        wake(woken)

    def withdraw(self, wrk: Counting, oc: ObjectCore) -> None:
        """Give a busy object core back without fetching; takes the caller's reference."""
        with oc.objhead.lock:
            invariant(oc.flags & OC_BUSY and oc.stobj is None, "only an untouched busy object core can be withdrawn")
            oc.flags = oc.flags & ~OC_BUSY | OC_WITHDRAWN
            woken = rush(wrk, oc)
        self.deref(wrk, oc)
        wake(woken)

    def cancel(self, oc: ObjectCore) -> None:
        """The only reader of a transient object is gone: its fetch may stop. No effect on others."""
        if not oc.is_transient:
            return
        with oc.objhead.lock:
            oc.flags |= OC_CANCEL
            boc = oc.boc
        if boc is not None:
            boc.cancel()

    # -- references ------------------------------------------------------------------------------------------------

    @staticmethod
    def ref(oc: ObjectCore) -> None:
        """Take another reference; the caller has one."""
        with oc.objhead.lock:
            oc.refcount += 1

    def deref(self, wrk: Counting, oc: ObjectCore) -> int:
        """Give a reference back; with the last one the object is freed. Returns how many are left.

        With the last but one of a marker its body goes: see `ObjectCore.is_bare_marker`.
        """
        head = oc.objhead
        lock = head.lock
        lock.acquire()  # costs less than half of a with statement, and each hit comes here
        left = oc.refcount - 1
        if left == 1 and oc.flags & (OC_HFM | OC_HFP) and oc.is_bare_marker:
            lock.release()
            if oc.stobj is not None:
                oc.stobj.slim()  # our reference still keeps the object: nobody frees it meanwhile
            lock.acquire()
            left = oc.refcount - 1
        oc.refcount = left
        if left:
            lock.release()
            return left
        woken = None
        try:
            if not head.private:
                head.take_out(oc)
                if head.waiting and not any(other.flags & OC_BUSY for other in head.objcs):
                    # nobody fetches any more: those who wait would wait for ever
                    woken = [head.waiting.popitem(last=False)[0].req]
                    wrk.stats.busy_wakeup += 1
                elif not head.objcs and not head.waiting:
                    head.dead = True
                    del self._heads[head.digest]
                    wrk.stats.n_objecthead -= 1
        finally:
            lock.release()
        invariant(left == 0, "more references given back than taken")
        invariant(
            not oc.flags & OC_BUSY and not oc.exp_flags, "a freed object core is neither busy nor with the expiry"
        )
        wake(woken)
        if oc.ban is not None:
            self.bans.forget(oc)
        if oc.stobj is not None:
            self.drop_stobj(wrk, oc)
        wrk.stats.n_objectcore -= 1
        return 0

    def drop_stobj(self, wrk: Counting, oc: ObjectCore) -> None:
        """Free the stored object: nobody uses it, or the fetch starts anew (retry, or backend_error after a fault)."""
        stobj, oc.stobj = oc.stobj, None
        if stobj is not None:
            if oc.last_lru:
                stobj.stevedore.lru.remove(oc)
            stobj.free()
            wrk.stats.n_object -= 1

    @staticmethod
    def ref_boc(oc: ObjectCore) -> BusyObjectControl | None:
        """The busy object control, with a reference, while its fetch is not over; else ``None``."""
        if not oc.is_being_fetched():
            return None
        with oc.objhead.lock:
            boc = oc.boc
            if boc is None or boc.state >= BocState.FINISHED:
                return None
            boc.refcount += 1
            return boc

    @staticmethod
    def deref_boc(wrk: Counting, oc: ObjectCore) -> None:
        """Give a reference to the busy object control back; after the last one the object may be evicted."""
        with oc.objhead.lock:
            boc = oc.boc
            assert boc is not None
            boc.refcount -= 1
            invariant(boc.refcount >= 0, "more boc references given back than taken")
            if boc.refcount:
                return
            oc.boc = None
        stobj = oc.stobj
        if stobj is not None and not oc.flags & OC_PRIVATE:
            stobj.stevedore.completed(oc, clock.now(), not oc.flags & (OC_HFM | OC_HFP | _GONE))

    # -- taking objects away ---------------------------------------------------------------------------------------

    def kill(self, oc: ObjectCore) -> None:
        """No lookup finds the object any more; the caller has a reference."""
        self.replace(oc, None)

    def replace(self, oc: ObjectCore, successor: ObjectCore | None) -> None:
        """Kill an object, counted as superseded if there is a successor."""
        with oc.objhead.lock:
            if successor is not None and not oc.flags & OC_DYING:
                oc.flags |= OC_SUPERSEDED
            oc.flags |= OC_DYING
        self.expiry.remove(oc, successor)

    @staticmethod
    def outdate(oc: ObjectCore) -> None:
        """What a fetch is about to make available is not right any more: only who has it already may deliver it."""
        with oc.objhead.lock:
            oc.flags |= OC_OUTDATED | OC_DYING
        if oc.stobj is not None:
            oc.stobj.stevedore.forget(oc.stobj)

    def soften_all_here(self, now: float) -> int:
        """Make every object stale, and tell nobody; how many there were."""
        if self.cold is not None:
            self.cold.thaw_all()
        found = [oc for oc in self.all_objects() if not oc.flags & (OC_BUSY | OC_DYING) and oc.expires() > now]
        for oc in found:
            self.expiry.reduce(oc, now, 0.0, nan, nan)
        return len(found)

    def snipe(self, oc: Core) -> bool:
        """For the LRU: kill an object that nobody uses; then the caller has a reference to `drop`."""
        assert isinstance(oc, ObjectCore)
        if oc.refcount != 1 or not oc.objhead.lock.acquire(blocking=False):
            return False
        try:
            if oc.refcount != 1 or oc.flags & OC_DYING:
                return False
            oc.flags |= OC_DYING
            oc.refcount = 2
        finally:
            oc.objhead.lock.release()
        self.expiry.remove(oc)
        return True

    def drop(self, oc: Core) -> None:
        """Give the reference of `snipe` back."""
        assert isinstance(oc, ObjectCore)
        self.deref(_process, oc)
        _process.flush()

    def purge(
        self, wrk: Counting, digest: bytes, now: float, ttl: float = 0.0, grace: float = 0.0, keep: float = 0.0
    ) -> int:
        """Remove all objects of a digest, or limit their times.

        All zero is a purge: the objects are gone at once. Otherwise (soft purge) each time is lowered, never raised;
        NaN leaves it as it is. Objects still being fetched before their headers arrived are not touched.

        :return: how many objects it met, on this node
        """
        if self.spreading is not None:
            return self.spreading.purge(wrk, digest, now, ttl, grace, keep)
        return self.purge_here(wrk, digest, now, ttl, grace, keep)

    def purge_here(
        self, wrk: Counting, digest: bytes, now: float, ttl: float = 0.0, grace: float = 0.0, keep: float = 0.0
    ) -> int:
        """`purge` without telling others."""
        hard = ttl == 0.0 and grace == 0.0 and keep == 0.0
        if self.cold is not None:
            self.cold.thaw(digest)
        head = self._heads.get(digest)
        met: list[ObjectCore] = []
        if head is not None:
            with head.lock:
                for oc in head.objcs:
                    if not oc.flags & (OC_BUSY | OC_DYING):
                        if hard:
                            oc.flags |= OC_DYING
                        oc.refcount += 1
                        met.append(oc)
        for oc in met:
            if hard:
                self.expiry.remove(oc)
            else:
                self.expiry.reduce(oc, now, ttl, grace, keep)
            self.deref(wrk, oc)
        if hard:
            wrk.stats.n_purges += 1
            wrk.stats.n_obj_purged += len(met)
        return len(met)

    def forget_all(self) -> int:
        """Purge every digest, for tests; how many objects that were."""
        found = sum(self.purge_here(_process, digest, 0.0) for digest in list(self._heads))
        _process.flush()
        return found if self.cold is None else found + self.cold.dismiss_all()

    def all_objects(self) -> list[ObjectCore]:
        """Every object core that is in the cache at this moment, for dumps and tests."""
        return [oc for head in list(self._heads.values()) for oc in head.objcs]


_process = BackgroundCounts()
