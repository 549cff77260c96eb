"""A scripted origin, and the pieces of a fetch without the state machine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.builders import make_env
from varnishpy.backends import Backend, Backends, FetchError
from varnishpy.base.workspace import Workspace
from varnishpy.log import BACKEND, TaskLog
from varnishpy.log.memory import MemoryLog, captured
from varnishpy.log.tags import Tag
from varnishpy.params import table
from varnishpy.request.busyobj import BusyObject
from varnishpy.threads import Pool, PoolSet, Waiter, Worker
from varnishpy.vcl.specs import BackendSpec

WAIT = 10.0
EOF = "HTC eof (Unexpected end of input)"  # why a fetch failed whose origin said nothing
Script = Callable[["Peer"], None]


class Peer:
    """The origin's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(WAIT)
        self.buf = b""

    def head(self) -> bytes:
        """One request head; ``b""`` when the connection ended before it."""
        while b"\r\n\r\n" not in self.buf:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self.buf += data
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def take(self, n: int) -> bytes:
        """Exactly so many octets."""
        while len(self.buf) < n:
            data = self.sock.recv(65536)
            assert data, "the request ended early"
            self.buf += data
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def until_end(self) -> bytes:
        """All that comes until the other side closes."""
        while data := self.sock.recv(65536):
            self.buf += data
        return self.buf

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


class Origin:
    """Serves connections one after the other, each by the next script; the last script goes on."""

    def __init__(self, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> None:
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind(address)
        self.listener.listen(16)
        self.scripts: list[Script] = []
        self.connections = 0
        self.faults: list[BaseException] = []
        self.threads: list[threading.Thread] = []
        self.sockets: list[socket.socket] = []
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        name = self.listener.getsockname()
        return name[0], name[1]

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self._stop:
                sock.close()
                return
            script = self.scripts[min(self.connections, len(self.scripts) - 1)]
            self.connections += 1
            self.sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(script, sock), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, script: Script, sock: socket.socket) -> None:
        with sock:
            try:
                script(Peer(sock))
            except BaseException as exc:
                self.faults.append(exc)

    def stop(self) -> None:
        self._stop = True
        with contextlib.suppress(OSError), socket.socket(self.listener.family, socket.SOCK_STREAM) as last:
            last.settimeout(1)
            last.connect(self.listener.getsockname())
        self._thread.join(WAIT)
        self.listener.close()
        for sock in self.sockets:  # connections that the other side keeps idle would hold their scripts up
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)


def answer(body: bytes = b"hello", head: bytes = b"") -> Script:
    """Serve requests without body on a connection until it closes."""

    def script(peer: Peer) -> None:
        while peer.head():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), head) + body)

    return script


def reply(data: bytes, hold: threading.Event | None = None) -> Script:
    """Answer one request with these octets; keep the connection open while ``hold`` is not set."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(data)
        if hold is not None:
            hold.wait(WAIT)

    return script


class Rig:
    """Backends with a waiter and a worker, and fetches made by hand."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.waiter = Waiter("backends-test")
        self.waiter.start()
        self.pools = PoolSet()
        self.env = make_env(self.pools, self.waiter)
        self.backends = Backends(self.waiter, self.pools)
        self.pool = Pool("test")
        self.wrk = Worker(self.pool, "worker-test")
        self._vxid = 1000

    def backend(self, origin: Origin | None = None, **fields: Any) -> Backend:
        if origin is not None and "path" not in fields and "ipv6" not in fields:
            fields.setdefault("ipv4", origin.address)
        fields.setdefault("host_header", "origin.test")
        return self.backends.new(BackendSpec(fields.pop("vcl_name", "b"), **fields), "vcl1")

    def bo(self, method: str = "GET", url: str = "/", body: Any = None, **headers: str) -> BusyObject:
        self._vxid += 1
        log = TaskLog(self._vxid, BACKEND)
        log.start_clock(time.time())
        bo = BusyObject(self.env, self._vxid, log, Workspace("bo", 65536))
        for message, tag in ((bo.bereq, Tag.BereqMethod), (bo.beresp, Tag.BerespMethod)):
            message.log, message.first_tag = log, int(tag)
        bo.bereq.method, bo.bereq.url = method, url
        for name, value in headers.items():
            bo.bereq.set(name.replace("_", "-"), value)
        bo.bereq_body = body
        return bo

    def texts(self, bo: BusyObject, tag: Tag) -> list[str]:
        bo.log.flush()
        return self.log.texts(tag, bo.vxid)

    def fetch(self, backend: Backend, bo: BusyObject, limit: int = 65536) -> bytes:
        """A whole fetch: the body."""
        backend.get_response(self.wrk, bo)
        try:
            pieces = []
            reader = bo.body_reader
            assert reader is not None
            while piece := reader.read(limit):
                assert len(piece) <= limit
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            backend.finish(self.wrk, bo)

    def error(self, backend: Backend, bo: BusyObject) -> str:
        """Why a fetch fails."""
        with pytest.raises(FetchError) as caught:
            self.fetch(backend, bo)
        return str(caught.value)

    def stop(self) -> None:
        self.backends.stop()
        self.waiter.stop()


@pytest.fixture(autouse=True)
def parameters() -> Iterator[None]:
    before = table.texts()
    table.load([("thread_pools", "1"), ("thread_pool_min", "10"), ("vsl_mask", "all")])
    yield
    table.load(before)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with captured() as log:
        found = Rig(log)
        yield found
        found.stop()
        assert found.pool.active == 0, "will_block and unblocked do not pair"


@pytest.fixture
def origin() -> Iterator[Origin]:
    found = Origin()
    yield found
    found.stop()
    for thread in found.threads:
        thread.join(WAIT)
    assert not found.faults


@pytest.fixture
def scripts() -> Any:
    """`answer` and `reply`, for test modules, which cannot import this one."""

    class Scripts:
        pass

    found: Any = Scripts()
    found.answer, found.reply, found.Origin = answer, reply, Origin
    return found
