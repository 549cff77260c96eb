"""A session: one client connection, from accept to close.

A session is owned by one thread at a time: the worker that serves it. While it has nothing to do it rests in its pool's
watch, and no thread has it. It keeps what outlives a request: the socket, the addresses, the workspace, the timeouts
VCL may have changed, and whatever its transport keeps in ``transport_priv``. Its log records go out one by one, outside
any transaction buffer, because sessions are rare and requests are many.

Life: `Session.open` logs ``Begin`` and ``SessOpen``; a transport serves it and calls `close` with a reason when
the socket is done with; `delete` ends it, logging ``SessClose`` and ``End``. ``delete(reason)`` does both.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Final, Protocol

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.panic import invariant
from varnishpy.base.workspace import make_workspace
from varnishpy.log.tag_numbers import BEGIN, DEBUG, END, SESS_CLOSE, SESS_OPEN
from varnishpy.log.tasklog import vsl
from varnishpy.params import params
from varnishpy.session.address import NO_ADDRESS, sockaddr
from varnishpy.session.closing import REASONS
from varnishpy.threads.worker import TaskInfo
from varnishpy.vcl.tasks import ClientSession, ListenInfo

if TYPE_CHECKING:
    from varnishpy.base.dumptext import DumpText
    from varnishpy.request.env import Env
    from varnishpy.request.transport import Transport
    from varnishpy.storage.source import Piece
    from varnishpy.threads.pool import Pool
    from varnishpy.threads.watch import Watched
    from varnishpy.threads.worker import Task, Worker


_PIECE: Final = 64 * 1024  # octets asked of the socket at once
_LAST_OCTETS: Final = 4 * 1024 * 1024  # that are read so at most


class StreamSocket(Protocol):
    """What transports use of a socket: a TCP or Unix socket, or TLS on one (see ``tls.py``).

    The socket is non-blocking: calls raise ``BlockingIOError`` where they would have to wait. With TLS there is also
    ``pending()``, which tells of octets that ``recv`` has at hand though poll(2) on the descriptor may not say so.
    """

    def fileno(self) -> int: ...

    def recv(self, bufsize: int, /) -> bytes: ...

    def sendmsg(self, buffers: list[Piece], /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class Session(ClientSession):
    """See the module text. Times are wall-clock seconds, timeouts seconds; a timeout of ``None`` is the parameter's."""

    __slots__ = (
        # where it belongs
        "env", "pool", "table",
        # the connection
        "sock", "closed", "ended",
        # progress
        "t_open", "t_idle", "transport", "transport_priv", "watched",
    )  # fmt: skip

    def __init__(
        self,
        env: Env,
        pool: Pool,
        sock: StreamSocket,
        listen: ListenInfo,
        vxid: int,
        table: MutableMapping[int, Session] | None = None,
    ) -> None:
        self.env = env
        self.pool = pool
        self.table = table
        self.listen = listen
        self.vxid = vxid
        self.ws = make_workspace("ses", params.workspace_session)
        self.sock = sock
        self.fd = sock.fileno()
        self.remote_ip = NO_ADDRESS
        self.local_ip = NO_ADDRESS
        self.client_ip = NO_ADDRESS
        self.server_ip = NO_ADDRESS
        self.tls = None
        self.proxy = None
        self.closed: str | None = None
        self.ended = False
        self.t_open = self.t_idle = clock.now()
        self.transport: Transport | None = None
        self.transport_priv: object = None  # only the transport itself knows what it keeps here
        self.h2 = None
        self.watched: Watched | None = None  # its place in the pool's watch, from its first rest on
        self.timeout_idle = None
        self.timeout_linger = None
        self.send_timeout = None
        self.idle_send_timeout = None
        self.privs = None

    @property
    def scheme(self) -> str:
        """``https`` if TLS ends here, else ``http``; the last word of ``ReqStart``."""
        return "http" if self.tls is None else "https"

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self, sock: socket.socket, peer: object) -> None:
        """Learn the addresses and log the beginning.

        :param peer: what accept(2) said of the other end
        """
        if not self.listen.is_uds:
            self.remote_ip = self.client_ip = sockaddr(peer)
            with contextlib.suppress(OSError):  # a peer that is gone already leaves no local address behind
                self.local_ip = self.server_ip = sockaddr(sock.getsockname())
        if self.table is not None:
            self.table[self.vxid] = self
        remote, local = self.remote_ip, self.local_ip
        vsl(BEGIN, self.vxid, f"sess 0 {'PROXY' if self.listen.proto == 'PROXY' else 'HTTP/1'}")
        vsl(
            SESS_OPEN,
            self.vxid,
            f"{remote.ip} {remote.port} {self.listen.name} {local.ip} {local.port} {self.t_open:.6f} {self.fd}",
        )

    def debug(self, text: str) -> None:
        """A ``Debug`` record of the session itself."""
        vsl(DEBUG, self.vxid, text)

    def watch(self, task: Task) -> Watched:
        """The session's place in the watch of its pool; it gets one if it has none.

        :param task: what is to serve the session when it stirs
        :raises OSError: there is no room for it
        """
        watched = self.watched
        if watched is None:
            watched = self.watched = self.pool.watch.add(self.fd, task)
        else:
            watched.task = task
        return watched

    def unwatch(self) -> None:
        """Leave the watch, with the socket open: somebody else waits for it from here on."""
        watched, self.watched = self.watched, None
        if watched is not None:
            watched.drop(closing=False)

    def half_close(self, wait_readable: Callable[[float], bool], seconds: float = 0.1) -> None:
        """Before a close: say that nothing more will come, and drop what still does.

        Unread octets, and those that come later, would be answered with a reset, which may take away the answer that
        the client has been sent (RFC 9112 section 9.6). A client that has read it closes, and that is the end of it.

        :param wait_readable: waits until there is something to read; False after so many seconds
        :param seconds: how long at most
        """
        sock = self.sock
        deadline = clock.mono() + seconds
        most = _LAST_OCTETS
        try:
            sock.shutdown(socket.SHUT_WR)
            while most > 0 and (left := deadline - clock.mono()) > 0 and wait_readable(left):
                try:
                    data = sock.recv(_PIECE)
                except (BlockingIOError, InterruptedError):  # TLS: a part of a record
                    continue
                if not data:
                    return
                most -= len(data)
        except OSError:  # the client has gone
            return

    def close(self, reason: str) -> None:
        """Close the socket; the first reason given is the one that counts.

        :param reason: a name from ``closing.py``
        """
        if self.closed is not None:
            return
        row = REASONS[reason]
        self.closed = reason
        watched, self.watched = self.watched, None
        if watched is not None:
            watched.drop()
        with contextlib.suppress(OSError):  # ECONNRESET from close(2): gone is gone
            self.sock.close()
        self.fd = -1
        stats.main.inc(row.counter)
        if row.is_error:
            stats.main.inc("sess_closed_err")

    def delete(self, reason: str | None = None) -> None:
        """End the session, once: close the socket if it still is open, log ``SessClose`` and ``End``.

        :param reason: may be ``None`` only after `close`
        """
        if self.ended:
            return
        self.ended = True
        if reason is not None:
            self.close(reason)
        assert self.closed is not None
        if self.table is not None:
            self.table.pop(self.vxid, None)
        duration = clock.now() - self.t_open
        if duration < 0.0:  # the clock was set back
            invariant(duration >= -params.clock_step, "clock step within clock_step")
            duration = 0.0
        vsl(SESS_CLOSE, self.vxid, f"{self.closed} {duration:.3f}")
        vsl(END, self.vxid, "")
        if self.ws.overflowed:
            stats.main.inc("ws_session_overflow")
        self.transport_priv = self.h2 = None
        self.privs = None

    def hand_over(self, wrk: Worker, transport: Transport) -> None:
        """Let another transport serve the session from here on; returns when that one has parked or ended it."""
        self.transport = transport
        transport.new_session(wrk, self)

    def describe(self) -> dict[str, object]:
        """The session as ``/sessions`` of the stats socket shows it. Called from any thread, without locks."""
        transport = self.transport
        shown: dict[str, object] = {
            "vxid": self.vxid,
            "age": round(max(0.0, clock.now() - self.t_open), 3),
            "idle": round(max(0.0, clock.now() - self.t_idle), 3),
            "client": f"{self.client_ip.ip}:{self.client_ip.port}",
            "listen": self.listen.name,
            "fd": self.fd,
            "transport": transport.name if transport is not None else None,
            "tls": self.tls.version if self.tls is not None else None,
            "closed": self.closed,
        }
        if transport is not None:
            shown.update(transport.describe(self))
        return shown

    def task_info(self) -> TaskInfo:
        """For the scoreboard, while a worker waits for the session's next request."""
        transport = self.transport
        name = transport.name if transport is not None else self.listen.proto
        state = str(transport.describe(self).get("state", "idle")) if transport is not None else "new"
        return TaskInfo(
            f"{name} session", state, clock.now() - self.t_idle, self.vxid, self.client_ip.ip, "", self.vxid
        )

    def panic_dump(self, out: DumpText) -> None:
        """The session in a panic dump, with what its transport knows of it."""
        out.line(f"fd = {self.fd}, vxid = {self.vxid},\nt_open = {self.t_open:.6f},\nt_idle = {self.t_idle:.6f},")
        out.line(self.ws.dump())
        transport = self.transport
        if transport is None:
            out.line("transport = <none>,")
        else:
            with out.block(f"transport = {transport.name}"):
                out.line(transport.panic_dump(self))
        out.line(f"client = {self.client_ip.ip} {self.client_ip.port} {self.listen.endpoint},")
        out.line(f"local.endpoint = {self.listen.endpoint},\nlocal.socket = {self.listen.name},")
        for name in ("local", "remote", "server", "client"):
            address = getattr(self, f"{name}_ip")
            out.line(f"{name}.ip = {address.ip}:{address.port},")
        if self.tls is not None:
            out.line(f"tls = {{{self.tls.version}, {self.tls.cipher}, alpn = {self.tls.alpn}, sni = {self.tls.sni}}},")
        if self.closed is not None:
            out.line(f"closed = {self.closed},")
