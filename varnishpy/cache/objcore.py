"""Object cores: one per object in the cache, per fetch under way and per pass.

An object core is counted: whoever works with it holds a reference, and so does the expiry while the object is in the
cache. Counts, flags and the busy object control change under the lock of the object head only.

Who owns the body, and when it may go:

* a cached object's body belongs to the cache. It goes with the last reference, or when the LRU takes it, which asks
  that nobody but the expiry holds one (`Hash.snipe`);
* a pass (``OC_PRIVATE``) is held by its fetch and by its one reader, in any order of leaving. The body goes with the
  last reference, never before;
* a marker (hit-for-miss, hit-for-pass) is held by fetch, reader and expiry. The body is for the reader alone, the
  marker stays for its ttl: the body goes as soon as the expiry's is the only reference left (`is_bare_marker`).
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Final

from varnishpy.base.compiled import mypyc_attr
from varnishpy.storage.boc import BocState, BusyObjectControl
from varnishpy.storage.core import Core

if TYPE_CHECKING:
    from varnishpy.cache.ban import Ban
    from varnishpy.cache.expire import TimerEntry
    from varnishpy.cache.objhead import ObjectHead
    from varnishpy.cache.vary import Entries
    from varnishpy.storage.object import StoredObject

__all__ = ["BocState", "BusyObjectControl", "ObjectCore", "OcFlag"]


class OcFlag(IntFlag):
    """Bits of `ObjectCore.flags`; the module constants below are the same as plain numbers, for hot paths."""

    WITHDRAWN = 1 << 0
    BUSY = 1 << 1
    HFM = 1 << 2
    HFP = 1 << 3
    CANCEL = 1 << 4  # the only reader is gone
    PRIVATE = 1 << 5
    FAILED = 1 << 6
    DYING = 1 << 7
    SUPERSEDED = 1 << 9  # dying only because there is a newer one
    OUTDATED = 1 << 10  # purged while it was fetched: nobody but who asked for it may have it
    ASK = 1 << 8  # the origin must be asked each time whether it is still right (RFC 9111 section 5.2.2.4)


OC_WITHDRAWN: Final = int(OcFlag.WITHDRAWN)
OC_BUSY: Final = int(OcFlag.BUSY)
OC_HFM: Final = int(OcFlag.HFM)
OC_HFP: Final = int(OcFlag.HFP)
OC_CANCEL: Final = int(OcFlag.CANCEL)
OC_PRIVATE: Final = int(OcFlag.PRIVATE)
OC_FAILED: Final = int(OcFlag.FAILED)
OC_DYING: Final = int(OcFlag.DYING)
OC_SUPERSEDED: Final = int(OcFlag.SUPERSEDED)
OC_ASK: Final = int(OcFlag.ASK)
OC_OUTDATED: Final = int(OcFlag.OUTDATED)
OC_TRANSIENT: Final = OC_PRIVATE | OC_HFM | OC_HFP  # its body has one reader, and is never delivered again

# what the expiry knows of an object core: bits of exp_flags
EXP_POSTED: Final = 1 << 1
EXP_REFD: Final = 1 << 2
EXP_MOVE: Final = 1 << 3
EXP_INSERT: Final = 1 << 4
EXP_REMOVE: Final = 1 << 5
EXP_NEW: Final = 1 << 6


@mypyc_attr(acyclic=True)
class ObjectCore(Core):
    """See the module text. ``t_origin`` is wall-clock seconds.

    ``ttl``, ``grace`` and ``keep`` are durations from it on.
    """

    __slots__ = (
        "ban", "ban_next", "ban_prev", "boc", "exp_flags", "hits", "objhead", "timer_entry", "timer_when", "variant",
        "vary", "waitinglist_gen",
    )  # fmt: skip

    def __init__(self, objhead: ObjectHead, flags: int) -> None:
        self.objhead = objhead
        self.flags = flags
        self.refcount = 1
        self.t_origin = 0.0
        self.ttl = 0.0
        self.grace = 0.0
        self.keep = 0.0
        self.hits = 0
        self.last_lru = 0.0
        self.xid = 0
        self.origin = ""
        self.stobj = None
        self.lru_next = self.lru_prev = None
        self.boc: BusyObjectControl | None = BusyObjectControl()
        self.vary: bytes | None = None  # set by the fetch before the object is unbusied
        self.variant: Entries | None = None  # the same, taken apart
        self.ban: Ban | None = None  # this and its neighbours under that: under the lock of the ban list
        self.ban_next: ObjectCore | None = None
        self.ban_prev: ObjectCore | None = None
        self.exp_flags = 0
        self.timer_when = 0.0
        self.timer_entry: TimerEntry | None = None
        self.waitinglist_gen = 0

    def is_being_fetched(self) -> bool:
        """Is there a fetch for it? Without its head's lock, that may have changed already."""
        return self.boc is not None

    def adopt(self, stobj: StoredObject) -> None:
        self.stobj = stobj
        boc = self.boc
        if boc is not None:
            boc.adopt(stobj)

    @property
    def digest(self) -> bytes:
        return self.objhead.digest

    @property
    def ban_time(self) -> float:
        ban = self.ban
        return 0.0 if ban is None else ban.time

    @property
    def is_transient(self) -> bool:
        """Pass, hit-for-miss or hit-for-pass: the body is for one reader only."""
        return bool(self.flags & OC_TRANSIENT)

    @property
    def is_bare_marker(self) -> bool:
        """Given that all references but one are given back: is that one the expiry's, and the fetch over?

        Asked under the lock of the head. ``EXP_REFD`` is set with the expiry's reference and cleared before the expiry
        gives it back, so it may be missing for a moment in which the answer could be yes, and never the other way.
        """
        return self.boc is None and bool(self.exp_flags & EXP_REFD)

    @property
    def when(self) -> float:
        """The moment after which not even a conditional fetch has a use for the object."""
        return self.t_origin + self.ttl + self.grace + self.keep

    def expires(self, max_ttl: float = 0.0) -> float:
        """The moment the object becomes stale; ``max_ttl``: as a request limits it (``req.ttl``)."""
        ttl = self.ttl
        if 0.0 < max_ttl < ttl:
            ttl = max_ttl
        return self.t_origin + ttl

    def describe(self) -> str:
        """One line for dumps."""
        names = "|".join(flag.name.lower() for flag in OcFlag if self.flags & flag and flag.name) or "none"
        return (
            f"objcore = {id(self):#x} xid = {self.xid} refcount = {self.refcount} flags = {{{names}}} "
            f"t_origin = {self.t_origin:.6f} ttl = {self.ttl:.3f} grace = {self.grace:.3f} keep = {self.keep:.3f} "
            f"boc = {self.boc.state.name if self.boc is not None else 'none'}"
        )
