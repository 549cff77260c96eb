"""A stored object: response headers, attributes, and the body as a list of pieces.

One thread, the fetch, makes an object grow; any number may read it. Growing goes in two steps so that no lock is held
while room is searched: `reserve` finds the room (and may push other objects out), `append` puts the octets into sight.
While an object has a busy object control, `append` runs under its lock, and so does whatever looks at a growing body.
A complete body never changes again.

Pieces are kept as they arrive, unless they are tiny: a run of tiny pieces is gathered in a buffer of
``fetch_chunksize`` (the *tail*), so that an origin which sends ten octets at a time does not make a million pieces.

Once its fetch is over an object is *at rest* (`settle`): what growing needs is gone, its head is packed (`shape.py`),
and what is empty is shared with all others. A cache holds millions of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from varnishpy.base.compiled import mypyc_attr
from varnishpy.base.panic import present
from varnishpy.http.message import Header, Message
from varnishpy.params import params
from varnishpy.storage.room import NoSpace, NukeBudget
from varnishpy.storage.shape import Shape, pack
from varnishpy.storage.source import Piece

if TYPE_CHECKING:
    from varnishpy.storage.prepared import Prepared
    from varnishpy.storage.stevedore import Stevedore

_TINY: Final = 4096  # below this, gathering costs less than a piece of its own
_NO_ATTRS: Final[dict[str, bytes]] = {}  # of all objects at rest that have none; never written to


class Growth:
    """What an object needs while it grows."""

    __slots__ = ("budget", "fill", "staged", "tail", "tiny_before")

    def __init__(self) -> None:
        self.budget = NukeBudget()
        self.tail: memoryview | None = None
        self.fill = 0
        self.staged: memoryview | None = None
        self.tiny_before = False


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class StoredObject:
    """See the module text.

    :param stevedore: where it lives
    :param size_hint: octets of headers and attributes
    :param fields: how many headers those are; both decide what is charged to the storage
    :raises NoSpace: not even the headers fit
    """

    __slots__ = (
        "_charged",
        "_growth",
        "_message",
        "_shape",
        "_values",
        "attrs",
        "chunks",
        "dropped",
        "flags",
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
        self._message: Message | None = Message()  # None: the head is packed
        self._shape: Shape | None = None
        self._values = ""
        self.attrs: dict[str, bytes] = {}  # not to be written to once the object is at rest
        self.flags = 0  # ObjectFlag
        self.last_modified = 0.0
        self.prepared: Prepared | None = None
        self.length = 0
        self.incomplete = False  # its fetch failed half way
        self.trailers: list[Header] | None = None  # fields behind the body, for its only reader; None: not wanted
        self.chunks: Sequence[Piece] = []  # a list while the object grows
        self.dropped = 0  # pieces that were delivered and given back: the first of `chunks` has this number
        self.unchecked: set[int] | None = None  # pieces that `check` has to look at before they are used
        growth = Growth()
        self._growth: Growth | None = growth
        self._charged = 0  # 0: nothing, or given back
        charge = stevedore.object_cost(size_hint, fields)
        while not stevedore.charge(charge):
            if not stevedore.make_room(growth.budget):
                raise NoSpace(f"Failed to create object from {stevedore.name} {stevedore.ident}")
        self._charged = charge

    # -- head ------------------------------------------------------------------------------------------------------

    @property
    def headers(self) -> Message:
        """First line and headers. Of an object at rest it is made when it is asked for, and not to be changed."""
        message = self._message
        if message is not None:
            return message
        prepared = self.prepared
        if prepared is not None:
            return prepared.stored
        return present(self._shape, "a head is packed or not").unpack(self._values)

    @headers.setter
    def headers(self, message: Message) -> None:
        self._message = message

    def header(self, lname: str) -> str | None:
        """The first value of a header, by lower-case name; does not unpack the head."""
        message = self._message
        if message is not None:
            return message.get(lname)
        return present(self._shape, "a head is packed or not").first(self._values, lname)

    @property
    def status(self) -> int:
        """Of the first line; does not unpack the head."""
        message = self._message
        return present(self._shape, "a head is packed or not").status if message is None else message.status

    def settle(self) -> None:
        """The object is complete and stays: from now on it takes as little as it can. Any number may be reading it."""
        message = self._message
        if message is not None:
            packed = pack(message)
            if packed is not None:
                self._shape, self._values = packed
                self._message = None  # last: who finds it gone finds the others
        if not self.attrs:
            self.attrs = _NO_ATTRS
        self._seal()
        self._growth = None
        self._settle_body()

    def _settle_body(self) -> None:
        self.chunks = tuple(self.chunks)

    # -- growing ---------------------------------------------------------------------------------------------------

    def expect(self, length: int) -> None:
        """A body is about to be fetched; how many octets were announced, 0 if that is not known.

        :raises NoSpace: there is not even room to begin
        """

    def add_attributes(self, attrs: dict[str, bytes]) -> None:
        """Keep what processors found out about the body.

        :raises NoSpace:
        """
        self.attrs.update(attrs)

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
        growth = present(self._growth, "only what grows needs room")
        size = len(data)
        if size >= _TINY:
            growth.tiny_before = False
            return self._keep(data)
        tail = growth.tail
        if tail is not None and growth.fill + size <= len(tail):
            return None
        if tail is not None or growth.tiny_before:
            growth.staged = self._new_tail(params.fetch_chunksize)
            return None if growth.staged is not None else self._keep(data)
        growth.tiny_before = True
        return self._keep(data)

    def append(self, data: bytes, room: list[Piece] | None) -> None:
        """Add what `reserve` found room for. Never fails."""
        self.length += len(data)
        if room is not None:
            self._seal()
            self._pieces().extend(room)
            return
        growth = present(self._growth, "only what grows is appended to")
        if growth.staged is not None:
            self._seal()
            growth.tail, growth.staged = growth.staged, None
        tail = growth.tail
        assert tail is not None
        fill = growth.fill
        growth.fill = fill + len(data)
        tail[fill : growth.fill] = data

    def _pieces(self) -> list[Piece]:
        """The pieces of an object that is not at rest."""
        pieces = self.chunks
        assert isinstance(pieces, list)
        return pieces

    def _seal(self) -> None:
        """The tail is full, a large piece follows, or the body is complete: it becomes a piece like any other."""
        growth = self._growth
        if growth is not None and growth.tail is not None:
            tail = growth.tail
            fill = growth.fill
            self._pieces().append(self.stevedore.trim(tail, fill) if fill < len(tail) else tail)
            growth.tail = None
            growth.fill = 0

    def _keep(self, data: bytes) -> list[Piece]:
        if len(data) > params.fetch_maxchunksize:
            return self._keep_halves(data)
        piece = self._store(data)
        while piece is None:
            if len(data) > params.fetch_chunksize:  # there may be room, but not in one stretch
                return self._keep_halves(data)
            if not self.stevedore.make_room(present(self._growth, "only what grows needs room").budget):
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
        chunks = self.chunks
        if index < len(chunks):
            return chunks[index] if index >= 0 else b""
        growth = self._growth
        if index == len(chunks) and growth is not None and growth.tail is not None:
            return growth.tail[: growth.fill]
        return None

    def is_open(self, index: int) -> bool:
        """May the piece of that number still grow?"""
        growth = self._growth
        return growth is not None and growth.tail is not None and index - self.dropped >= len(self.chunks)

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
            pieces = self._pieces()  # nothing that is delivered once only is ever at rest
            gone = pieces[:count]
            del pieces[:count]
            self.dropped += count
            self.stevedore.release(gone)

    def slim(self) -> None:
        """Give the body back; headers and attributes stay."""
        self._seal()
        gone = self.chunks
        growth = self._growth
        if growth is None:
            self.chunks = ()
        else:
            self.chunks = []
            if growth.staged is not None:
                self.stevedore.release((growth.staged,))
                growth.staged = None
        self.dropped += len(gone)
        self.stevedore.release(gone)
        self.attrs.pop("ESIDATA", None)

    def free(self) -> None:
        """Give everything back; the object must not be used any more."""
        self.slim()
        self.prepared = None
        charged, self._charged = self._charged, 0
        if charged:
            self.stevedore.refund(charged)


class ObjectFlag:
    """Bits of `StoredObject.flags`."""

    GZIPED: Final = 1 << 1
    CHGCE: Final = 1 << 2  # Content-Encoding was changed on the way in
    IMSCAND: Final = 1 << 3  # has a validator: candidate for a conditional refetch
    ESIPROC: Final = 1 << 4
