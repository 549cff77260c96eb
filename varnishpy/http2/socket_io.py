"""A session's socket: reading, gathered writing, and the few waits that the session thread allows itself.

Only the session thread comes here. All waits end at a deadline, and the pool is told of them.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING, Final, Protocol, cast

from varnishpy.base import clock
from varnishpy.h2.tables import CE, PREFACE
from varnishpy.http2.requests import RequestDesk
from varnishpy.log.tags import Tag

if TYPE_CHECKING:
    from varnishpy.http2.transport import Http2Transport
    from varnishpy.session.session import Session

_DEBUG: Final = int(Tag.Debug)
_ERROR: Final = int(Tag.Error)

RECEIVE_SIZE: Final = 64 * 1024  # octets asked of the socket at once
BATCHES: Final = 4  # sent in a row before the socket is read again
RECORDS: Final = 32  # the same for TLS, which sends 16 KB at a time


class TlsSocket(Protocol):
    """What a TLS socket has that others have not."""

    def pending(self) -> int: ...


class SocketDesk(RequestDesk):
    """The part of a session that deals with its socket."""

    __slots__ = ("_deadline", "_ended_by_client", "_tls")

    def __init__(self, transport: Http2Transport, sess: Session) -> None:
        super().__init__(transport, sess)
        # the socket, if it is TLS: it takes a record at a time, and may have read more than it gave
        self._tls: TlsSocket | None = cast("TlsSocket", sess.sock) if sess.tls is not None else None
        self._deadline = 0.0  # wall-clock time until which a wait for the socket may last
        self._ended_by_client = False  # it will send no more; it may still read

    def receive(self) -> None:
        """Read what there is, and process it."""
        h2 = self.h2
        h2.assert_session_thread()
        sock = self.sess.sock
        while h2.error is None:
            try:
                data = sock.recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                h2.log.put(_DEBUG, f"H2: receive error ({exc.strerror})")
                h2.fail(CE.IO_ERROR)
                return
            if not data:
                rest = "partial" if h2.parser.waiting else "complete"
                h2.log.put(_DEBUG, f"H2: HTC eof (Unexpected end of input) frame={rest}")
                self._ended_by_client = True
                h2.fail(CE.IO_ERROR)
                return
            self.take(data)
            if self._tls is None or not self._tls.pending():
                return  # TLS may hold decrypted octets that poll(2) knows nothing of

    def take(self, data: bytes) -> None:
        """Process what was received."""
        self.h2.receive(data)
        self.start_all()

    def transmit(self) -> None:
        """Send until there is nothing left or the socket is full."""
        h2 = self.h2
        tx = h2.transmitter
        if self._tls is not None:  # one record at a time
            for _ in range(RECORDS):
                before = tx.batch_size
                if not tx.pending or (not self._send_batch(False) and tx.batch_size == before):
                    return
            return
        for _ in range(BATCHES):
            if not tx.pending or not self._send_batch(False):
                return

    def _send_batch(self, control_only: bool) -> bool:
        """One system call; False if the socket took less than all, or failed."""
        h2 = self.h2
        h2.assert_session_thread()
        tx = h2.transmitter
        batch = tx.gather(control_only)
        if not batch:
            return True
        sock = self.sess.sock
        size = tx.batch_size
        try:
            count = sock.sendmsg(batch)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            h2.fail(CE.IO_ERROR, f"H2: Send error ({exc.strerror})", _ERROR)
            tx.stop()
            return False
        h2.stats.h2_sends += 1
        tx.sent(count)
        return count == size

    def flush_until(self, deadline: float) -> bool:
        h2 = self.h2
        h2.assert_session_thread()
        wrk = self.wrk
        assert wrk is not None
        poll = select.poll()
        poll.register(self.sess.fd, select.POLLOUT)
        while h2.transmitter.committed:
            if self._send_batch(True):
                continue
            if h2.transmitter.stopped:
                return False
            left = deadline - clock.now()
            if left <= 0:
                h2.fail(CE.IO_ERROR, "H2: the client takes nothing", _ERROR)
                h2.transmitter.stop()
                return False
            with wrk.blocking():
                poll.poll(left * 1000 + 1)
        return True

    def send_all(self, data: bytes) -> bool:
        """Send something that is not HTTP/2, until the deadline."""
        self.h2.assert_session_thread()
        poll = select.poll()
        poll.register(self.sess.fd, select.POLLOUT)
        wrk = self.wrk
        assert wrk is not None
        while data:
            try:
                data = data[self.sess.sock.sendmsg([data]) :]
            except (BlockingIOError, InterruptedError):
                left = self._deadline - clock.now()
                if left <= 0:
                    return False
                with wrk.blocking():
                    poll.poll(left * 1000 + 1)
            except OSError as exc:
                self.h2.log.put(_DEBUG, f"H2: Upgrade: Error writing 101 response: {exc.strerror}")
                return False
        return True

    def read_preface(self, data: bytes) -> bytes | None:
        """Wait for the preface until the deadline; what came behind it, or ``None`` if it did not come."""
        self.h2.assert_session_thread()
        poll = select.poll()
        poll.register(self.sess.fd, select.POLLIN)
        wrk = self.wrk
        assert wrk is not None
        while True:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                return None
            if len(data) >= len(PREFACE):
                self.h2.now = clock.now()
                return data[len(PREFACE) :]
            try:
                more = self.sess.sock.recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                left = self._deadline - clock.now()
                if left <= 0:
                    return None
                with wrk.blocking():
                    poll.poll(left * 1000 + 1)
                continue
            except OSError:
                return None
            if not more:
                return None
            data += more

    def half_close(self, linger: float) -> None:
        """Say that nothing more will come and drop what still does: closing with unread input would reset the
        connection, and the client might lose the GOAWAY.
        """
        self.h2.assert_session_thread()
        sock = self.sess.sock
        poll = select.poll()
        poll.register(self.sess.fd, select.POLLIN)
        wrk = self.wrk
        assert wrk is not None
        deadline = clock.now() + linger
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while (left := deadline - clock.now()) > 0:
                with wrk.blocking():
                    ready = poll.poll(left * 1000)
                if not ready or not sock.recv(RECEIVE_SIZE):
                    return
