"""A stored object: response headers, attributes, and the body as a list of pieces.

One thread, the fetch, makes an object grow; any number may read it. Growing goes in two steps so that no lock is held
while room is searched: `reserve` finds the room (and may push other objects out), `append` puts the octets into sight.
While an object has a busy object control, `append` runs under its lock, and so does whatever looks at a growing body.
A complete body never changes again.

Pieces are kept as they arrive, unless they are tiny: a run of tiny pieces is gathered in a buffer of
``fetch_chunksize`` (the *tail*), so that an origin which sends ten octets at a time does not make a million pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.base.compiled import mypyc_attr
from varnishpy.http.message import Header, Message
from varnishpy.params import params
from varnishpy.storage.room import NoSpace, NukeBudget
from varnishpy.storage.source import Piece

if TYPE_CHECKING:
    from varnishpy.storage.prepared import Prepared
    from varnishpy.storage.stevedore import Stevedore

_TINY: Final = 4096  # below this, gathering costs less than a piece of its own


@mypyc_attr(allow_interpreted_subclasses=True)
class StoredObject:
    """See the module text.

    :param stevedore: where it lives
    :param size_hint: octets of headers and attributes
    :param fields: how many headers those are; both decide what is charged to the storage
    :raises NoSpace: not even the headers fit
    """

    __slots__ = (
        "_budget",
        "_charged",
        "_fill",
        "_freed",
        "_staged",
        "_tail",
        "_tiny_before",
        "attrs",
        "chunks",
        "dropped",
        "flags",
        "headers",
        "incomplete",
        "last_modified",
        "length",
        "prepared",
        "stevedore",
        "trailers",
        "unchecked",
    )  # fmt: skip

    def __init__(self, stevedore: Stevedore, size_hint: int = 0, fields: int = 0) -> None:
        self.stevedore = stevedore
        self.headers = Message()
        self.attrs: dict[str, bytes] = {}
        self.flags = 0  # ObjectFlag
        self.last_modified = 0.0
        self.prepared: Prepared | None = None
        self.length = 0
        self.incomplete = False  # its fetch failed half way
        self.trailers: list[Header] | None = None  # fields behind the body, for its only reader; None: not wanted
        self.chunks: list[Piece] = []
        self.dropped = 0  # pieces that were delivered and given back: the first of `chunks` has this number
        self._budget = NukeBudget()
        self._charged = stevedore.object_cost(size_hint, fields)
        self._freed = False
        self._tail: memoryview | None = None
        self._fill = 0
        self._staged: memoryview | None = None
        self._tiny_before = False
        self.unchecked: set[int] | None = None  # pieces that `check` has to look at before they are used
        while not stevedore.charge(self._charged):
            if not stevedore.make_room(self._budget):
                self._freed = True
                raise NoSpace(f"Failed to create object from {stevedore.name} {stevedore.ident}")

    # -- growing ---------------------------------------------------------------------------------------------------

    def extend(self, data: bytes) -> None:
        """Append to the body of an object that nobody else sees yet.

        :raises NoSpace: and the body is as it was before
        """
        if data:
            self.append(data, self.reserve(data))

    def reserve(self, data: bytes) -> list[Piece] | None:
        """Find room for octets; give the answer to `append`. Only the thread that makes the object grow may call it.

        :raises NoSpace: after the LRU could not make room
        """
        size = len(data)
        if size >= _TINY:
            self._tiny_before = False
            return self._keep(data)
        tail = self._tail
        if tail is not None and self._fill + size <= len(tail):
            return None
        if tail is not None or self._tiny_before:
            self._staged = self._new_tail(params.fetch_chunksize)
            return None if self._staged is not None else self._keep(data)
        self._tiny_before = True
        return self._keep(data)

    def append(self, data: bytes, room: list[Piece] | None) -> None:
        """Add what `reserve` found room for. Never fails."""
        self.length += len(data)
        if room is not None:
            self._seal()
            self.chunks.extend(room)
            return
        if self._staged is not None:
            self._seal()
            self._tail, self._staged = self._staged, None
        tail = self._tail
        assert tail is not None
        fill = self._fill
        self._fill = fill + len(data)
        tail[fill : self._fill] = data

    def _seal(self) -> None:
        """The tail is full, a large piece follows, or the body is complete: it becomes a piece like any other."""
        tail = self._tail
        if tail is not None:
            fill = self._fill
            self.chunks.append(self.stevedore.trim(tail, fill) if fill < len(tail) else tail)
            self._tail = None
            self._fill = 0

    def _keep(self, data: bytes) -> list[Piece]:
        if len(data) > params.fetch_maxchunksize:
            return self._keep_halves(data)
        piece = self._store(data)
        while piece is None:
            if len(data) > params.fetch_chunksize:  # there may be room, but not in one stretch
                return self._keep_halves(data)
            if not self.stevedore.make_room(self._budget):
                raise NoSpace("Could not get storage")
            piece = self._store(data)
        return [piece]

    def _store(self, data: bytes) -> Piece | None:
        """The piece that holds octets; ``None``: there is no room for them in one stretch."""
        return self.stevedore.keep(data)

    def _new_tail(self, size: int) -> memoryview | None:
        """An empty piece; ``None``: there is no room."""
        return self.stevedore.buffer(size)

    def _keep_halves(self, data: bytes) -> list[Piece]:
        half = len(data) // 2
        first = self._keep(data[:half])
        try:
            return first + self._keep(data[half:])
        except NoSpace:
            self.stevedore.release(first)
            raise

    # -- reading ---------------------------------------------------------------------------------------------------

    def piece(self, index: int) -> Piece | None:
        """A piece by number, counted from the start of the body; ``None`` when it has not arrived.

        The last one of a growing body may be longer at the next look.
        """
        index -= self.dropped
        if index < len(self.chunks):
            return self.chunks[index] if index >= 0 else b""
        if index == len(self.chunks) and self._tail is not None:
            return self._tail[: self._fill]
        return None

    def is_open(self, index: int) -> bool:
        """May the piece of that number still grow?"""
        return self._tail is not None and index - self.dropped >= len(self.chunks)

    def check(self, index: int) -> bool:
        """Is a piece what was stored? Only asked for those in `unchecked`."""
        return True

    # -- shrinking -------------------------------------------------------------------------------------------------

    def trim(self) -> None:
        """The body grows no more: give the unused end of the tail back."""
        self._seal()

    def drop_before(self, index: int) -> None:
        """Give the pieces before that number back: they were delivered, and nobody else will ask for them."""
        count = min(index - self.dropped, len(self.chunks))
        if count > 0:
            gone = self.chunks[:count]
            del self.chunks[:count]
            self.dropped += count
            self.stevedore.release(gone)

    def slim(self) -> None:
        """Give the body back; headers and attributes stay."""
        self._seal()
        gone, self.chunks = self.chunks, []
        self.dropped += len(gone)
        self.stevedore.release(gone)
        staged, self._staged = self._staged, None
        if staged is not None:
            self.stevedore.release((staged,))
        self.attrs.pop("ESIDATA", None)

    def free(self) -> None:
        """Give everything back; the object must not be used any more."""
        self.slim()
        if not self._freed:
            self._freed = True
            self.stevedore.refund(self._charged)


class ObjectFlag:
    """Bits of `StoredObject.flags`."""

    GZIPED: Final = 1 << 1
    CHGCE: Final = 1 << 2  # Content-Encoding was changed on the way in
    IMSCAND: Final = 1 << 3  # has a validator: candidate for a conditional refetch
    ESIPROC: Final = 1 << 4
