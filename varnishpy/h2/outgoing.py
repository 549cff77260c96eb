"""A message on its way out, and where it is."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from varnishpy.h2.host import Request
    from varnishpy.h2.stream import Stream
    from varnishpy.storage.source import Source


class Where(IntEnum):
    """Where a message is; what the words mean stands in ``transmit.py``."""

    READY = 0
    STUCK = 1
    HELD = 2
    LATER = 3
    ENDING = 4
    OVER = 5


READY: Final = Where.READY
STUCK: Final = Where.STUCK
HELD: Final = Where.HELD
LATER: Final = Where.LATER
ENDING: Final = Where.ENDING
OVER: Final = Where.OVER


class Outgoing:
    """A message on its way out: a response, or an interim one.

    :param block: the encoded header block; ``None`` once it is sent
    :param source: the body; ``None`` for none
    :param request: whose log and accounting are finished with it; ``None``: a response of our own making
    """

    __slots__ = (
        "block",
        "interim",
        "interleave",
        "left",
        "priority",
        "request",
        "source",
        "stream",
        "t_queued",
        "urgency",
        "where",
    )

    def __init__(
        self,
        stream: Stream,
        block: bytes | None,
        source: Source | None,
        request: Request | None,
        interim: bool = False,
    ) -> None:
        self.stream = stream
        self.block = block
        self.interim = interim  # a 1xx response: the stream goes on
        self.source = source
        self.left = source.length if source is not None else 0  # octets to come, -1 unknown
        self.request = request
        self.where: Where = LATER
        self.urgency = 3
        self.interleave = True
        self.priority: str | None = None  # what the response says of its own (RFC 9218 section 8)
        self.t_queued = 0.0

    def over(self) -> None:
        """Sent or given up: let go of the body."""
        self.where = OVER
        source, self.source = self.source, None
        if source is not None:
            source.on_ready = None
            source.close()
