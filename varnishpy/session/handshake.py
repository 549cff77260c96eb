"""What the listeners that stand in front of HTTP have in common: they serve no requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from varnishpy.base.panic import panic

if TYPE_CHECKING:
    from varnishpy.request.env import Env
    from varnishpy.request.request import Request
    from varnishpy.request.transport import Delivered
    from varnishpy.session.session import Session
    from varnishpy.storage.boc import Notice
    from varnishpy.storage.source import Source
    from varnishpy.threads.worker import Worker


class HandshakeTransport:
    """A transport in name only: it prepares a connection and hands it on. Being asked about a request is a bug."""

    name = ""
    pull_may_block = False
    line_name = ""  # delivers nothing

    def __init__(self, env: Env) -> None:
        self.env = env

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """Task: prepare a fresh connection and hand it on."""
        raise NotImplementedError

    def _no_requests(self) -> NoReturn:
        panic(f"Assert error: {self.name} has no requests")

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        self._no_requests()

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        self._no_requests()

    def send_100(self, wrk: Worker, req: Request) -> None:
        self._no_requests()

    def send_interim(self, wrk: Worker, req: Request, notice: Notice) -> None:
        self._no_requests()

    def fail(self, req: Request, reason: str) -> None:
        self._no_requests()

    def take_readahead(self, req: Request) -> bytes:
        self._no_requests()

    def reembark(self, req: Request) -> None:
        self._no_requests()

    def client_gone(self, req: Request) -> bool:
        self._no_requests()

    def panic_dump(self, sess: Session) -> str:
        return "state = handshake"

    def describe(self, sess: Session) -> dict[str, object]:
        return {"state": "handshake"}
