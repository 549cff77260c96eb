"""What the state machines know of a transport, and what a transport offers them.

`run_request` (client.py) talks HTTP through this interface only; HTTP/1, HTTP/2 and ESI includes implement it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from varnishpy.backends.errors import RequestBodyError
from varnishpy.backends.exchange import RequestBody as RequestBody

if TYPE_CHECKING:
    from varnishpy.request.request import Request
    from varnishpy.session.session import Session
    from varnishpy.storage.boc import Notice
    from varnishpy.storage.source import Source
    from varnishpy.threads.worker import Worker


class Delivered(Enum):
    """What became of a response handed to `Transport.deliver`."""

    DONE = "done"  # sent, or failed with req.doclose set: finish the request now
    TAKEN = "taken"  # the transport sends it by itself and calls `finish_request` when it is through


# plain constants for code that runs for each request: members of an Enum cost two look-ups each time
DELIVERED_DONE: Final = Delivered.DONE
DELIVERED_TAKEN: Final = Delivered.TAKEN


class BodyError(RequestBodyError):
    """The client's request body could not be read; the text is the reason for the log."""


@runtime_checkable
class Successor(Protocol):
    """A transport that a session of another one may go on with: what HTTP/1 needs of HTTP/2."""

    def prior_knowledge(self, wrk: Worker, sess: Session, leftover: bytes) -> None:
        """The client began with the preface; ``leftover`` is what was read behind it."""

    def upgrade(self, wrk: Worker, sess: Session, req: Request, settings: bytes, leftover: bytes) -> None:
        """The client sent ``Upgrade: h2c``; its request has no body.

        :param settings: the decoded HTTP2-Settings
        :param leftover: what was read behind the request
        """


class Transport(Protocol):
    """One way of talking HTTP with a client.

    Who does what for one request:

    * The *transport* fills ``req.http`` (unlogged), ``req.body``, ``t_first``, ``t_prev``, ``t_req``, starts the log
      (``Begin``, ``Timestamp Start`` and ``Req``), counts ``acct.req_hdrbytes``, and calls `run_request`.
    * The *state machine* logs the request, runs VCL, sets ``Content-Length`` where it knows the body's size and
      removes it where a body is forbidden, counts ``acct.req_bodybytes``, and calls `deliver` once at most.
    * The *transport* adds what frames the message (``Connection``, ``Transfer-Encoding``), counts ``resp_hdrbytes`` and
      ``resp_bodybytes`` and ``resp_pieces`` (payload without framing), sets ``req.doclose`` when sending failed, and
      closes the source.
    """

    name: str
    line_name: str  # what ``VdpAcct`` calls the last step, which puts octets on the line
    pull_may_block: bool  # `deliver` pulls the source on its caller's thread: then it may compute and wait in ``pull``

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """Task: serve a fresh connection, until it rests in its pool's watch, is handed on or closed."""

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        """Send ``req.resp`` and, unless None, the body. ``req.resp`` is final but for framing headers.

        After ``TAKEN`` a request with a ``pump`` is still run: its thread computes the body, leaves when the client is
        too far behind, and comes back by `reembark` when that has taken enough or ``source`` is closed. Such a request
        must not be finished while a thread has it.
        """

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        """Send a response without headers or body, for failures so early that there is no VCL."""

    def send_100(self, wrk: Worker, req: Request) -> None:
        """Answer ``Expect: 100-continue``."""

    def send_interim(self, wrk: Worker, req: Request, notice: Notice) -> None:
        """Pass on an interim response of the backend; the response follows."""

    def fail(self, req: Request, reason: str) -> None:
        """Give up on a request: close the connection, or reset the stream."""

    def take_readahead(self, req: Request) -> bytes:
        """What was read from the client behind the request's head; a pipe must send it on first. HTTP/1 only."""

    def reembark(self, req: Request) -> None:
        """Schedule a request that had left its thread; callable from any thread."""

    def client_gone(self, req: Request) -> bool:
        """Has the client left? Cheap; asked before each VCL step."""

    def panic_dump(self, sess: Session) -> str:
        """The transport's part of a panic dump."""

    def describe(self, sess: Session) -> dict[str, object]:
        """The session as ``/sessions`` of the stats socket shows it."""
