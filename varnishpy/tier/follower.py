"""Following the log of invalidations: the thread that applies on this node what was invalidated on any.

Each round reads what is new, applies it in order, and looks whether anything has been missed:

* the log was trimmed behind our back: a *gap*;
* the engine knows less than we have seen (it was restarted empty, or with old data): its counter is behind, or it lacks
  the record that we read last or one that we have appended since. It is *repaired*, so that no object from before can
  be found, and all nodes are told;
* the log cannot be read for ``tier_max_lag``: the node is *blind*. What it has becomes stale, and what it fetches does
  so soon, until it can read again.

Gap and loss make everything stale (``tier_gap_purge``).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from varnishpy import log, stats
from varnishpy.base import clock
from varnishpy.base.panic import Panic
from varnishpy.cache.ban_spec import BanError
from varnishpy.log.tag_numbers import ERROR
from varnishpy.params import params
from varnishpy.tier.errors import BadRecord, TierError
from varnishpy.tier.position import START, Position, PositionFile, order
from varnishpy.tier.record import ALL, Invalidation, decode_invalidation

if TYPE_CHECKING:
    from collections.abc import Callable

    from varnishpy.stats.names import TierName
    from varnishpy.tier.applying import Applier
    from varnishpy.tier.clockwork import Clockwork
    from varnishpy.tier.store import Facts, Store

_WAIT: Final = 0.5  # seconds that a round waits for something new
_PAUSE: Final = 0.2  # seconds after a round that failed
_HOUSEKEEPING: Final = 1.0  # seconds between reports, measurements of the clock, and writing the position down
_MOST: Final = 64  # ids of ours that are looked for in the log
SETTLE: Final = 1.0  # seconds after a round that failed in which other nodes may notice what the engine has lost
_BURY: Final = 3600.0  # seconds after which a node that does not report is forgotten


class Follower:
    """See the module text. All but `stop` is for one thread at a time."""

    def __init__(
        self,
        store: Store,
        node: str,
        applier: Applier,
        times: Clockwork,
        counters: stats.Counters[TierName],
        file: PositionFile,
        flush: Callable[[], None],
        settle: float = SETTLE,
    ) -> None:
        self._store = store
        self._node = node
        self._applier = applier
        self._times = times
        self._counters = counters
        self._file = file
        self._settle = settle
        self._settled_at = 0.0
        self._flush = flush  # sends what could not be sent while the engine was away
        self._own: set[int] = set()  # numbers of our invalidations that were applied at home already
        self._appended: deque[bytes] = deque(maxlen=_MOST)  # ids of ours that were not read in the log yet
        self._own_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_chores = 0.0
        self._bans_read = False
        self._last_error = ""
        self.position: Position = file.load()
        self.heard = clock.mono()  # when the log was last read to its end
        self.current = False  # has it ever been?
        self.blind = False

    # -- what others see -------------------------------------------------------------------------------------------

    @property
    def lag(self) -> float:
        """Seconds since the log was last read to its end."""
        return clock.mono() - self.heard

    @property
    def is_settled(self) -> bool:
        """Can what the engine has be trusted? After an outage it may have lost purges of which others must tell it."""
        return clock.mono() >= self._settled_at

    def has_seen(self, name: bytes) -> bool:
        """Has the record of that id been applied?"""
        return order(self.position.at) >= order(name)

    def own(self, number: int) -> None:
        """That invalidation of ours is applied at home by who made it: not once more when we read it."""
        with self._own_lock:
            self._own.add(number)

    def note_appended(self, name: bytes) -> None:
        """The log has acknowledged a record of ours: it must have it from now on."""
        with self._own_lock:
            self._appended.append(name)

    def _known(self) -> list[bytes]:
        """Ids of records that the log must have, unless they were trimmed."""
        at = self.position.at
        with self._own_lock:
            while self._appended and order(self._appended[0]) <= order(at):
                self._appended.popleft()
            return [*self._appended] if at == START else [at, *self._appended]

    def note_number(self, number: int) -> None:
        """The highest number that anybody here has seen."""
        if number > self.position.number:
            self.position.number = number

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self, patience: float) -> None:
        """Catch up, for so many seconds at most, then follow on a thread of its own."""
        deadline = clock.mono() + patience
        while not self.current and clock.mono() < deadline:
            if not self.round(0.0):
                break
        self._thread = threading.Thread(target=self._run, name="tier-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; write down how far it came."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._file.keep(self.position)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                fine = self.round(_WAIT)
            except Panic:
                raise
            except Exception as exc:  # a defect: without this thread the node would go blind without a word
                log.vsl(ERROR, 0, f"tier: {type(exc).__name__}: {exc}")
                fine = False
            if not fine:
                self._stopping.wait(_PAUSE)

    # -- a round ---------------------------------------------------------------------------------------------------

    def round(self, wait: float) -> bool:
        """Read and apply what is new; False if the engine could not be asked."""
        try:
            self._read(wait)
        except TierError as exc:
            self._failed(str(exc))
            return False
        self._last_error = ""
        return True

    def _failed(self, why: str) -> None:
        self._settled_at = clock.mono() + self._settle
        if why != self._last_error:
            self._last_error = why
            log.vsl(ERROR, 0, f"tier: cannot follow the log: {why}")
        if not self.blind and self.lag > params.tier_max_lag:
            self.blind = True
            self._counters.inc("blind")
            log.vsl(ERROR, 0, "tier: blind: nothing here is trusted until the log can be read")
            self._applier.apply(Invalidation(ALL))

    def _read(self, wait: float, repaired: bool = False) -> None:
        before = self.position.at
        asked = clock.mono()
        entries = self._store.follow(before, wait)
        facts = self._store.facts(self._known())
        if self._is_lost(facts) or self._was_repaired(facts):
            if repaired:
                raise TierError("the engine loses what it is told")
            self._read(0.0, repaired=True)
            return
        if order(facts.trimmed) > order(before) != order(START):
            self._gap(f"records up to {facts.trimmed.decode('latin-1')} are not there any more")
        self._read_bans()
        for name, value in entries:
            self._apply(value)
            self.position.at = name
        self.note_number(facts.number)
        if entries or clock.mono() >= self._next_chores:
            self._chores(bool(entries))
        # what was read was the end of the log at a moment not before this round began
        self.heard = asked if entries else clock.mono()
        self.current = self.current or not entries
        if self.blind:
            self.blind = False
            log.vsl(ERROR, 0, "tier: the log can be read again")

    def _is_lost(self, facts: Facts) -> bool:
        """Does the engine know less than we? Then it is repaired, and read again from the start."""
        if facts.number >= self.position.number and not facts.missing:
            return False
        what = f"{len(facts.missing)} records" if facts.missing else f"{facts.number} < {self.position.number}"
        log.vsl(ERROR, 0, f"tier: the engine has lost invalidations ({what})")
        self._counters.inc("gaps")
        self._begin_anew(self._store.repair(self.position.number, bool(facts.missing)))
        return True

    def _was_repaired(self, facts: Facts) -> bool:
        """Has another node done so? Ids may have begun anew, by a clock that is behind the one before."""
        if facts.floor <= self.position.floor:
            return False
        if self.position.at == START:
            self.position.floor = facts.floor
            return False
        self._gap("the engine had lost some")
        self._begin_anew(facts)
        return True

    def _begin_anew(self, facts: Facts) -> None:
        self.position.at = START
        self.position.floor = facts.floor
        with self._own_lock:
            self._appended.clear()
        self._bans_read = False
        self.note_number(facts.number)

    def _gap(self, why: str) -> None:
        self._counters.inc("gaps")
        log.vsl(ERROR, 0, f"tier: invalidations were missed: {why}")
        if params.tier_gap_purge:
            self._applier.apply(Invalidation(ALL))

    def _read_bans(self) -> None:
        """Bans from before our time: objects of the engine may be older than they are."""
        if self._bans_read:
            return
        at = START
        while entries := self._store.bans(at):
            for name, value in entries:
                at = name
                try:
                    self._applier.note(decode_invalidation(value))
                except (BadRecord, BanError) as exc:
                    self._unreadable(exc)
        self._bans_read = True

    def _apply(self, value: bytes) -> None:
        try:
            invalidation = decode_invalidation(value)
            with self._own_lock:
                own = invalidation.number in self._own and invalidation.node == self._node
                self._own.discard(invalidation.number)
            if not own:
                if invalidation.kind != ALL or params.tier_gap_purge:
                    self._applier.apply(invalidation)
                self._counters.inc("applied")
        except (BadRecord, BanError) as exc:
            self._unreadable(exc)
            return
        self.note_number(invalidation.number)

    def _unreadable(self, exc: Exception) -> None:
        """A record of another version of us, or damaged: whatever it says, it may say it of anything."""
        self._counters.inc("corrupt")
        self._gap(str(exc))

    def _chores(self, applied: bool) -> None:
        now = clock.mono()
        if applied:
            self._store.report(self._node, self.position.at)
        if now < self._next_chores:
            return
        self._next_chores = now + _HOUSEKEEPING
        self._times.measure(self._store)
        self._flush()
        if not applied:
            self._store.report(self._node, self.position.at)
        self._file.keep(self.position)
        there = self._times.now_there()
        for node, (_, moment) in self._store.nodes().items():
            if there - moment > _BURY:
                self._store.forget_node(node)
