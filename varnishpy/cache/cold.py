"""Objects from before the start: they lie in storage that outlives the process, and come back when they are wanted.

At the start there is only a table of digests. A lookup, or a purge, of a digest that is in it *thaws* what is there:
the objects get their cores, times, variants and the ban that they were last tested against, and are in the cache as if
they had never been away; bans made since are held against them as against any other. What is not asked for is thawed
by a thread, slowly, those first that were used last: until then an object neither expires nor is tested by the ban
lurker, and bans that it was not tested against stay in the list.

A table's entries go when their objects are in the hash, never before. So that nobody sees neither, they go under one
of a few locks chosen by the digest; these are taken before all others but those of sessions.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.cache import vary
from varnishpy.cache.background import BackgroundCounts, start_thread
from varnishpy.cache.ban_spec import BanError, Test, parse_words
from varnishpy.cache.objcore import EXP_NEW, EXP_REFD, OC_ASK, ObjectCore
from varnishpy.cache.objhead import ObjectHead
from varnishpy.storage.persistent.records import BAN, DIGEST, Record

if TYPE_CHECKING:
    from varnishpy.cache.ban import Ban
    from varnishpy.cache.hash import Hash
    from varnishpy.storage.core import Core
    from varnishpy.storage.persistent.records import Row
    from varnishpy.storage.persistent.stevedore import PersistentStevedore

_STRIPES: Final = 16
_BATCH: Final = 20  # objects thawed by the thread between two pauses
_PAUSE: Final = 0.01  # seconds: it takes a tenth or so of the interpreter

Entry = tuple["PersistentStevedore", "Row"]


class ColdObjects:
    """See the module text. Thread safe.

    :param stores: open; their records and bans are taken over
    """

    def __init__(self, hash_: Hash, stores: list[PersistentStevedore]) -> None:
        self._hash = hash_
        self._bans = hash_.bans
        self._locks = [make_lock("cold") for _ in range(_STRIPES)]
        # most digests have one object: a list for each would take most of the time of the start
        self._by_digest: dict[bytes, Entry | list[Entry]] = {}
        self._order: dict[str, deque[Row]] = {}  # of each store, used longest ago first; some have been thawed
        self._ban_of: dict[float, Ban] = {}
        self._counts = BackgroundCounts()
        self._stop = threading.Event()
        self._runner: threading.Thread | None = None
        self._stores = stores
        self._take(stores)
        hash_.cold = self
        hash_.keys.before_purge = self.thaw_mentioning
        self._bans.keepers.extend(stores)

    def _take(self, stores: list[PersistentStevedore]) -> None:
        found: dict[float, tuple[float, tuple[Test, ...]]] = {}
        unreadable = 0.0
        for store in stores:
            for time, moment, words in store.bans:
                try:
                    found[time] = moment, parse_words(words)
                except BanError:
                    unreadable = max(unreadable, time)
        if any(store.cold for store in stores):
            bans = [(time, *found[time]) for time in sorted(found)]
            self._bans.restore(bans, min(row[BAN] for store in stores for row in store.cold))
        else:
            for store in stores:
                for time, _, _ in store.bans:
                    store.ban_gone(time)
        moments: Counter[float] = Counter()
        for store in stores:
            rows = store.cold
            if unreadable:  # a ban that cannot be read may have been meant for what is older
                for row in rows:
                    if row[BAN] < unreadable:
                        store.dismiss(Record._make(row))
                rows = [row for row in rows if row[BAN] >= unreadable]
            for row in rows:
                digest = row[DIGEST]
                there = self._by_digest.get(digest)
                if there is None:
                    self._by_digest[digest] = (store, row)
                elif isinstance(there, list):
                    there.append((store, row))
                else:
                    self._by_digest[digest] = [there, (store, row)]
            moments.update([row[BAN] for row in rows])
            self._order[store.ident] = deque(rows)
            store.cold, store.bans = [], []
            store.evict_cold = partial(self._evict, store)
            store.expel = self._expel
            store.cold_count = partial(self._left, store)
            stats.main.inc("n_vampireobject", len(rows))
        for moment, count in moments.items():
            self._ban_of[moment] = self._bans.hold(moment, count)

    def __len__(self) -> int:
        """How many digests there are."""
        return len(self._by_digest)

    def _left(self, store: PersistentStevedore) -> int:
        return len(self._order[store.ident]) if self._by_digest else 0

    def _lock_of(self, digest: bytes) -> threading.Lock:
        return self._locks[digest[0] % _STRIPES]

    def _entries(self, digest: bytes) -> list[Entry]:
        found = self._by_digest.get(digest)
        if found is None:
            return []
        return found if isinstance(found, list) else [found]

    # -- thawing -------------------------------------------------------------------------------------------------------

    def thaw(self, digest: bytes, unused: bool = False) -> bool:
        """Put the objects of a digest into the cache; False: there are none.

        :param unused: nobody has asked for them
        """
        if digest not in self._by_digest:
            return False
        with self._lock_of(digest):
            entries = self._entries(digest)
            if not entries:
                return False
            head = self._hash.head_locks.new_head(digest)
            now = clock.now()
            objcores: list[ObjectCore] = []
            for store, row in sorted(entries, key=lambda entry: entry[1][0], reverse=True):
                oc = self._revive(head, store, Record._make(row), now, unused)
                if oc is not None:
                    objcores.append(oc)
            if objcores:
                head.objcs = tuple(objcores)
                self._hash.publish(head)
            del self._by_digest[digest]
            stats.main.dec("n_vampireobject", len(entries))
        for oc in objcores:
            self._hash.expiry.insert(self._counts, oc)
        return True

    def _revive(
        self, head: ObjectHead, store: PersistentStevedore, record: Record, now: float, unused: bool
    ) -> ObjectCore | None:
        ban = self._ban_of[record.ban]
        stobj = None
        if record.when > now:
            stobj = store.thaw(record)
            if stobj is None:
                store.damaged_record(record)
        else:
            stats.main.inc("n_expired")
        if stobj is None:
            store.dismiss(record)
            self._bans.dismiss(ban)
            return None
        oc = ObjectCore(head, record.flags & OC_ASK)
        oc.boc = None
        oc.t_origin, oc.ttl, oc.grace, oc.keep = record.t_origin, record.ttl, record.grace, record.keep
        oc.xid = record.xid
        oc.origin = stobj.origin
        oc.vary = stobj.attrs.get("VARY")
        if oc.vary is not None:
            oc.variant = vary.entries(oc.vary)
        oc.stobj = stobj
        stobj.core = oc
        oc.exp_flags = EXP_REFD | EXP_NEW  # the one reference is the expiry's
        self._bans.thaw(oc, ban)
        if unused:
            store.lru.add_oldest(oc, record.used or record.t_origin)
        else:
            store.lru.add(oc, now)
        stats.main.inc("n_objectcore")
        stats.main.inc("n_object")
        return oc

    def thaw_mentioning(self, texts: list[str]) -> None:
        """Thaw what has one of the texts in its headers: somebody is about to purge by them."""
        if not self._by_digest:
            return
        # a name may stand in a field with a backslash before some character, and a key have something before the name
        texts = ["" if '"' in text or "\\" in text else text.partition(" ")[2] or text for text in texts]
        for digest in list(self._by_digest):
            if any(store.mentions(Record._make(row), texts) for store, row in self._entries(digest)):
                self.thaw(digest)

    # -- letting go ----------------------------------------------------------------------------------------------------

    def _evict(self, store: PersistentStevedore) -> bool:
        """Throw away the object of a store that was used longest ago."""
        order = self._order[store.ident]
        while True:
            try:
                row = order.popleft()
            except IndexError:
                return False
            if self._dismiss(store, row):
                return True

    def _dismiss(self, store: PersistentStevedore, row: Row) -> bool:
        record = Record._make(row)
        digest = record.digest
        with self._lock_of(digest):
            entries = self._entries(digest)
            left = [entry for entry in entries if entry[0] is not store or entry[1][0] != record.number]
            if len(left) == len(entries):
                return False
            if left:
                self._by_digest[digest] = left
            else:
                del self._by_digest[digest]
        store.dismiss(record)
        self._bans.dismiss(self._ban_of[record.ban])
        stats.main.dec("n_vampireobject")
        return True

    def _expel(self, oc: Core) -> None:
        """An object of a store is damaged, or could not be written."""
        if isinstance(oc, ObjectCore):
            self._hash.kill(oc)

    def dismiss_all(self) -> int:
        """Throw everything away; how many objects that were."""
        count = 0
        for store in self._stores:
            while self._evict(store):
                count += 1
        return count

    # -- the thread ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to thaw what nobody asks for."""
        self._stop.clear()
        if self._by_digest:
            self._runner = start_thread("cache-thaw", self._run)

    def stop(self) -> None:
        """Stop thawing, and wait for the thread's end."""
        self._stop.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.join()

    def thaw_all(self) -> None:
        """Do at once what the thread does slowly."""
        while self._thaw_some(_BATCH):
            pass

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE) and self._thaw_some(_BATCH):
            self._counts.flush()
        with self._bans.cond:
            self._bans.kick()

    def _thaw_some(self, count: int) -> bool:
        """Thaw so many, those used last first; False: there are no more."""
        done = 0
        for order in self._order.values():
            while done < count:
                try:
                    row = order.pop()
                except IndexError:
                    break
                done += self.thaw(row[DIGEST], unused=True)
        return done >= count
