"""TLS on a non-blocking socket, behaving like the socket itself.

Transports read with ``recv`` and write with ``sendmsg``; where a plain socket raises ``BlockingIOError`` so does this
one. ``pending()`` is all that a plain socket does not have: it tells of octets that OpenSSL has decrypted and that
``recv`` will return though poll(2) sees nothing to read. Ask before polling.

A record that OpenSSL has made and the kernel does not take can neither be taken back nor be replaced. So its octets
count as sent, all but the last: a caller that is told of a write one octet short waits for the socket to become
writable and comes back with that octet, by which time the record can leave. The octet itself is then skipped.

At most one record (16 KB) is made per ``sendmsg``, out of as many small buffers as fit into it.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from varnishpy.base.x509 import Certificate
from varnishpy.params import params

# The largest TLS record (RFC 8446 section 5.1): one write, one record, one MAC.
_RECORD: Final = 16 * 1024
# How long a read may wait for the socket to take what TLS itself must send first (a key update, say).
_PROTOCOL_WAIT: Final = 5.0

Buffer = bytes | bytearray | memoryview


class CertifiedContext(ssl.SSLContext):
    """A context that knows what is in its certificate, which OpenSSL's Python face does not tell."""

    certificate: Certificate | None = None


class NamedSocket(ssl.SSLSocket):
    """The class of socket that contexts of the certificate store make: it tells the store's callback whose it is.

    ``frontend`` is the listener's name, ``http2`` whether h2 is offered, ``server_name`` what the client asked for.
    """

    frontend = ""
    http2 = False
    server_name = ""


class TlsSocket:
    """See the module text. Owned by one thread at a time, like any socket of a session.

    :param sock: non-blocking, and wrapped by it from now on
    :param frontend: name of the listener, by which the certificate store chooses
    :param http2: offer h2 by ALPN
    """

    __slots__ = ("_owed", "_ssl", "_unsent")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, frontend: str = "", http2: bool = False) -> None:
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        if isinstance(wrapped, NamedSocket):
            wrapped.frontend = frontend
            wrapped.http2 = http2
        self._ssl = wrapped
        self._unsent: bytes | None = None  # a record, or what is left of it, that the kernel has not taken
        self._owed = 0  # 1: the first octet of the next write is in that record already

    @property
    def unsent(self) -> bool:
        """Does a record still wait for the kernel to take it?"""
        return self._unsent is not None

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._ssl.fileno()

    def handshake(self) -> int:
        """Go on with the handshake: 0 when it is done, else the poll(2) events to wait for.

        :raises OSError: (``ssl.SSLError`` is one) the handshake failed
        """
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return select.POLLIN
        except ssl.SSLWantWriteError:
            return select.POLLOUT
        return 0

    @property
    def version(self) -> str:
        """``TLSv1.3`` and the like."""
        return self._ssl.version() or ""

    @property
    def cipher(self) -> str:
        """Name of the cipher suite."""
        cipher = self._ssl.cipher()
        return cipher[0] if cipher is not None else ""

    @property
    def alpn(self) -> str:
        """The protocol agreed on (RFC 7301), or ``""``."""
        return self._ssl.selected_alpn_protocol() or ""

    @property
    def server_name(self) -> str:
        """What the client asked for (RFC 6066), or ``""``."""
        return self._ssl.server_name if isinstance(self._ssl, NamedSocket) else ""

    @property
    def certificate(self) -> Certificate | None:
        """The certificate that the client was shown."""
        context = self._ssl.context
        return context.certificate if isinstance(context, CertifiedContext) else None

    def peek(self, size: int) -> bytes | None:
        """What lies encrypted in the kernel, without taking it; ``None``: nothing yet. :raises OSError:"""
        try:
            return socket.socket.recv(self._ssl, size, socket.MSG_PEEK)
        except BlockingIOError:
            return None

    def pending(self) -> int:
        """Decrypted octets at hand."""
        return self._ssl.pending()

    def recv(self, bufsize: int) -> bytes:
        """As of a socket; ``b""`` also where the peer closed without saying so in TLS."""
        while True:
            try:
                return self._ssl.recv(bufsize)
            except ssl.SSLWantReadError:
                raise BlockingIOError from None
            except ssl.SSLWantWriteError:
                poll = select.poll()
                poll.register(self._ssl.fileno(), select.POLLOUT)
                if not poll.poll(_PROTOCOL_WAIT * 1000):
                    raise TimeoutError("TLS cannot write") from None

    def sendmsg(self, buffers: Sequence[Buffer]) -> int:
        """Send some octets from the front of the buffers; how many is the result, ``ssl_buffer`` at most."""
        if not self.flush():
            raise BlockingIOError
        skip = owed = self._owed
        most = params.ssl_buffer
        most -= most % _RECORD if most > _RECORD else 0
        size = 0
        parts: list[Buffer] = []
        for buffer in buffers:
            piece: Buffer = buffer
            if skip and len(buffer):
                piece = memoryview(buffer)[1:]
                skip = 0
            room = most - size
            if len(piece) > room:
                if room:
                    parts.append(memoryview(piece)[:room])
                    size = most
                break
            parts.append(piece)
            size += len(piece)
        self._owed = 0
        if not size:
            return owed - skip
        self._unsent = b"".join(parts)
        if not self.flush():
            self._owed = 1
            size -= 1
            if not size and not owed:
                raise BlockingIOError
        return owed + size

    def send(self, data: Buffer) -> int:
        """As of a socket."""
        return self.sendmsg([data])

    def flush(self) -> bool:
        """Try to get rid of what is ``unsent``; True when nothing is left.

        :raises OSError: the connection is broken
        """
        while self._unsent is not None:
            try:
                sent = self._ssl.send(self._unsent)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            self._unsent = self._unsent[sent:] or None
        return True

    def shutdown(self, how: int) -> None:
        """As of a socket; says goodbye in TLS first if the socket takes it."""
        if how != socket.SHUT_RD:
            self._close_notify()
        self._ssl.shutdown(how)

    def close(self) -> None:
        """Say goodbye in TLS, without waiting for an answer, and close."""
        self._close_notify()
        self._ssl.close()

    def setblocking(self, flag: bool) -> None:
        """Only there for callers that insist: a TLS socket of a session is never blocking."""
        if flag:
            raise ValueError("a TLS socket of a session does not block")

    def _close_notify(self) -> None:
        if self._unsent is None:
            try:
                # sends close_notify, then fails because the peer's has not come yet; that peers get ours is what counts
                self._ssl.unwrap()
            except (OSError, ValueError):
                return
