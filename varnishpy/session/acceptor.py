"""Accepting connections.

One thread per listen socket accepts, and does nothing else: the session is made by the worker that will serve it. When
descriptors or memory run out the thread pauses, longer with each failure and shorter with each success (the parameters
``acceptor_sleep_*``). While no worker pool has room for one more session (thread_pool_max and thread_queue_limit)
nothing is accepted: connections wait in the kernel's queue, whose length ``listen_depth`` limits.

A socket is in one of three modes: `Mode.ACCEPT`; `Mode.HOLD`, in which connections wait in the kernel's queue;
`Mode.REFUSE`, in which they are accepted and reset, so that clients go elsewhere instead of waiting.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.base.wakeup import Wakeup
from varnishpy.log.tag_numbers import ERROR, SESS_ERROR
from varnishpy.log.tasklog import vsl
from varnishpy.params import params
from varnishpy.session.address import sockaddr
from varnishpy.session.session import Session
from varnishpy.vcl.tasks import ListenInfo

if TYPE_CHECKING:
    from varnishpy.base.endpoint import ListenEndpoint
    from varnishpy.request.env import Env
    from varnishpy.threads import Pool, Task, Worker

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, no time
# Accepted in a row before the thread looks whether it has been told something.
_BURST: Final = 64
# Seconds of pause when the process has run out of descriptors or memory, whatever acceptor_sleep_incr adds to it.
_BREATH: Final = 0.01

# struct tcp_info (linux/tcp.h): of a listen socket, tcpi_unacked is how many connections wait to be accepted
_TCP_INFO_SIZE: Final = 28
_TCPI_UNACKED: Final = struct.Struct("=24xI")

_FAILURES: Final[dict[int, tuple[stats.MainName, bool]]] = {
    errno.ECONNABORTED: ("sess_fail_econnaborted", False),
    errno.EINTR: ("sess_fail_eintr", False),
    errno.EMFILE: ("sess_fail_emfile", True),
    errno.ENFILE: ("sess_fail_emfile", True),
    errno.EBADF: ("sess_fail_ebadf", True),
    errno.ENOBUFS: ("sess_fail_enomem", True),
    errno.ENOMEM: ("sess_fail_enomem", True),
}


class Mode(Enum):
    """What an acceptor does with connections."""

    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"


class _Pace:
    """How long acceptors pause; shared by all, for what runs out is the process's. Thread safe."""

    def __init__(self) -> None:
        self._lock = make_lock("vcapace")
        self.seconds = 0.0

    def bad(self) -> None:
        with self._lock:
            self.seconds = min(self.seconds + params.acceptor_sleep_incr, params.acceptor_sleep_max)

    def good(self) -> None:
        if not self.seconds:
            return
        with self._lock:
            self.seconds *= params.acceptor_sleep_decay
            if self.seconds < params.acceptor_sleep_incr:
                self.seconds = 0.0


def _text(endpoint: ListenEndpoint, sock: socket.socket) -> str:
    """What VCL calls ``local.endpoint``: the address as written, with the port that the system chose if it was to."""
    if endpoint.address.port != "0":
        return endpoint.text
    found = sockaddr(sock.getsockname())
    return f"[{found.ip}]:{found.port}" if sock.family == socket.AF_INET6 else f"{found.ip}:{found.port}"


class Acceptor:
    """The thread of one listen socket."""

    def __init__(self, env: Env, endpoint: ListenEndpoint, sock: socket.socket, owner: Acceptors) -> None:
        self.env = env
        self.sock = sock
        self.is_uds = sock.family == socket.AF_UNIX
        self.listen = ListenInfo(endpoint.name, _text(endpoint, sock), endpoint.proto, self.is_uds)
        self.mode = Mode.HOLD
        self._owner = owner
        self._wake = Wakeup()
        self._stopping = False
        self._crowded = False  # no pool has room; the first that has signals
        self._options: tuple[int, ...] = ()
        self._thread = threading.Thread(target=self._run, name=f"acceptor-{endpoint.name}", daemon=True)

    def start(self) -> None:
        """Start the thread, in mode HOLD."""
        self.sock.setblocking(False)
        self._set_options()
        self._thread.start()

    def set_mode(self, mode: Mode) -> None:
        """Tell the thread what to do from now on; effective within one connection, and no later one is refused."""
        self.mode = mode
        self._wake.signal()

    def stop(self, timeout: float) -> bool:
        """End the thread and close the socket; False if the thread did not end in time."""
        self._stopping = True
        self._wake.signal()
        if self._thread.ident is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        self.sock.close()
        self._wake.close()
        return True

    def address(self) -> tuple[str, str]:
        """Address and port as ``debug.listen_address`` shows them; a Unix socket has its path and ``-``."""
        if self.is_uds:
            return self.listen.endpoint, "-"
        found = sockaddr(self.sock.getsockname())
        return found.ip, str(found.port)

    def waiting(self) -> int:
        """Connections in the kernel's queue; 0 where the kernel does not say, as of a Unix socket."""
        if self.is_uds:
            return 0
        try:
            info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except OSError:
            return 0
        found: int = _TCPI_UNACKED.unpack(info)[0] if len(info) == _TCP_INFO_SIZE else 0
        return found

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake.fileno(), select.POLLIN)
        listening = False
        while not self._stopping:
            wanted = self.mode is not Mode.HOLD and not self._crowded
            if wanted != listening:
                if wanted:
                    poll.register(self.sock.fileno(), select.POLLIN)
                else:
                    poll.unregister(self.sock.fileno())
                listening = wanted
            for fd, _ in poll.poll():
                if fd == self._wake.fileno():
                    self._wake.clear()
                    self._crowded = False
                elif self.mode is not Mode.HOLD:
                    self._burst()

    def _burst(self) -> None:
        self._set_options()
        pace = self._owner.pace
        for _ in range(_BURST):
            if self._stopping or self.mode is Mode.HOLD:
                return
            if pace.seconds:
                self._pause(pace.seconds)
            pool = None
            if self.mode is Mode.ACCEPT:
                pool = self.env.pools.with_room(self._wake)
                if pool is None:
                    self._crowded = True
                    stats.main.inc("sess_held")
                    return
            try:
                connection, peer = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if self._failed(error):
                    # the connection still waits, and would be reported again at once
                    self._pause(_BREATH)
                    return
                continue
            if pool is None and self.mode is not Mode.REFUSE:
                pool = self.env.pools.with_room(self._wake)  # it came after the mode had been changed
            if pool is None:
                self._reset(connection)
                continue
            if not pool.admit(self._task(pool, connection, peer)):
                stats.main.inc("sess_dropped")  # the process is about to end
                self._reset(connection)
            if params.debug.slow_acceptor:
                self._pause(2.0)

    def _pause(self, seconds: float) -> None:
        """Sleep, but not through `stop`."""
        poll = select.poll()
        poll.register(self._wake.fileno(), select.POLLIN)
        poll.poll(seconds * 1000)

    def _failed(self, error: OSError) -> bool:
        """Count and log a failure of accept(2); True if the process has run out of something."""
        number = error.errno or 0
        counter, is_bad = _FAILURES.get(number, ("sess_fail_other", True))
        stats.main.inc(counter)
        stats.main.inc("sess_fail")
        if is_bad:
            self._owner.pace.bad()
        ip, port = ("0.0.0.0", "0") if self.is_uds else self.address()
        vsl(SESS_ERROR, 0, f'{self.listen.name} {ip} {port} {self.sock.fileno()} {number} "{os.strerror(number)}"')
        return is_bad

    @staticmethod
    def _reset(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client may be gone by now
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        connection.close()

    def _set_options(self) -> None:
        """Options that accepted sockets inherit, again when a parameter has changed."""
        wanted = (int(params.tcp_keepalive_time), int(params.tcp_keepalive_probes), int(params.tcp_keepalive_intvl))
        if wanted == self._options:
            return
        self._options = wanted
        sock = self.sock
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if not self.is_uds:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, wanted[0])
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, wanted[1])
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, wanted[2])
        except OSError as error:
            vsl(ERROR, 0, f"{self.listen.name}: cannot set socket options: {error.strerror}")

    def _task(self, pool: Pool, connection: socket.socket, peer: object) -> Task:
        def make_session(wrk: Worker) -> None:
            connection.setblocking(False)
            sess = Session(self.env, pool, connection, self.listen, wrk.next_vxid(), self._owner.table_of(pool.name))
            sess.open(connection, peer)
            self._owner.pace.good()
            wrk.stats.sess_conn += 1
            wrk.stats.s_sess += 1
            transport = self.env.transports[_FIRST[self.listen.proto]]
            try:
                transport.new_session(wrk, sess)
            except Exception:
                # a defect, which the worker tells of: this session ends, if its transport has not seen to that
                sess.delete("TX_ERROR")
                raise

        return make_session


_FIRST: Final = {"HTTP": "HTTP1", "PROXY": "PROXY", "HTTPS": "TLS"}


class Acceptors:
    """All listen sockets of the child, and the sessions that live.

    :param listeners: pairs of endpoint and listening socket, as inherited from the manager
    """

    def __init__(self, env: Env, listeners: Sequence[tuple[ListenEndpoint, socket.socket]]) -> None:
        self._pools = env.pools
        self._tables: dict[str, dict[int, Session]] = {}  # live sessions by transaction id, for each worker pool
        self._mempools: dict[str, stats.Counters[stats.MempoolName]] = {}
        self._lock = make_lock("vcapace")
        self.pace = _Pace()
        self.acceptors = [Acceptor(env, endpoint, sock, self) for endpoint, sock in listeners]
        self.table_of("0")
        stats.add_collector(self._count)

    @property
    def sessions(self) -> dict[int, Session]:
        """The live sessions of this moment, by transaction id."""
        found: dict[int, Session] = {}
        for table in list(self._tables.values()):
            found.update(table)
        return found

    def table_of(self, pool: str) -> dict[int, Session]:
        """Where the sessions of a pool are listed; the pool's ``MEMPOOL.sess`` segment counts them."""
        table = self._tables.get(pool)
        if table is None:
            with self._lock:
                table = self._tables.setdefault(pool, {})
                if pool not in self._mempools:
                    self._mempools[pool] = stats.new_segment(stats.MEMPOOL, f"sess{pool}")
        return table

    def start(self) -> None:
        """Begin to accept (``accept.start``)."""
        for acceptor in self.acceptors:
            acceptor.start()
        self.resume()

    def resume(self) -> None:
        """Accept (again)."""
        self._set(Mode.ACCEPT)

    def hold(self) -> None:
        """``traffic.stop``: leave new connections in the kernel's queue."""
        self._set(Mode.HOLD)

    def refuse(self) -> None:
        """``traffic.refuse``: reset new connections."""
        self._set(Mode.REFUSE)

    def _set(self, mode: Mode) -> None:
        for acceptor in self.acceptors:
            acceptor.set_mode(mode)

    @property
    def mode(self) -> Mode:
        """What is done with connections; all sockets do the same."""
        return self.acceptors[0].mode if self.acceptors else Mode.HOLD

    def stop(self, timeout: float = 2.0) -> bool:
        """End the threads and close the listen sockets; sessions that live go on. False if a thread did not end."""
        deadline = clock.mono() + timeout
        ended = [acceptor.stop(max(0.0, deadline - clock.mono())) for acceptor in self.acceptors]
        stats.remove_collector(self._count)
        for segment in self._mempools.values():
            segment.destroy()
        return all(ended)

    def listen_addresses(self) -> str:
        """What ``debug.listen_address`` answers: name, address and port, one line per socket."""
        return "".join(f"{acceptor.listen.name} {' '.join(acceptor.address())}\n" for acceptor in self.acceptors)

    def describe(self) -> list[dict[str, object]]:
        """All live sessions as ``/sessions`` of the stats socket shows them."""
        return [session.describe() for session in list(self.sessions.values())]

    def _count(self) -> None:
        for pool in [*self._pools.pools]:
            self.table_of(pool.name)
        for name, table in list(self._tables.items()):
            self._mempools[name].set("live", len(table))
        stats.main.set("sess_waiting", sum(acceptor.waiting() for acceptor in self.acceptors))
