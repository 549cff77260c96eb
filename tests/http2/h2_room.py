"""The engine with real sockets and a real pool, and nothing else of a cache: requests are answered by the test."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.builders import make_env
from tests.h2.conversation import GET_BLOCK, Frame
from tests.waiting import wait_for
from varnishpy.h2 import frames
from varnishpy.h2.tables import F
from varnishpy.http2.transport import Http2Transport
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import Delivered
from varnishpy.session.session import Session
from varnishpy.storage.source import BytesSource, Source
from varnishpy.threads import Pool, Priority
from varnishpy.vcl.tasks import ListenInfo


class Room:
    """A cache process with nothing but the HTTP/2 engine in it."""

    def __init__(self, active: int | None = None) -> None:
        """:param active: how many workers may be active at once; there is no herder to find one that computes long"""
        self.pool = Pool("0", active)
        for _ in range(12):
            self.pool.breed()
        self.env = SimpleNamespace(
            pools=SimpleNamespace(any=lambda: self.pool),
            hash=make_env().hash,
            draining=False,
            stevedores={},
            transports={},
        )
        self.run: Callable[[Any, Request], Step] = self.hello
        self.finished: list[Request] = []
        self.transport = Http2Transport(self.env, lambda wrk, req: self.run(wrk, req), self._finish)  # type: ignore[arg-type]
        self.sessions: list[Session] = []
        self.sockets: list[socket.socket] = []

    def _finish(self, wrk: Any, req: Request) -> None:
        self.finished.append(req)
        req.log.end()

    @staticmethod
    def respond(wrk: Any, req: Request, source: Source | None, status: int = 200) -> Step:
        req.resp.status = status
        if source is not None and source.length >= 0:
            req.resp.headers = [("content-length", "Content-Length", str(source.length))]
        done = req.transport.deliver(wrk, req, source)
        return Step.DISEMBARK if done is Delivered.TAKEN else Step.DONE

    def hello(self, wrk: Any, req: Request) -> Step:
        return self.respond(wrk, req, BytesSource([b"hello"]))

    def connect(self, entry: Callable[[Any, Session], None] | None = None) -> Client:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        session = Session(self.env, self.pool, ours, ListenInfo("a0", "127.0.0.1:0", "HTTP"), 1000)  # type: ignore[arg-type]
        self.sessions.append(session)
        self.sockets.append(theirs)
        if entry is None:
            entry = lambda wrk, sess: self.transport.prior_knowledge(wrk, sess, b"")  # noqa: E731
        assert self.pool.schedule(lambda wrk: entry(wrk, session), Priority.REQ)
        return Client(theirs)

    def stop(self) -> None:
        for sock in self.sockets:
            sock.close()
        wait_for(lambda: all(session.ended for session in self.sessions))
        with self.pool.mutex:
            self.pool.dying = True
            idle = list(self.pool.idle)
            self.pool.idle.clear()
        for worker in idle:
            worker.retire = True
            worker.sleep.release()
        self.pool.watch.wake()


class Client:
    """The other end of a socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.parser = frames.FrameParser(1 << 24)
        sock.settimeout(5)

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def hello(self, *settings: tuple[int, int]) -> Client:
        return self.send(frames.settings_frame(list(settings)))

    def get(self, stream: int, end: bool = True) -> Client:
        return self.send(frames.frame(F.HEADERS, 5 if end else 4, stream, GET_BLOCK))

    def frame(self) -> Frame | None:
        """The next frame; ``None`` at the end of the connection."""
        while True:
            payload = self.parser.next()
            if payload is not None:
                return Frame(self.parser.type, self.parser.flags, self.parser.stream, payload)
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.parser.feed(data)

    def until(self, kind: int, stream: int | None = None) -> Frame:
        """Skip to a frame of a type."""
        while True:
            frame = self.frame()
            assert frame is not None, "connection closed"
            if frame.kind == kind and stream in (None, frame.stream):
                return frame

    def rest(self) -> list[Frame]:
        """All frames until the connection ends."""
        out = []
        while (frame := self.frame()) is not None:
            out.append(frame)
        return out
