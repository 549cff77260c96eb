"""What a connection needs of the world around it: a line to the peer, somebody who runs requests, and requests.

The rooms above bring these things; ``http2/`` has the real ones, tests have their own. All methods are called on the
session thread, unless they say otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from varnishpy.h2.headers import HeaderBlock
    from varnishpy.h2.receive_buffer import ReceiveBuffer
    from varnishpy.h2.stream import Stream


class RequestLog(Protocol):
    """The log of one request."""

    def put(self, tag: int, text: str) -> None:
        """Append a record."""


class Account(Protocol):
    """Octets of one request, as far as the engine counts them."""

    req_bodybytes: int
    resp_hdrbytes: int
    resp_bodybytes: int
    resp_pieces: int


class Request(Protocol):
    """What the engine touches of a request: its log, its account, and the word that sending failed."""

    doclose: str | None

    @property
    def log(self) -> RequestLog: ...

    @property
    def acct(self) -> Account: ...


class Line(Protocol):
    """The way to the peer."""

    def control_buffer(self) -> memoryview | bytearray | None:
        """Room for control frames; ``None`` when workspace is out (the connection has failed then)."""

    def flush(self) -> bool:
        """Send what is committed, waiting up to the deadline; False: it did not work, the connection has failed."""


class Desk(Protocol):
    """Whoever makes requests of header blocks and has them run."""

    def start(self, stream: Stream, block: HeaderBlock, size: int) -> bool:
        """Make a request of a header block (of ``size`` octets), `take` hold of it and have it run; False: refused."""

    def reject(self, stream: Stream, block: HeaderBlock, size: int) -> None:
        """Log a request that will not be run; its stream is reset right after."""

    def finish(self, stream: Stream) -> None:
        """The response is over and nobody holds the request: account for it and let it go."""

    def walk_away(self, stream: Stream) -> None:
        """The stream is dead: if its request waits for an object, stop waiting, and say `over` for it."""

    def receive_buffer(self, size: int) -> ReceiveBuffer | None:
        """Room for a request body; ``None``: there is none."""


class Host(Protocol):
    """Both of them."""

    @property
    def line(self) -> Line: ...

    @property
    def desk(self) -> Desk: ...
