"""HTTP/2 as the rest of the cache sees it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.h2.receive_buffer import ReceiveBuffer
from varnishpy.http2 import deliver, dump
from varnishpy.http2.session import Http2Session
from varnishpy.params import params
from varnishpy.request.client import run_request
from varnishpy.request.finish import finish_request
from varnishpy.request.transport import Delivered

if TYPE_CHECKING:
    from varnishpy.request.env import Env
    from varnishpy.request.request import Request, Step
    from varnishpy.session.session import Session
    from varnishpy.storage.boc import Notice
    from varnishpy.storage.source import Source
    from varnishpy.threads.worker import Worker


class Http2Transport:
    """One object serves all sessions; it only knows which ones there are.

    :param run: the client state machine, ``run_request`` unless a test brings its own
    :param finish: the end of a request, ``finish_request`` unless a test brings its own
    """

    name = "HTTP/2"
    pull_may_block = False
    line_name = "H2B"

    def __init__(
        self,
        env: Env,
        run: Callable[[Worker, Request], Step] = run_request,
        finish: Callable[[Worker, Request], None] = finish_request,
    ) -> None:
        self.env = env
        self.run_request = run
        self._finish = finish
        self._lock = make_lock("sess")
        self._sessions: set[Http2Session] = set()

    # -- entering --------------------------------------------------------------------------------------------------

    def _make(self, sess: Session) -> Http2Session:
        session = Http2Session(self, sess)
        with self._lock:
            self._sessions.add(session)
        sess.transport = self
        return session

    def forget(self, session: Http2Session) -> None:
        """A session has ended."""
        with self._lock:
            self._sessions.discard(session)

    def prior_knowledge(self, wrk: Worker, sess: Session, leftover: bytes) -> None:
        """The client began with the preface; ``leftover`` is what was read behind it."""
        self._make(sess).begin(wrk, leftover)

    def upgrade(self, wrk: Worker, sess: Session, req: Request, settings: bytes, leftover: bytes) -> None:
        """The client sent ``Upgrade: h2c``; its request has no body.

        :param settings: the decoded HTTP2-Settings
        :param leftover: what was read behind the request
        """
        self._make(sess).upgrade(wrk, req, settings, leftover)

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """A fresh connection that must speak HTTP/2 from its first byte."""
        self._make(sess).await_preface(wrk)

    def drain(self) -> None:
        """``env.draining`` has been set: tell every session."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.notice()

    # -- requests --------------------------------------------------------------------------------------------------

    def finish_request(self, wrk: Worker, req: Request) -> None:
        """A request has come to its end."""
        wrk.stats.client_req += 1
        self._finish(wrk, req)

    def drop_request(self, wrk: Worker, req: Request) -> None:
        """A request was malformed or refused: it ends without having been run."""
        self._finish(wrk, req)

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        return deliver.deliver(wrk, req, source)

    def minimal_response(self, wrk: Worker, req: Request, status: int) -> None:
        deliver.minimal_response(req, status)

    def send_100(self, wrk: Worker, req: Request) -> None:
        deliver.send_100(req)

    def send_interim(self, wrk: Worker, req: Request, notice: Notice) -> None:
        deliver.send_interim(req, notice)

    def fail(self, req: Request, reason: str) -> None:
        deliver.fail(req, reason)

    def take_readahead(self, req: Request) -> bytes:
        return b""

    def reembark(self, req: Request) -> None:
        _session(req.sess).desk.reembark(deliver.stream_of(req))

    def client_gone(self, req: Request) -> bool:
        wrk = req.wrk
        if wrk is not None:
            on_block = wrk.on_block
            if on_block is not None and clock.mono() >= wrk.block_by:  # the session thread itself runs it, for too long
                wrk.on_block = None
                on_block()
        stream = req.stream
        assert stream is not None
        return stream.error is not None or stream.h2.error is not None

    def receive_buffer(self, size: int) -> ReceiveBuffer | None:
        """Memory for a request body, from the storage that ``h2_rxbuf_storage`` names."""
        storage = self.env.stevedores.get(params.h2_rxbuf_storage)
        if storage is None:
            return ReceiveBuffer(bytearray(size), size)
        data = storage.new_buffer(size)
        return ReceiveBuffer(data, size, partial(storage.release, (data,))) if data is not None else None

    # -- watching --------------------------------------------------------------------------------------------------

    def panic_dump(self, sess: Session) -> str:
        return dump.panic_text(sess.h2) if sess.h2 is not None else ""

    def describe(self, sess: Session) -> dict[str, object]:
        return dump.describe(sess.h2) if sess.h2 is not None else {}


def _session(sess: Session) -> Http2Session:
    session = sess.transport_priv
    assert isinstance(session, Http2Session)
    return session
