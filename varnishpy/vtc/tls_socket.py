"""TLS over a connection of a test, to be used in the place of its socket.

Reading never blocks, as with the sockets of tests; ``pending`` tells of octets that ``recv`` will return though poll(2)
sees none. Writing waits until everything has left: a record half out is nobody's business. Reading and writing may go
on in two threads (HTTP/2 has a reader), OpenSSL is entered by one at a time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from . import net
from .context import Test, Waker

_CHUNK = 65536


class TlsSocket:
    """A connection that speaks TLS from the handshake on.  ``failed`` once anything went wrong."""

    __slots__ = ("_in", "_lock", "_out", "_plain", "_raw", "_test", "_waker", "_writing", "failed", "ssl")

    def __init__(
        self, test: Test, raw: socket.socket, context: ssl.SSLContext, server: bool, name: str, waker: Waker | None
    ) -> None:
        self._test = test
        self._raw = raw
        self._waker = waker
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name or None)
        self._plain = bytearray()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self.failed = False

    def handshake(self, timeout: float) -> bool:
        """Shake hands; False if that takes longer.

        :raises OSError: (``ssl.SSLError`` is one) it failed
        """
        try:
            while True:
                try:
                    with self._lock:
                        self.ssl.do_handshake()
                    self._flush()
                    return True
                except ssl.SSLWantReadError:
                    self._flush()
                if not self._test.poll(self._raw.fileno(), select.POLLIN, timeout, self._waker):
                    return False
                self._feed()
        except OSError:
            self.failed = True
            with contextlib.suppress(OSError):
                self._flush()  # the alert that says why
            raise

    # As of a socket

    def fileno(self) -> int:
        return self._raw.fileno()

    def getpeername(self) -> tuple[str, int]:
        host, port = self._raw.getpeername()[:2]
        return host, port

    def pending(self) -> bool:
        """Whether octets may be at hand: a peer's first ones can come together with its handshake."""
        return bool(self._plain) or self._in.pending > 0 or self.ssl.pending() > 0

    def recv(self, count: int, flags: int = 0) -> bytes:
        """As of a socket; also the end of a connection that was closed without saying so in TLS is an end."""
        if not self._plain and not self._fill():
            return b""
        data = bytes(self._plain[:count])
        if not flags & socket.MSG_PEEK:
            del self._plain[: len(data)]
        return data

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """All of it.  ``flags`` (urgent data) mean nothing in TLS."""
        with self._writing:
            try:
                with self._lock:
                    self.ssl.write(data)
                    record = self._out.read()
            except ssl.SSLError:
                self.failed = True
                raise
            net.send_all(self._test, self._raw, record, self._waker)
        return len(data)

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self._goodbye()
        self._raw.shutdown(how)

    def close(self) -> None:
        self._goodbye()
        self._raw.close()

    # Inside

    def _fill(self) -> bool:
        """Decrypt what has arrived; False at the end.  Raises BlockingIOError if nothing came of it."""
        while True:
            try:
                with self._lock:
                    self._plain += self.ssl.read(_CHUNK)
                return bool(self._plain)
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return False
            except ssl.SSLError:
                self.failed = True
                raise

    def _feed(self) -> None:
        """Give OpenSSL what the peer sent.  Raises BlockingIOError if that is nothing yet."""
        data = self._raw.recv(_CHUNK)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def _flush(self) -> None:
        """Send what OpenSSL wants to say of itself."""
        with self._writing:
            with self._lock:
                record = self._out.read()
            net.send_all(self._test, self._raw, record, self._waker)

    def _goodbye(self) -> None:
        """Say in TLS that this is the end, if the peer can still hear it."""
        if self.failed:
            return
        self.failed = True
        with contextlib.suppress(OSError, ValueError):
            with contextlib.suppress(ssl.SSLWantReadError), self._lock:
                self.ssl.unwrap()
            self._raw.send(self._out.read())
