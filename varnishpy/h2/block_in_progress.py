"""The header block that is being received. Until END_HEADERS nothing else may arrive (RFC 9113 section 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from varnishpy.h2.stream import Stream
    from varnishpy.h2.tables import H2Error


class BlockInProgress:
    """One at a time, and one record for all of them."""

    __slots__ = ("dropped", "error", "flags", "new", "number", "pieces", "size", "stream", "t_begin")

    def __init__(self) -> None:
        self.stream: Stream | None = None  # holds the header-block lock
        self.dropped = False  # an unfinished block of a stream nobody wants
        self.number = 0
        self.flags = 0  # of its HEADERS frame
        self.error: H2Error | None = None  # the stream's, to be told when the block has been decoded
        self.new = False  # it opens a stream; else it is trailers
        self.pieces: list[bytes] = []
        self.size = 0  # octets of the pieces
        self.t_begin = 0.0

    @property
    def unfinished(self) -> bool:
        """Is there a block of which more must come?"""
        return self.stream is not None or self.dropped

    def begin(self, stream: Stream | None, number: int, fragment: bytes, now: float) -> None:
        """More than one frame will bring the block; ``stream`` is ``None`` when nobody wants it."""
        self.stream = stream
        self.dropped = stream is None
        self.number = number
        self.pieces.append(fragment)
        self.size = len(fragment)
        self.t_begin = now

    def finish(self) -> bytes:
        """The last piece has come: all of it."""
        whole = b"".join(self.pieces)
        self.pieces.clear()
        self.stream = None
        self.dropped = False
        return whole
