"""The writer: the one thread that writes to a persistent storage's data file and index.

Whoever has something to be written leaves it here and goes on; nobody but this thread waits for the disk. It works in
rounds, each with all that has come meanwhile, in this order:

1. what has gone and changed is committed to the index. Only then may the extents of what has gone be written anew;
2. pieces are written to the data file;
3. the data file is synced;
4. the objects that are complete now are committed to the index.

So at any moment a process may die or the power fail: what the index knows is in the data file, whole.

What waits to be written is limited (`BACKLOG`). A fetch of a long body that is ahead of the disk pauses (`pace`), new
objects are refused. When the disk refuses something, the objects in question leave the cache, and no new ones are taken
for some seconds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from varnishpy.base import clock
from varnishpy.base.locks import make_condition
from varnishpy.storage.core import Core
from varnishpy.storage.persistent import journal as lines
from varnishpy.storage.persistent.datafile import DataFile, Run
from varnishpy.storage.persistent.index import BanRow, Changes, Index, IndexFailed
from varnishpy.storage.persistent.journal import Journal, Line
from varnishpy.storage.persistent.records import Record, pack_spans
from varnishpy.storage.persistent.stobj import PersistentObject

BACKLOG: Final = 32 << 20  # octets that may wait to be written
_GATHER: Final = 0.05  # seconds between rounds while little is to be done
_REST: Final = 5.0  # seconds without new objects after the disk has refused something
_USED: Final = 10.0  # seconds between two notes of when objects were used
_PATIENCE: Final = 2.5  # seconds that the end may take


class Owner(Protocol):
    """What the writer needs of its storage."""

    def take_used(self) -> list[tuple[float, int]]:
        """When which objects were used, since the last call."""
        ...

    def failed(self, text: str) -> None:
        """The disk has refused something."""
        ...

    def kill_core(self, oc: Core) -> None:
        """An object could not be stored."""
        ...


class _Piece:
    """A piece of a body, or a head, to be written."""

    __slots__ = ("index", "octets", "offset", "run", "stobj")

    def __init__(self, stobj: PersistentObject, index: int, run: Run, offset: int) -> None:
        self.stobj = stobj
        self.index = index
        self.run = run
        self.offset = offset
        self.octets = stobj.chunks[index]


class _Complete:
    """An object all of whose pieces have come."""

    __slots__ = ("head", "oc", "stobj")

    def __init__(self, stobj: PersistentObject, oc: Core, head: bytes) -> None:
        self.stobj = stobj
        self.oc = oc
        self.head = head


class Writer:
    """See the module text. Thread safe.

    :param base: what is to be changed in the index at the beginning
    """

    def __init__(self, owner: Owner, data: DataFile, index: Index, journal: Journal, base: Changes) -> None:
        self._owner = owner
        self._data = data
        self._index = index
        self._journal = journal
        self.cond = make_condition("smp_writer")  # guards what follows
        self._queue: deque[_Piece | _Complete] = deque()
        self._changes = base
        self.backlog = 0
        self._paused: list[Callable[[], None]] = []
        self._stopping = False
        self._rests_until = 0.0
        self.unlogged = 0  # lines that the journal could not take
        # of the thread
        self._next_used = clock.mono() + _USED
        self._first_journal = 0
        self.commits = 0
        self.written = 0
        self.thread = threading.Thread(target=self._run, name="smp-writer", daemon=True)

    def start(self) -> None:
        self.thread.start()

    # -- other threads -------------------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Is so much waiting to be written that no new objects should come?"""
        return self.backlog >= BACKLOG

    @property
    def resting(self) -> bool:
        """Has the disk refused something a moment ago?"""
        return self._rests_until > clock.mono()

    def write_piece(self, stobj: PersistentObject, index: int, run: Run, offset: int) -> None:
        """Have a piece of a body written."""
        self._put(_Piece(stobj, index, run, offset), len(stobj.chunks[index]))

    def complete(self, stobj: PersistentObject, oc: Core, head: bytes) -> None:
        """Have an object recorded, all of whose pieces the writer was given."""
        self._put(_Complete(stobj, oc, head), len(head))

    def _put(self, work: _Piece | _Complete, size: int) -> None:
        with self.cond:
            self.backlog += size
            self._queue.append(work)
            if len(self._queue) == 1:
                self.cond.notify()

    def pace(self, resume: Callable[[], None]) -> bool:
        """May a body go on? False: not now; ``resume`` is called, perhaps at once, when half of it is written."""
        if self.backlog < BACKLOG:
            return True
        with self.cond:
            if self.backlog < BACKLOG or self._stopping:
                return True
            self._paused.append(resume)
            return False

    def gone(self, number: int) -> None:
        """An object must not come back; the lock is held."""
        self._changes.gone.append(number)
        self._note(lines.gone(number))

    def times(self, oc: Core, number: int) -> None:
        """An object has other times now; the lock is held."""
        self._changes.times.append((oc.t_origin, oc.ttl, oc.grace, oc.keep, number))
        self._note(lines.times(number, oc.t_origin, oc.ttl, oc.grace, oc.keep))

    def ban(self, row: BanRow) -> None:
        """There is a new ban."""
        with self.cond:
            self._changes.bans.append(row)
            self._note(lines.ban(row))

    def ban_gone(self, time: float) -> None:
        """A ban is not needed any more."""
        with self.cond:
            self._changes.bans_gone.append(time)
            self._note(lines.ban_gone(time))

    def _note(self, line: Line) -> None:
        """Into the journal, and have it committed; the lock is held."""
        try:
            self._journal.write(line)
        except OSError:
            self.unlogged += 1  # the writer will have it in the index as soon as the disk takes it
        if len(self._changes.gone) < 2:
            self.cond.notify()

    def stop(self) -> bool:
        """Write what is waiting, and end; False: the disk does not let us, and the thread is still there."""
        with self.cond:
            self._stopping = True
            self.cond.notify()
        self.thread.join(_PATIENCE)
        return not self.thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self.round(wait=True):
            pass

    def round(self, wait: bool = False) -> bool:
        """One round; for the thread, and for tests without it. False once stopped and nothing is left to be done."""
        with self.cond:
            if wait and not self._stopping:
                if not self._queue and not self._changes:
                    self.cond.wait(max(0.0, self._next_used - clock.mono()))
                if self.backlog < BACKLOG // 4 and not self._stopping:
                    self.cond.wait(_REST if self.resting else _GATHER)
            queue, self._queue = self._queue, deque()
            changes, self._changes = self._changes, Changes()
            stopping = self._stopping
            first_journal = self._journal_turn()
        if stopping or clock.mono() >= self._next_used:
            changes.used.extend(self._owner.take_used())
            self._next_used = clock.mono() + _USED
        ready = self._commit(changes, first_journal) if changes else True
        self._write(queue, ready)
        with self.cond:
            left = bool(self._queue)
            paused: list[Callable[[], None]] = []
            if self._paused and (self.backlog * 2 <= BACKLOG or self._stopping):
                paused, self._paused = self._paused, []
        for resume in paused:
            resume()
        return left or not stopping

    def _journal_turn(self) -> int:
        try:
            return self._journal.turn()
        except OSError:
            return self._first_journal  # no room for a new file: go on with the old one

    def _commit(self, changes: Changes, first_journal: int) -> bool:
        """What has gone and changed. False: not yet, it has to be tried again."""
        try:
            self._index.commit(changes)
        except IndexFailed as error:
            self._refused(f"the index: {error}")
            with self.cond:
                changes.add(self._changes)
                self._changes = changes
            return False
        self.commits += 1
        if first_journal > self._first_journal:
            try:
                self._journal.forget(first_journal)
            except OSError as fault:
                self._refused(f"the journal: {fault.strerror}")
            self._first_journal = first_journal
        return True

    def _write(self, queue: deque[_Piece | _Complete], ready: bool) -> None:
        complete: list[_Complete] = []
        while queue:
            work = queue.popleft()
            if not ready:
                work.stobj.torn = True
            if isinstance(work, _Piece):
                self._write_piece(work)
                size = len(work.octets)
            else:
                self._write_head(work)
                complete.append(work)
                size = len(work.head)
            with self.cond:
                self.backlog -= size
        if complete:
            self._record(complete)

    def _write_piece(self, work: _Piece) -> None:
        stobj = work.stobj
        if stobj.torn or not stobj.runs:  # no runs: it has gone meanwhile
            return
        try:
            self._data.write(work.run, work.offset, work.octets)
        except OSError as error:
            stobj.torn = True
            self._refused(f"the data file: {error.strerror}")
            return
        self.written += len(work.octets)
        window = self._data.window(work.run)
        if window is not None:
            stobj.written(work.index, work.octets, window[work.offset : work.offset + len(work.octets)])

    def _write_head(self, work: _Complete) -> None:
        stobj = work.stobj
        run = stobj.head_run
        if stobj.torn or stobj.gone or run is None:
            return
        try:
            self._data.write(run, 0, work.head)
        except OSError as error:
            stobj.torn = True
            self._refused(f"the data file: {error.strerror}")
        self.written += len(work.head)

    def _record(self, complete: list[_Complete]) -> None:
        changes = Changes()
        for work in complete:
            record = None if work.stobj.torn else self._row(work.stobj, work.oc)
            if record is not None:
                changes.new.append(record)
        if changes:
            try:
                self._data.sync()
                self._index.commit(changes)
                self.commits += 1
            except OSError as error:
                self._refused(f"the data file: {error.strerror}")
                self._give_up(complete)
            except IndexFailed as failure:
                self._refused(f"the index: {failure}")
                self._give_up(complete)
        for work in complete:
            if work.stobj.torn and not work.stobj.gone:
                self._owner.kill_core(work.oc)

    def _row(self, stobj: PersistentObject, oc: Core) -> Record | None:
        """What the index is to know of an object; ``None`` if it has gone."""
        with self.cond:
            head, runs = stobj.head_run, list(stobj.runs)
            if stobj.gone or head is None:
                return None
        spans = pack_spans(run.span for run in (head, *runs))
        used = oc.last_lru or clock.now()
        return Record(
            stobj.number, oc.digest, oc.t_origin, oc.ttl, oc.grace, oc.keep, oc.flags, oc.xid, oc.ban_time, used, spans
        )  # fmt: skip

    @staticmethod
    def _give_up(complete: list[_Complete]) -> None:
        for work in complete:
            work.stobj.torn = True

    def _refused(self, text: str) -> None:
        self._rests_until = clock.mono() + _REST
        self._owner.failed(text)
