"""A session's socket: reading, gathered writing, and the few waits that the session thread allows itself.

Only the session thread comes here. All waits end at a deadline, and the pool is told of them.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Final, Protocol, cast

from varnishpy.base import clock
from varnishpy.h2.tables import CE, PREFACE
from varnishpy.h2.transmit import CONTROL_SIZE
from varnishpy.http2.sleep import wait_for
from varnishpy.log.tag_numbers import DEBUG, ERROR

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.http2.role import Role
    from varnishpy.session.session import Session


RECEIVE_SIZE: Final = 64 * 1024  # octets asked of the socket at once
BATCHES: Final = 4  # sent in a row before the socket is read again
RECORDS: Final = 32  # the same for TLS, which sends 16 KB at a time


class TlsSocket(Protocol):
    """What a TLS socket has that others have not."""

    def pending(self) -> int: ...


class SocketDesk:
    """The part of a session that deals with its socket; the engine's `Line`.

    ``deadline`` is the monotonic time until which a wait for the socket may last.
    """

    __slots__ = ("_h2", "_role", "_sess", "_tls", "deadline", "ended_by_client")

    def __init__(self, sess: Session, h2: Connection, role: Role) -> None:
        self._sess = sess
        self._h2 = h2
        self._role = role
        # the socket, if it is TLS: it takes a record at a time, and may have read more than it gave
        self._tls: TlsSocket | None = cast("TlsSocket", sess.sock) if sess.tls is not None else None
        self.deadline = 0.0
        self.ended_by_client = False  # it will send no more; it may still read

    # -- for the connection ----------------------------------------------------------------------------------------

    def control_buffer(self) -> memoryview | None:
        buffer = self._role.worker.aws.alloc(CONTROL_SIZE)
        if buffer is None:
            self._h2.fail(CE.ENHANCE_YOUR_CALM, "H2 sess: Out of workspace_thread", ERROR)
        return buffer

    def flush(self) -> bool:
        """Send the batch and the control frames, nothing else, waiting for the socket until the deadline."""
        return self.flush_until(self.deadline)

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def may_hold_more(self) -> bool:
        """May there be input that a selector knows nothing of, because it is decrypted already?"""
        return self._tls is not None

    @property
    def holds_more(self) -> bool:
        """Is there?"""
        return self._tls is not None and self._tls.pending() > 0

    def read(self) -> bytes:
        """What there is to read, at most `RECEIVE_SIZE` octets; empty: nothing now, or the connection has failed."""
        h2 = self._h2
        h2.assert_session_thread()
        try:
            data = self._sess.sock.recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as exc:
            h2.log.put(DEBUG, f"H2: receive error ({exc.strerror})")
            h2.fail(CE.IO_ERROR)
            return b""
        if not data:
            rest = "partial" if h2.parser.waiting else "complete"
            h2.log.put(DEBUG, f"H2: HTC eof (Unexpected end of input) frame={rest}")
            self.ended_by_client = True
            h2.fail(CE.IO_ERROR)
        return data

    # -- writing ---------------------------------------------------------------------------------------------------

    def transmit(self) -> None:
        """Send until there is nothing left or the socket is full, but not so much that reading would have to wait."""
        tx = self._h2.transmitter
        if self._tls is not None:  # one record at a time
            for _ in range(RECORDS):
                before = tx.batch_size
                if not tx.pending or (not self.send_batch(False) and tx.batch_size == before):
                    return
            return
        for _ in range(BATCHES):
            if not tx.pending or not self.send_batch(False):
                return

    def send_batch(self, control_only: bool) -> bool:
        """One system call; False if the socket took less than all, or failed."""
        h2 = self._h2
        h2.assert_session_thread()
        batch = h2.data_to_send(control_only)
        if not batch:
            return True
        tx = h2.transmitter
        size = tx.batch_size
        try:
            count = self._sess.sock.sendmsg(batch)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            h2.fail(CE.IO_ERROR, f"H2: Send error ({exc.strerror})", ERROR)
            tx.stop()
            return False
        h2.stats.h2_sends += 1
        h2.overhead.writes += 1
        h2.data_sent(count)
        return count == size

    def flush_until(self, deadline: float) -> bool:
        """Like `flush`, with a deadline of its own."""
        h2 = self._h2
        h2.assert_session_thread()
        while h2.transmitter.committed:
            if self.send_batch(True):
                continue
            if h2.transmitter.stopped:
                return False
            if not self._await(selectors.EVENT_WRITE, deadline):
                h2.fail(CE.IO_ERROR, "H2: the client takes nothing", ERROR)
                h2.transmitter.stop()
                return False
        return True

    def _await(self, event: int, deadline: float) -> bool:
        """Wait for the socket. False: the deadline has passed."""
        left = deadline - clock.mono()
        if left <= 0:
            return False
        with self._role.worker.blocking():
            wait_for(self._sess.fd, event, left)
        return True

    # -- before and behind HTTP/2 ------------------------------------------------------------------------------------

    def send_all(self, data: bytes) -> bool:
        """Send something that is not HTTP/2, until the deadline."""
        self._h2.assert_session_thread()
        while data:
            try:
                data = data[self._sess.sock.sendmsg([data]) :]
            except (BlockingIOError, InterruptedError):
                if not self._await(selectors.EVENT_WRITE, self.deadline):
                    return False
            except OSError as exc:
                self._h2.log.put(DEBUG, f"H2: Upgrade: Error writing 101 response: {exc.strerror}")
                return False
        return True

    def read_preface(self, data: bytes) -> bytes | None:
        """Wait for the preface until the deadline; what came behind it, or ``None`` if it did not come."""
        self._h2.assert_session_thread()
        while True:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                return None
            if len(data) >= len(PREFACE):
                self._h2.now = clock.mono()
                return data[len(PREFACE) :]
            try:
                more = self._sess.sock.recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                if not self._await(selectors.EVENT_READ, self.deadline):
                    return None
                continue
            except OSError:
                return None
            if not more:
                return None
            data += more

    def half_close(self, linger: float) -> None:
        """`Session.half_close`, so that the client does not lose the GOAWAY."""
        self._h2.assert_session_thread()
        self._sess.half_close(self._wait_readable, linger)

    def _wait_readable(self, seconds: float) -> bool:
        with self._role.worker.blocking():
            return wait_for(self._sess.fd, selectors.EVENT_READ, seconds)
