"""A session on a socket pair, served by real workers and a real waiter, with a state machine made for the test."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from tests.builders import make_env
from tests.waiting import wait_for
from varnishpy.http1.transport import Http1Transport
from varnishpy.log.memory import MemoryLog
from varnishpy.log.tags import Tag
from varnishpy.request.request import Request, Step
from varnishpy.session.session import Session, StreamSocket
from varnishpy.storage.source import BytesSource, Source
from varnishpy.threads import Pool, PoolSet, Priority, Waiter, Worker
from varnishpy.vcl.tasks import ListenInfo

Run = Callable[[Worker, Request], Step]


class Peer:
    """The client's end of the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buf = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self.buf += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buf:
            assert self._more(), f"closed after {self.buf!r}"
        head, _, self.buf = self.buf.partition(mark)
        return head + mark

    def take(self, count: int) -> bytes:
        while len(self.buf) < count:
            assert self._more(), f"closed after {self.buf!r}"
        data, self.buf = self.buf[:count], self.buf[count:]
        return data

    def rest(self) -> bytes:
        while self._more():
            pass
        return self.buf

    def response(self) -> tuple[bytes, bytes]:
        """Head and body of one response with a Content-Length."""
        head = self.until(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head, self.take(int(line[15:]))
        return head, b""


class Harness:
    """One pool, one waiter, one transport."""

    def __init__(self, pools: PoolSet, waiter: Waiter, log: MemoryLog) -> None:
        self.log = log
        self.run: Run = echo
        self.env = make_env(pools, waiter)
        self.http1 = Http1Transport(self.env, lambda wrk, req: self.run(wrk, req))
        self.env.transports["HTTP1"] = self.http1
        self.table: dict[int, Session] = {}
        self.peers: list[Peer] = []
        self.pool: Pool = pools.any()

    def connect(
        self,
        transport: Any = None,
        listen: ListenInfo | None = None,
        wrap: Callable[[socket.socket], StreamSocket] = lambda sock: sock,
    ) -> Peer:
        """:param wrap: what the session is to have in the place of its socket"""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(5)
        peer = Peer(theirs)
        self.peers.append(peer)
        listen = listen or ListenInfo("a0", ":0", "HTTP")

        def task(wrk: Worker) -> None:
            sess = Session(self.env, self.pool, wrap(ours), listen, wrk.next_vxid(), self.table)
            sess.open(ours, None)
            (transport or self.http1).new_session(wrk, sess)

        assert self.pool.schedule(task, Priority.REQ)
        return peer

    def resting(self, count: int) -> None:
        """Wait until so many sessions rest."""
        wait_for(lambda: self.pool.counts()["resting"] == count, f"{count} sessions to rest")

    def closed(self, reason: str) -> None:
        """Wait for the session's last words."""
        record = self.log.wait_for(Tag.SessClose, reason)
        assert record.text.split()[0] == reason
        wait_for(lambda: self.log.texts(Tag.End, record.vxid), "the end of the session's log")


def respond(wrk: Worker, req: Request, status: int, body: bytes | Source | None, **headers: str) -> None:
    """Deliver a response as the state machine would."""
    resp = req.resp
    resp.log = req.log
    resp.first_tag = Tag.RespMethod
    resp.status = status
    resp.reason = "OK"
    for name, value in headers.items():
        resp.add(name.replace("_", "-"), value)
    source = BytesSource([body]) if isinstance(body, bytes) else body
    if source is not None and source.length >= 0:
        resp.add("Content-Length", str(source.length))
    req.transport.deliver(wrk, req, source)


def echo(wrk: Worker, req: Request) -> Step:
    """Answers with method, URL and body; Connection as the client wished."""
    body = b""
    if req.body is not None:
        while piece := req.body.read(1000):
            body += piece
        req.acct.req_bodybytes = len(body)
    if req.http.has_token("connection", "close"):
        req.doclose = "REQ_CLOSE"
    elif req.http.proto == "HTTP/1.0" and not req.http.has_token("connection", "keep-alive"):
        req.doclose = "REQ_HTTP10"
    respond(wrk, req, 200, f"{req.http.method} {req.http.url} ".encode() + body)
    return Step.DONE
