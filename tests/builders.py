"""Real objects for tests, made as simply as they can be: compiled classes take nothing that only looks like one.

What a request meets is real here: the parts of the process (`make_env`), its worker, session, log and workspace. What
stands behind a protocol (a transport, a socket, a host of VCL) may be a class of the test's own.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme

from varnishpy.base.workspace import make_workspace
from varnishpy.cache.ban import Bans
from varnishpy.cache.expire import Expiry
from varnishpy.cache.hash import Hash
from varnishpy.log.memory import MemoryLog, captured
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import CLIENT, TaskLog, configure, set_sink
from varnishpy.request.env import Env
from varnishpy.request.request import Request
from varnishpy.session.session import Session
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.object import StoredObject
from varnishpy.threads import Pool, PoolSet, Waiter, Worker
from varnishpy.vcl.tasks import ListenInfo
from varnishpy.vcl.values import SockAddr


def make_env(pools: PoolSet | None = None, waiter: Waiter | None = None) -> Env:
    """The parts of a cache process; nothing is started, and pools and waiter are shared if none are given."""
    if pools is None or waiter is None:
        idle_pools, idle_waiter, _ = _idle()
        pools, waiter = pools or idle_pools, waiter or idle_waiter
    expiry, bans = Expiry(), Bans()
    return Env(pools, waiter, Hash(expiry, bans), expiry, bans)


@functools.cache
def _idle() -> tuple[PoolSet, Waiter, Pool]:
    """What never runs: pools, a waiter and a pool. The last two have descriptors, so there is only one of each."""
    return PoolSet(), Waiter("idle"), Pool("idle")


def make_worker(name: str = "test") -> Worker:
    """A worker without a thread."""
    return Worker(_idle()[2], name)


class NoSocket:
    """The socket of a session that nobody talks to."""

    def fileno(self) -> int:
        return -1

    def recv(self, bufsize: int, /) -> bytes:
        raise BlockingIOError

    def sendmsg(self, buffers: Any, /) -> int:
        raise BlockingIOError

    def shutdown(self, how: int, /) -> None:
        """Nobody hears of it."""

    def close(self) -> None:
        """There is nothing to close."""


def make_session(
    env: Env, vxid: int = 1, client: str = "192.0.2.7", port: int = 4711, server: str = "127.0.0.1"
) -> Session:
    """A session of a client with that address, on ``a0``."""
    session = Session(env, _idle()[2], NoSocket(), ListenInfo("a0", ":80", "HTTP"), vxid)
    session.client_ip = session.remote_ip = SockAddr(client, port)
    session.server_ip = session.local_ip = SockAddr(server, 80)
    return session


def make_request(
    env: Env, session: Session, transport: Any, vxid: int = 1001, log: TaskLog | None = None, room: int = 64 * 1024
) -> Request:
    """A request as a transport makes it, before anything is known of it. ``room`` is the size of its workspace."""
    return Request(env, session, transport, vxid, log or TaskLog(vxid, CLIENT), make_workspace("req", room))


def make_body(*pieces: bytes | memoryview) -> StoredObject:
    """A stored request body."""
    stored = StoredObject(MallocStevedore("test"))
    stored.chunks = list(pieces)
    return stored


@contextmanager
def records_of_all_tags() -> Iterator[MemoryLog]:
    """What is logged within the block, masked by default or not."""
    configure(masked=bytes(256))
    try:
        with captured() as memory:
            yield memory
    finally:
        configure()


class TaskRecords:
    """The log of the tasks of a test, as it stands.

    All that the process logs goes here from now on, masked by default or not; the fixture `log_ends` (conftest.py) has
    that end with the test.
    """

    def __init__(self) -> None:
        self.memory = MemoryLog()
        self._tasks: list[TaskLog] = []
        set_sink(self.memory)
        configure(masked=bytes(256))

    def task(self, vxid: int = 1001, kind: int = CLIENT) -> TaskLog:
        """A log for a task."""
        log = TaskLog(vxid, kind)
        self._tasks.append(log)
        return log

    @property
    def records(self) -> list[tuple[str, str]]:
        """All records so far: name of the tag, and text."""
        for log in self._tasks:
            log.flush()
        return [(record.name, record.text) for record in self.memory.records]

    def texts(self, tag: str) -> list[str]:
        """The texts of one tag's records."""
        for log in self._tasks:
            log.flush()
        return self.memory.texts(Tag[tag])


def tls_contexts(certificate: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server called ``name`` and a client that trusts it need.

    :param certificate: the file to make
    """
    authority = trustme.CA()
    authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(certificate))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(str(certificate))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
