"""Storage that outlives a restart: ``-s persistent,DIRECTORY,SIZE``; ``deprecated_persistent`` is the same.

The directory holds a data file (bodies and heads, `datafile.py`), an index (`index.py`) and a journal (`journal.py`).
One thread writes (`writer.py`). At the start the index is read, nothing else: the objects are *cold*, and the cache
thaws each when it is first asked for, or in the background (``cache/cold.py``).

Whatever the disk does, the process lives: a directory that cannot be used, or stops being usable, makes this a storage
that takes nothing (`happy` is false, ``SMP.*.c_fail`` counts), and what is damaged is set aside in ``damaged/``.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from varnishpy import log, stats
from varnishpy.base import clock
from varnishpy.base.pidfile import PidFile, PidFileError
from varnishpy.base.units import UnitError, parse_bytes
from varnishpy.log.tag_numbers import ERROR
from varnishpy.storage.core import Core
from varnishpy.storage.figures import publish
from varnishpy.storage.object import StoredObject
from varnishpy.storage.persistent.datafile import DataDamaged, DataFile, Run
from varnishpy.storage.persistent.index import BanRow, Changes, Index, IndexBusy, IndexDamaged
from varnishpy.storage.persistent.journal import Journal
from varnishpy.storage.persistent.records import (
    SPANS,
    HeadError,
    Record,
    Row,
    Span,
    all_spans,
    decode_head,
    in_head,
    unpack_spans,
)
from varnishpy.storage.persistent.stobj import PersistentObject
from varnishpy.storage.persistent.writer import Writer
from varnishpy.storage.room import NoSpace, NukeBudget, StorageError
from varnishpy.storage.source import Piece
from varnishpy.storage.stevedore import Stevedore

OWNER: Final = "owner.pid"  # locked by the manager, all its life
_CHILD: Final = "child.pid"  # locked by the cache process
_SET_ASIDE: Final = ("data", "index.db", "index.db-wal", "index.db-shm")
_AT_ONCE: Final = 1 << 20  # octets of a body that are checked before it is first delivered; the rest, as it is
_LEAST: Final = 1 << 20
_HANDOVER: Final = 5.0  # seconds that the cache process of a manager that was killed may take to notice


class PersistentStevedore(Stevedore):
    """See the module text.

    :param directory: made if it is not there
    :param size: as on the command line
    :param handover: seconds to wait for another process to leave the directory
    :raises ValueError: wrong arguments, with the text for the user
    """

    def __init__(self, ident: str, directory: str = "", size: str = "", *, handover: float = _HANDOVER) -> None:
        super().__init__(ident, "persistent")
        if not directory:
            raise ValueError("(-spersistent) a directory is mandatory")
        if not size:
            raise ValueError("(-spersistent) a size is mandatory")
        try:
            self.size = parse_bytes(size)
        except UnitError as error:
            raise ValueError(f'(-spersistent) size "{size}": {error}') from None
        if self.size < _LEAST:
            raise ValueError(f'(-spersistent) size "{size}": too small, did you forget to specify M or G?')
        self.directory = Path(directory).absolute()
        self._handover = handover
        self.lru.moved = self._note_use
        self.pace = self._pace
        self.threaded = True  # tests do without the writer's thread
        self.cold: list[Row] = []  # what was there at the start, used longest ago first; the cache takes it
        self.bans: list[BanRow] = []
        #: throws away the cold object that was used longest ago; False: there is none. The cache sets it.
        self.evict_cold: Callable[[], bool] | None = None
        #: sees that no lookup finds an object any more. The cache sets it.
        self.expel: Callable[[Core], None] | None = None
        self._lock_file: PidFile | None = None
        self._data: DataFile | None = None
        self._index: Index | None = None
        self._journal: Journal | None = None
        self.writer: Writer | None = None
        self._used: dict[int, float] = {}
        self._next = 1
        self._requests = 0
        self._failures = 0
        self._errors = 0
        self._late = 0
        self._damaged = 0
        self.cold_count: Callable[[], int] = lambda: 0
        self._segment: stats.Collected[stats.SmpName] | None = None

    # -- before the start ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Make the directory. For the manager.

        :raises ValueError: it cannot be made, is something else, or cannot hold so much
        """
        path = self.directory
        if path.exists() and not path.is_dir():
            raise ValueError(
                f'(-spersistent) "{path}" is not a directory: name one, or move away the file that is in its place'
            )
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            room = os.statvfs(path)
        except OSError as error:
            raise ValueError(f'(-spersistent) "{path}" cannot be made: {error.strerror}') from None
        if self.size > room.f_frsize * room.f_blocks:
            raise ValueError(f'(-spersistent) size {self.size}: larger than the file system of "{path}"')

    # -- opening -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """:raises StorageError: another process uses the directory"""
        try:
            self._lock()
            collecting = gc.isenabled()
            gc.disable()  # what is made now stays, and need not be looked at again and again
            try:
                self._load()
            except (DataDamaged, IndexDamaged, HeadError) as damage:
                self._drop_files()
                where = self._put_aside()
                self._say(f"{self.directory} is damaged ({damage}): moved to {where}, the cache begins empty")
                self._load()
            finally:
                if collecting:
                    gc.enable()
        except (OSError, IndexBusy, DataDamaged, IndexDamaged) as error:
            self._drop_files()
            self.cold, self.bans = [], []
            self._errors += 1
            self._say(f"{self.directory} cannot be used ({error}): nothing is stored there until the next start")
        else:
            if self.writer is not None and self.threaded:
                self.writer.start()
        self._segment = stats.collected(stats.SMP, self.ident, self._fill)

    def _lock(self) -> None:
        """Wait for a cache process whose manager was killed; nobody else can have the directory, if not by mistake."""
        deadline = time.monotonic() + self._handover
        while True:
            try:
                self._lock_file = PidFile(self.directory / _CHILD)
                self._lock_file.write()
                return
            except PidFileError as error:
                if not error.taken:
                    raise OSError(f"{_CHILD}: {error}") from None
                if time.monotonic() >= deadline:
                    holder = "another process" if error.holder is None else f"process {error.holder}"
                    raise StorageError(f"(-spersistent) {self.directory} is in use by {holder}") from None
            time.sleep(0.02)

    def _load(self) -> None:
        """Open the files, and read the index."""
        self._data = data = DataFile(self.directory / "data", self.size)
        self._index = index = Index(self.directory / "index.db", data.label)
        self._journal = Journal(self.directory)
        replay = self._journal.replay()
        if replay.broken:
            self._say(f"{replay.broken} lines of the journal are not whole: what they said is forgotten")
        index.commit(replay.changes)
        self.cold = index.objects(clock.now())
        self.bans = index.bans()
        taken = all_spans(row[SPANS] for row in self.cold)
        end = min(data.readable, data.size)
        if taken and sum(taken[-1]) > end:
            taken = self._drop_beyond(end)
        data.lay_out(taken)
        data.shorten()
        self._next = max(replay.highest, max((row[0] for row in self.cold), default=0)) + 1
        self.writer = Writer(self, data, index, self._journal, Changes())

    def _drop_beyond(self, end: int) -> list[tuple[int, int]]:
        """The storage is smaller than it was: forget what lies beyond. Returns start and length of what stays."""
        assert self._index is not None
        gone = Changes()
        kept: list[Row] = []
        for row in self.cold:
            if any(span.start + span.length > end for span in unpack_spans(row[SPANS])):
                gone.gone.append(row[0])
            else:
                kept.append(row)
        self._index.commit(gone)
        self.cold = kept
        return all_spans(row[SPANS] for row in kept)

    def _drop_files(self) -> None:
        """Close what is open, after a failure."""
        self.writer = None
        self.cold = []
        if self._journal is not None:
            self._journal.close()
        if self._index is not None:
            self._index.close()
        if self._data is not None:
            self._data.close()
        self._journal = self._index = self._data = None

    def _put_aside(self) -> Path:
        """Move everything to ``damaged/``, in place of what is there."""
        where = self.directory / "damaged"
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(mode=0o700)
        names = [*_SET_ASIDE, *(path.name for path in self.directory.glob("journal.*"))]
        for name in names:
            path = self.directory / name
            if path.exists():
                path.rename(where / name)
        self._damaged += 1
        return where

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
        writer, self.writer = self.writer, None
        if writer is None or writer.stop():
            self._drop_files()
        if self._lock_file is not None:
            self._lock_file.remove()
            self._lock_file = None

    def _say(self, text: str) -> None:
        text = f"storage.{self.ident}: {text}"
        log.vsl(ERROR, 0, text)
        print(text, flush=True)

    # -- counters ------------------------------------------------------------------------------------------------------

    def _fill(self, counters: stats.Counters[stats.SmpName]) -> None:
        data, writer = self._data, self.writer
        used, freed, allocations = data.count() if data is not None else (0, 0, 0)
        publish(
            counters,
            requests=self._requests,
            failures=self._failures,
            used=used,
            freed=freed,
            allocations=allocations,
        )
        counters.set("g_space", self.free_space)
        counters.set("g_cold", self.cold_count())
        counters.set("g_backlog", writer.backlog if writer is not None else 0)
        counters.set("c_late", self._late)
        counters.set("c_error", self._errors)
        counters.set("c_damaged", self._damaged)
        counters.set("c_unlogged", writer.unlogged if writer is not None else 0)
        counters.set("c_commit", writer.commits if writer is not None else 0)
        counters.set("c_written", writer.written if writer is not None else 0)

    @property
    def used_space(self) -> int:
        return self._data.count()[0] if self._data is not None else 0

    @property
    def free_space(self) -> int:
        return self._data.space if self._data is not None else 0

    @property
    def happy(self) -> bool:
        return self.writer is not None and not self.writer.resting

    # -- new objects ---------------------------------------------------------------------------------------------------

    def new_object(self, oc: Core, size_hint: int = 0, fields: int = 0) -> PersistentObject:
        """:raises NoSpace: also when the disk fails, or too much is waiting to be written"""
        writer = self.writer
        if writer is None or writer.resting or writer.congested:
            self._requests += 1
            self._failures += 1
            if writer is not None and writer.congested:
                self._late += 1
            raise NoSpace(f"Failed to create object from {self.name} {self.ident}")
        stobj = PersistentObject(self, size_hint)
        oc.adopt(stobj)
        stats.main.inc("n_object")
        return stobj

    def take(self, size: int, wanted: int = 0) -> Run | None:
        """Room for a piece; ``None``: there is none."""
        self._requests += 1
        run = self._data.take(size, wanted) if self._data is not None else None
        if run is None:
            self._failures += 1
        return run

    def shrink(self, run: Run) -> None:
        """Give back what a run has too much."""
        if self._data is not None:
            self._data.shrink(run)

    def let_go(self, run: Run) -> None:
        """The object of a run is gone."""
        if self._data is not None:
            self._data.let_go(run)

    def write_piece(self, stobj: PersistentObject, index: int, run: Run, offset: int) -> None:
        """Have a piece written some time."""
        if self.writer is not None:
            self.writer.write_piece(stobj, index, run, offset)

    def make_room(self, budget: NukeBudget) -> bool:
        if not budget.spend():
            return False
        evict = self.evict_cold
        if evict is not None and evict():
            stats.main.inc("n_lru_nuked")
            return True
        return self.lru.nuke_one()

    def keep(self, data: bytes) -> Piece | None:
        return None  # pieces of objects are placed by the objects themselves, and there are no others

    def buffer(self, size: int) -> memoryview | None:
        """For request bodies of HTTP/2, which are not to outlive anything: on the heap."""
        return memoryview(bytearray(size))

    def trim(self, piece: memoryview, used: int) -> Piece:
        return bytes(piece[:used])

    def release(self, pieces: Iterable[Piece]) -> None:
        """Nothing to do: an extent is free when its object has gone and its last view too."""

    def _pace(self, resume: Callable[[], None]) -> bool:
        writer = self.writer
        return writer is None or writer.pace(resume)

    def completed(self, oc: Core, now: float, lasting: bool) -> None:
        stobj = oc.stobj
        if lasting and isinstance(stobj, PersistentObject) and not stobj.gone:
            self._record(oc, stobj)
        super().completed(oc, now, lasting)

    def _record(self, oc: Core, stobj: PersistentObject) -> None:
        writer = self.writer
        if writer is None:
            return
        head = stobj.seal(oc.origin)
        budget = NukeBudget()
        run = self.take(len(head))
        while run is None:
            if not self.make_room(budget):
                self.kill_core(oc)
                return
            run = self.take(len(head))
        run.length = len(head)
        self.shrink(run)
        stobj.head_run = run
        with writer.cond:
            if stobj.gone:
                return
            stobj.number = self._next
            self._next += 1
        writer.complete(stobj, oc, head)

    # -- objects that change or go -------------------------------------------------------------------------------------

    def forget(self, stobj: StoredObject) -> None:
        writer = self.writer
        if not isinstance(stobj, PersistentObject) or stobj.gone or writer is None:
            return
        with writer.cond:
            if stobj.gone:
                return
            stobj.gone = True
            if stobj.number:
                writer.gone(stobj.number)

    def rearmed(self, oc: Core) -> None:
        stobj = oc.stobj
        writer = self.writer
        if not isinstance(stobj, PersistentObject) or writer is None:
            return
        with writer.cond:
            if stobj.number and not stobj.gone:
                writer.times(oc, stobj.number)

    def kill(self, stobj: PersistentObject) -> None:
        """A piece is not what was written: the object must not be found any more."""
        self._damaged += 1
        self._say(f"object {stobj.number} is damaged: it leaves the cache")
        self.forget(stobj)
        if stobj.core is not None:
            self.kill_core(stobj.core)

    def kill_core(self, oc: Core) -> None:
        if self.expel is not None:
            self.expel(oc)

    def failed(self, text: str) -> None:
        self._errors += 1
        if self.writer is not None and not self._errors & (self._errors - 1):  # each is counted, few are told
            self._say(f"cannot write {text} (error {self._errors})")

    def _note_use(self, oc: Core, now: float) -> None:
        stobj = oc.stobj
        if isinstance(stobj, PersistentObject) and stobj.number:
            self._used[stobj.number] = now

    def take_used(self) -> list[tuple[float, int]]:
        used, self._used = self._used, {}
        return [(moment, number) for number, moment in list(used.items())]

    # -- what was there before -----------------------------------------------------------------------------------------

    def thaw(self, record: Record) -> PersistentObject | None:
        """The object of a cold record; ``None``: it is not what was written."""
        data = self._data
        if data is None:
            return None
        spans = unpack_spans(record.spans)
        octets = data.read(spans[0])
        if octets is None:
            return None
        try:
            head = decode_head(octets)
        except HeadError:
            return None
        if sum(span.length for span in spans[1:]) != head.length:
            return None
        stobj = PersistentObject.thawed(self, record.number, head, [data.adopt(span) for span in spans])
        unchecked: set[int] = set()
        seen = 0
        for index, run in enumerate(stobj.runs):
            seen += run.length
            if seen > _AT_ONCE and index:
                unchecked.add(index)
            elif data.read(run.span) is None:
                return None
            window = data.window(run)
            if window is None:
                return None
            stobj.show(window[: run.length])
        stobj.unchecked = unchecked or None
        stobj.settle()
        return stobj

    def damaged_record(self, record: Record) -> None:
        """Count a cold object that could not be thawed."""
        self._damaged += 1
        self._say(f"object {record.number} is damaged: it is not used")

    def is_whole(self, span: Span) -> bool:
        """Is a piece as it was written?"""
        return self._data is not None and self._data.read(span) is not None

    def dismiss(self, record: Record) -> None:
        """A cold object is not needed any more."""
        writer, data = self.writer, self._data
        if writer is None or data is None:
            return
        with writer.cond:
            writer.gone(record.number)
        for span in unpack_spans(record.spans):
            data.free_span(span)

    def mentions(self, record: Record, texts: Iterable[str]) -> bool:
        """Does one of the texts stand in the head of a cold object?"""
        data = self._data
        return data is not None and data.find(unpack_spans(record.spans)[0], [in_head(text) for text in texts])

    # -- bans ----------------------------------------------------------------------------------------------------------

    def ban_added(self, time: float, moment: float, words: list[str]) -> None:
        """There is a new ban."""
        if self.writer is not None:
            self.writer.ban((time, moment, words))

    def ban_gone(self, time: float) -> None:
        """A ban is not needed any more."""
        if self.writer is not None:
            self.writer.ban_gone(time)
