"""A `Source` over a stored object, complete or still growing.

A complete body is served as views of its pieces. A growing one is pulled through the busy object control: what has
arrived is handed out at once, ``LATER`` when the reader has caught up, an error when the fetch failed. The body of a
*transient* object (pass, hit-for-miss, hit-for-pass) has one reader only: what it has taken is given back to the
storage, and the fetch may not run further ahead than ``transit_buffer``, or `READ_AHEAD` where that is not set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from varnishpy.storage.boc import READ_AHEAD, BocState, BusyObjectControl
from varnishpy.storage.object import StoredObject
from varnishpy.storage.source import END, LATER, BytesSource, Piece, Source, SourceError, _Mark


def open_body(
    stobj: StoredObject, boc: BusyObjectControl | None, *, transient: bool = False, start: int = 0, length: int = -1
) -> Source:
    """A source over the body of an object, or over ``length`` octets from ``start``.

    The caller holds a reference to the object core until the source is closed. ``start + length`` must lie within a
    complete body; for a growing one whose range turns out not to exist, the source fails.

    :param boc: the object core's, as read once by the caller, or ``None``
    :param transient: nobody else will read this body
    """
    if boc is None or boc.state >= BocState.FINISHED:
        if stobj.incomplete:
            return IncompleteSource(stobj.chunks, start, length)
        if length < 0 and not stobj.dropped:
            length = stobj.length - start
        if stobj.unchecked:
            return CheckedSource(stobj, start, length)
        return BytesSource(stobj.chunks, start, length)
    return GrowingBodySource(stobj, boc, transient, start, length)


class IncompleteSource(BytesSource):
    """What there is of a body whose fetch failed: it never ends well, even where all that was asked for is there."""

    __slots__ = ()

    def __init__(self, chunks: Sequence[Piece], start: int, length: int) -> None:
        there = sum(len(chunk) for chunk in chunks)
        start = min(start, there)
        super().__init__(chunks, start, there - start if length < 0 else min(length, there - start))
        self.length = length
        self.complete = False

    def pull(self, limit: int) -> Piece | _Mark:
        piece = super().pull(limit)
        if piece is END:
            raise SourceError("fetch failed")
        return piece


class CheckedSource(BytesSource):
    """A complete body of which not all pieces were looked at since the process began: each is, before it is sent."""

    __slots__ = ("_stobj",)

    def __init__(self, stobj: StoredObject, start: int, length: int) -> None:
        super().__init__(stobj.chunks, start, length)
        self.complete = False
        self._stobj = stobj

    def pull(self, limit: int) -> Piece | _Mark:
        if self._left > 0 and not self._stobj.check(self._index):
            raise SourceError("the stored body is damaged")
        return super().pull(limit)

    def pull_whole(self) -> Piece | None:
        return None


class GrowingBodySource(Source):
    """See the module text. Set ``on_ready`` before the pull whose ``LATER`` it shall follow."""

    __slots__ = ("_boc", "_index", "_left", "_offset", "_position", "_skip", "_stobj", "_subscribed", "_transient")

    def __init__(self, stobj: StoredObject, boc: BusyObjectControl, transient: bool, start: int, length: int) -> None:
        super().__init__(length, False)
        self._stobj = stobj
        self._boc = boc
        self._transient = transient
        self._skip = start  # octets still to be passed over
        self._left = length  # octets still to be delivered, -1: all
        self._position = 0  # octets taken or passed over
        self._index = 0  # number of the piece at that position,
        self._offset = 0  # and where in it
        self._subscribed = False
        if transient:
            with boc.lock:
                boc.read_ahead = READ_AHEAD

    def pull(self, limit: int) -> Piece | _Mark:
        if self._left == 0:
            return END
        boc = self._boc
        resume = None
        with boc.lock:
            self._pass_over()
            piece: Piece | _Mark
            if boc.fetched_so_far <= self._position or self._skip:
                piece = self._nothing()
            else:
                piece = self._take(min(limit, self._left) if self._left >= 0 else limit)
                if self._left > 0:
                    self._left -= len(piece)
            if self._transient:
                resume = self._give_back()
        if resume is not None:
            resume()
        return piece

    def _take(self, limit: int) -> Piece:
        piece = self._stobj.piece(self._index)
        assert piece is not None  # fetched_so_far says that there is more
        offset = self._offset
        while offset >= len(piece):  # what was open when we last looked is closed now, and nothing was added to it
            offset = self._offset = 0
            self._index += 1
            following = self._stobj.piece(self._index)
            assert following is not None
            piece = following
        take = min(limit, len(piece) - offset)
        taken = piece if take == len(piece) else memoryview(piece)[offset : offset + take]
        self._position += take
        self._offset += take
        if self._offset == len(piece) and not self._stobj.is_open(self._index):
            self._index += 1
            self._offset = 0
        return taken

    def _pass_over(self) -> None:
        """Skip what lies before the range, as far as it has arrived."""
        boc = self._boc
        while self._skip and boc.fetched_so_far > self._position:
            self._skip -= len(self._take(self._skip))

    def _give_back(self) -> Callable[[], None] | None:
        """Free what was taken and let the fetch go on; the boc's lock is held. Returns what to call afterwards."""
        boc = self._boc
        if self._position == boc.delivered_so_far:
            return None
        self._stobj.drop_before(self._index)
        return boc.delivered(self._position)

    def _nothing(self) -> _Mark:
        """The reader has caught up; the boc's lock is held."""
        boc = self._boc
        if boc.state is BocState.FAILED:
            raise SourceError("fetch failed")
        if boc.state is BocState.FINISHED:
            if self._left > 0:
                raise SourceError("body shorter than its range")
            return END
        if not self._subscribed:
            self._subscribed = True
            boc._subscribers.append(self._ready)
        return LATER

    def _ready(self) -> None:
        self._subscribed = False
        callback = self.on_ready
        if callback is not None:
            callback()

    def close(self) -> None:
        boc = self._boc
        self._left = 0
        self.on_ready = None
        if self._subscribed:
            boc.unsubscribe(self._ready)
        if self._transient and boc.state < BocState.FINISHED:
            boc.cancel()
