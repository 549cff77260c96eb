"""What an exchange with a backend needs of a fetch, and leaves with it.

`BusyObject` is an `Exchange`, so that this room knows nothing of the rooms above it and the compiler still reads
attributes where they lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from varnishpy.backends.body import BodyReader
    from varnishpy.backends.connection import Connection
    from varnishpy.base.workspace import Workspace
    from varnishpy.http.message import Message
    from varnishpy.log.tasklog import TaskLog


class RequestBody(Protocol):
    """The body a client sends with its request; a `BodyReader` that remembers how it went."""

    filter_name: str  # what ``VfpAcct`` calls the reading of it
    length: int  # octets, -1 when unknown (chunked, or HTTP/2 without content-length)

    def read(self, limit: int) -> bytes:
        """At most ``limit`` octets, ``b""`` at the end; waits at most timeout_idle; raises `BodyError`."""

    def discard(self) -> bool:
        """Read, count and drop what is left, so that the connection can be used again; False if that was not
        possible.
        """


class BackendAccounting:
    """Octets of one fetch, for ``BereqAcct``; ``bereq_pieces``: in how many the body was sent, for ``VdpAcct``."""

    __slots__ = ("bereq_bodybytes", "bereq_hdrbytes", "bereq_pieces", "beresp_bodybytes", "beresp_hdrbytes")

    def __init__(self) -> None:
        self.bereq_hdrbytes = 0
        self.bereq_bodybytes = 0
        self.beresp_hdrbytes = 0
        self.beresp_bodybytes = 0
        self.bereq_pieces = 0


class Exchange:
    """See the module text. Who makes one sets every attribute.

    :ivar announce: takes interim responses for the client
    :ivar bereq: what is sent; ``bereq_body`` follows it
    :ivar beresp: what is received, the body by ``body_reader``
    :ivar connect_timeout: seconds, as the other two; ``None``: the backend's, else the parameter's
    :ivar doclose: why the connection cannot be kept, or ``None``
    :ivar no_retry: why the request cannot be sent once more, or ``None``
    """

    __slots__ = (
        "acct", "announce", "backend_conn", "bereq", "bereq_body", "beresp", "between_bytes_timeout", "body_reader",
        "connect_timeout", "doclose", "err_code", "first_byte_timeout", "log", "no_retry", "t_prev", "ws",
    )  # fmt: skip

    log: TaskLog
    ws: Workspace
    acct: BackendAccounting
    bereq: Message
    bereq_body: RequestBody | None
    beresp: Message
    body_reader: BodyReader | None
    backend_conn: Connection | None
    connect_timeout: float | None
    first_byte_timeout: float | None
    between_bytes_timeout: float | None
    t_prev: float
    doclose: str | None
    no_retry: str | None
    err_code: int
    announce: Callable[[Message], None] | None

    def client_broke_off(self) -> None:
        """The client's request body could not be read to its end."""
        raise NotImplementedError

    def sent_body(self) -> RequestBody | None:
        """The body as it goes out, made anew for each attempt; raises `RequestBodyError`, logged."""
        return self.bereq_body

    def ends(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Address and port of the client, and those it connected to; 0.0.0.0 and 0 where there are none."""
        raise NotImplementedError
