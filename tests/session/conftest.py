"""Acceptors on loopback in front of a transport that answers at once."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.builders import make_env
from tests.conftest import Running
from varnishpy.base.endpoint import ListenEndpoint, parse_listen
from varnishpy.http1.transport import Http1Transport
from varnishpy.log.memory import MemoryLog
from varnishpy.log.tags import Tag
from varnishpy.request.request import Request, Step
from varnishpy.session.acceptor import Acceptors
from varnishpy.session.certificates import CertStore
from varnishpy.session.proxy import ProxyTransport
from varnishpy.session.tls import TlsTransport
from varnishpy.storage.source import BytesSource
from varnishpy.threads import PoolSet, Waiter, Worker


def tell(wrk: Worker, req: Request) -> Step:
    """Answers with what the session knows of its two ends; /big answers with 300 000 octets."""
    sess = req.sess
    body = b"x" * 300_000
    if req.http.url != "/big":
        ends = (sess.client_ip, sess.server_ip, sess.remote_ip, sess.local_ip)
        body = " ".join(f"{end.ip}|{end.port}" for end in ends).encode()
    resp = req.resp
    resp.log, resp.first_tag, resp.status, resp.reason = req.log, Tag.RespMethod, 200, "OK"
    resp.add("Content-Length", str(len(body)))
    req.transport.deliver(wrk, req, BytesSource([body]))
    return Step.DONE


class House:
    """Everything a session needs; listeners are added by the test."""

    def __init__(self, pools: PoolSet, waiter: Waiter, log: MemoryLog) -> None:
        self.log = log
        self.env = make_env(pools, waiter)
        self.run: Callable[[Worker, Request], Step] = tell
        self.certificates = CertStore()
        self.env.transports["HTTP1"] = Http1Transport(self.env, lambda wrk, req: self.run(wrk, req))
        self.env.transports["PROXY"] = ProxyTransport(self.env)
        self.env.transports["TLS"] = TlsTransport(self.env, self.certificates)
        self.acceptors: Acceptors | None = None

    def listen(self, *arguments: str, start: bool = True) -> list[Any]:
        """Listen as ``-a`` says; the addresses to connect to."""
        pairs: list[tuple[ListenEndpoint, socket.socket]] = []
        for number, argument in enumerate(arguments):
            endpoint = parse_listen(argument, f"a{number}")
            family, address = endpoint.address.resolve(passive=True)[0]
            sock = socket.socket(family)
            sock.bind(address)
            sock.listen(100)
            pairs.append((endpoint, sock))
        self.acceptors = Acceptors(self.env, pairs)
        if start:
            self.acceptors.start()
        return [sock.getsockname() for _, sock in pairs]

    def closed(self, reason: str) -> None:
        self.log.wait_for(Tag.SessClose, reason)


@pytest.fixture
def house(running: Running) -> Iterator[House]:
    made = House(running.pools, running.waiter, running.log)
    yield made
    if made.acceptors is not None:
        assert made.acceptors.stop()
