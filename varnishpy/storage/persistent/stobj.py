"""An object whose pieces go to the data file.

While it grows, each piece is at first the octets that arrived, for whoever reads already; the writer replaces it by a
view of the data file once it is written there. Pieces of a long body share runs of a megabyte, so that its row in the
index stays short. After a restart each run is one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base.compiled import mypyc_attr
from varnishpy.storage.core import Core
from varnishpy.storage.object import StoredObject
from varnishpy.storage.persistent.datafile import Run
from varnishpy.storage.persistent.records import Head, encode_head
from varnishpy.storage.room import NoSpace
from varnishpy.storage.source import Piece

if TYPE_CHECKING:
    from varnishpy.storage.persistent.stevedore import PersistentStevedore

_LONG: Final = 256 << 10  # octets from which on a body gets long runs
_RUN: Final = 1 << 20


@mypyc_attr(acyclic=True)
class PersistentObject(StoredObject):
    """See the module text.

    :ivar number: in the index; 0 as long as it is not to be there
    :ivar gone: no lookup finds it any more; under the store's lock
    :ivar torn: a piece could not be written
    :ivar origin: the backend that it came from, if it was there before this process
    :ivar core: its object core, if it was there before this process
    """

    __slots__ = (
        "_handed_on",
        "_places",
        "_run",
        "core",
        "gone",
        "head_run",
        "number",
        "origin",
        "runs",
        "store",
        "torn",
    )

    def __init__(self, store: PersistentStevedore, size_hint: int = 0) -> None:
        self.store = store
        self.number = 0
        self.gone = False
        self.torn = False
        self.origin = ""
        self.core: Core | None = None
        self.runs: list[Run] = []
        self.head_run: Run | None = None
        self._run: Run | None = None  # the last one, if the next piece may stand there too
        self._places: list[tuple[Run, int]] = []  # of each piece
        self._handed_on = 0  # pieces that the writer has been given
        super().__init__(store, size_hint)

    @classmethod
    def thawed(cls, store: PersistentStevedore, number: int, head: Head, runs: list[Run]) -> PersistentObject:
        """An object that was there before this process; its body comes by `show`."""
        stobj = cls(store)
        stobj.number = number
        stobj.origin = head.origin
        stobj.headers, stobj.attrs, stobj.flags = head.headers, head.attrs, head.flags
        stobj.last_modified, stobj.length = head.last_modified, head.length
        stobj.head_run, *stobj.runs = runs
        return stobj

    def show(self, view: Piece) -> None:
        """The next piece of the body of an object that was there before this process."""
        self._pieces().append(view)

    # -- growing -------------------------------------------------------------------------------------------------------

    def _store(self, data: bytes) -> Piece | None:
        size = len(data)
        run = self._run
        if run is None or run.size - run.length < size:
            run = self._next_run(size, _RUN if self.length >= _LONG else 0)
            if run is None:
                return None
            self._run = run
        self._places.append((run, run.length))
        run.length += size
        return data

    def _next_run(self, size: int, wanted: int = 0) -> Run | None:
        if self.torn:
            raise NoSpace("Could not get storage", f"{self.store}: a piece could not be written")
        self._end_run()
        run = self.store.take(size, wanted)
        if run is not None:
            self.runs.append(run)
        return run

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self.store.shrink(run)

    def _new_tail(self, size: int) -> memoryview | None:
        run = self._next_run(size)
        if run is None:
            return None
        run.length = size
        self._places.append((run, 0))
        return memoryview(bytearray(size))

    def append(self, data: bytes, room: list[Piece] | None) -> None:
        super().append(data, room)
        self._hand_on()

    def trim(self) -> None:
        super().trim()
        self._hand_on()

    def _hand_on(self) -> None:
        """Give new pieces to the writer."""
        while self._handed_on < len(self.chunks):
            index = self._handed_on
            self._handed_on += 1
            piece = self.chunks[index]
            run, offset = self._places[index]
            if offset + len(piece) < run.length and run is not self._run and not offset:  # a tail, not quite full
                run.length = len(piece)
                self.store.shrink(run)
            self.store.write_piece(self, index, run, offset)

    def seal(self, origin: str) -> bytes:
        """The object is complete: its head, as it is to be written."""
        self.trim()
        self._end_run()
        self._places = []
        return encode_head(self.headers, self.attrs, self.flags, self.last_modified, self.length, origin)

    def written(self, index: int, piece: Piece, view: Piece) -> None:
        """A piece can be had from the data file from now on."""
        chunks = self._pieces()
        if index < len(chunks) and chunks[index] is piece:
            chunks[index] = view

    def _settle_body(self) -> None:
        """The writer goes on changing pieces for views."""

    # -- reading what was there before ---------------------------------------------------------------------------------

    def check(self, index: int) -> bool:
        unchecked = self.unchecked
        if unchecked is None or index not in unchecked:
            return True
        if not self.store.is_whole(self.runs[index].span):
            self.store.kill(self)
            return False
        unchecked = unchecked - {index}  # never changed, for several may read it
        self.unchecked = unchecked or None
        return True

    # -- shrinking -----------------------------------------------------------------------------------------------------

    def slim(self) -> None:
        super().slim()
        self.chunks = []
        runs, self.runs = self.runs, []
        self._run = None
        for run in runs:
            self.store.let_go(run)

    def free(self) -> None:
        self.store.forget(self)
        super().free()
        self.core = None
        run, self.head_run = self.head_run, None
        if run is not None:
            self.store.let_go(run)
