"""One connection as a script sees it: the last message received, and HTTP/1 reading and writing.

This is a test peer, not a parser to imitate: it reads exactly what a message consists of and leaves the rest in the
socket, takes almost anything for a header, and lets the script judge.  What goes wrong on the wire is fatal unless the
script said ``non_fatal``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import net, numbers, tls
from .context import Test, Waker
from .log import Voice

if TYPE_CHECKING:
    from .h2.connection import H2Connection
    from .tls import TlsState
    from .tls_socket import TlsSocket

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_END = re.compile(rb"\n\r?\n")
_PEEK = 65536
MAX_MESSAGE = 64 * 1024 * 1024
UNDEFINED = "<undef>"


class WireError(Exception):
    """Something on the wire was not as it should be, and the script said ``non_fatal``: the command ends here."""

    def __init__(self, text: str, partial: bytes = b"") -> None:
        super().__init__(text)
        self.partial = partial


class Http:
    """A connection with its HTTP/1 state."""

    __slots__ = (
        "body",
        "body_length",
        "chunk_length",
        "fatal",
        "gzip_level",
        "gzip_residual",
        "h2",
        "head",
        "head_method",
        "listener",
        "name",
        "no_rfc7540_priorities",
        "remote_ip",
        "remote_path",
        "remote_port",
        "req",
        "resp",
        "run",
        "sock",
        "test",
        "timeout",
        "tls",
        "voice",
        "waker",
    )

    def __init__(
        self, test: Test, voice: Voice, name: str, sock: socket.socket | TlsSocket, listener: socket.socket | None
    ) -> None:
        self.test = test
        self.voice = voice
        self.name = name
        self.sock: socket.socket | TlsSocket | None = sock
        self.tls: TlsState | None = None
        self.listener = listener
        self.timeout = test.settings.max_duration * 0.5
        self.fatal = True
        self.req: list[str | None] = [None, None, None]
        self.resp: list[str | None] = [None, None, None]
        self.body: bytes | None = None
        self.body_length = ""
        self.chunk_length: str | None = ""
        self.head_method = False
        self.gzip_level = 0
        self.gzip_residual = -1
        self.h2: H2Connection | None = None
        self.no_rfc7540_priorities = 0
        self.remote_ip = "0.0.0.0"
        self.remote_port = "0"
        self.remote_path: str | None = None
        self.waker: Waker | None = None
        self.run: Callable[[str], None] = lambda _script: None

    @property
    def is_server(self) -> bool:
        return self.listener is not None

    @property
    def descriptor(self) -> int:
        return -1 if self.sock is None else self.sock.fileno()

    def problem(self, text: str) -> None:
        """Report trouble on the wire: fatal, or (``non_fatal``) not even logged."""
        if self.fatal:
            self.voice.fatal(text)

    def give_up(self, text: str, partial: bytes = b"") -> WireError:
        self.problem(text)
        return WireError(text, partial)

    # Reading

    def _socket(self) -> socket.socket | TlsSocket:
        if self.sock is None:
            raise self.give_up("the connection is closed")
        return self.sock

    def wait_readable(self) -> None:
        """Wait until there is something to read, for at most the connection's timeout."""
        sock = self._socket()
        while not self._poll(sock):
            self.problem(f"HTTP rx timeout (fd:{sock.fileno()} {self.timeout:.3f}s)")

    def _poll(self, sock: socket.socket | TlsSocket) -> int:
        with self.test.waiting("data from its peer"):
            return net.wait_readable(self.test, sock, self.timeout, self.waker)

    def _recv(self, count: int, flags: int = 0) -> bytes:
        """Some octets; none at the end of the connection, or after trouble that is not fatal."""
        sock = self._socket()
        while True:
            self.wait_readable()
            try:
                return sock.recv(count, flags)
            except BlockingIOError:
                continue
            except OSError as error:
                self.problem(f"HTTP rx failed (fd:{sock.fileno()} read: {error.strerror})")
                return b""

    def read_exactly(self, count: int) -> bytes:
        """``count`` octets; WireError with what there was if the peer closes before."""
        parts: list[bytes] = []
        while count > 0:
            data = self._recv(min(count, _PEEK))
            if not data:
                text = f"HTTP rx EOF (fd:{self.descriptor} read: Success) {count}"
                raise self.give_up(text, b"".join(parts))
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def _read_until(self, pattern: re.Pattern[bytes], overlap: int) -> tuple[bytes, bool]:
        """Octets up to and with the end of ``pattern``, and whether it was found before the peer closed."""
        have = bytearray()
        while len(have) < MAX_MESSAGE:
            peeked = self._recv(_PEEK, socket.MSG_PEEK)
            if not peeked:
                return bytes(have), False
            before = len(have)
            have += peeked
            found = pattern.search(have, max(before - overlap, 0))
            taken = found.end() - before if found else len(peeked)
            self._recv(taken)
            if found:
                return bytes(have[: found.end()]), True
        raise self.give_up(f"message longer than {MAX_MESSAGE} bytes")

    def read_head(self) -> None:
        """Receive up to the end of a header block."""
        self.head = b""
        self.body = None
        self.body_length = UNDEFINED
        head, complete = self._read_until(_HEAD_END, 2)
        self.voice.dump(4, "rxhdr", head)
        self.voice.say(4, f"rxhdrlen = {len(head)}")
        self.head = head
        self.body = b""
        if not complete:
            self.problem("HTTP header is incomplete")

    def split_head(self, is_request: bool) -> None:
        """Cut the header block into its first line's three fields and the header lines."""
        if not self.head:
            self.voice.say(4, "No headers")
            fields: list[str | None] = [None, None, None]
        else:
            fields = split_head(self.head.decode("latin-1"))
        if is_request:
            self.req = fields
        else:
            self.resp = fields
        for number, text in enumerate(fields):
            self.voice.dump(4, f"http[{number:2d}] ", text)
        if count_header(fields, "content-length") > 1:
            self.voice.fatal("Multiple Content-Length headers.")

    def read_chunk(self) -> int:
        """One chunk, appended to the body; its length, 0 for the last."""
        line, complete = self._read_until(re.compile(rb"\n"), 0)
        if not complete:
            raise self.give_up(f"HTTP rx EOF (fd:{self.descriptor} read: Success) 1")
        self.voice.dump(4, "len", line)
        text = line.decode("latin-1")
        length, digits = numbers.prefix_unsigned(text, 16)
        self.chunk_length = str(length)
        if not digits or (text[digits:] and text[digits] not in " \t\r\n"):
            raise self.give_up(f"Chunklen fail ({ord(text[digits : digits + 1] or chr(0)):02x} @ {digits})")
        if length > MAX_MESSAGE:
            raise self.give_up(f"chunk of {length} bytes is too long")
        data = self.read_exactly(length)
        if length:
            self.voice.dump(4, "chunk", data)
        end = self.read_exactly(2)
        if end != b"\r\n" and end[:1] != b"\n":
            raise self.give_up("Chunklen without CRLF")
        self.body = (self.body or b"") + data
        return length

    def read_body(self, fields: list[str | None], until_close: bool, most: int = 0) -> None:
        """Receive a message's body: chunked, of known length, or (``until_close``) up to the end of the connection.

        With ``most`` stop after about that many octets; the next call goes on from there.
        """
        coding = find_header(fields, "transfer-encoding")
        length = find_header(fields, "content-length")
        before = len(self.body or b"")
        if coding is not None and coding.lower() == "chunked":
            kind = "chunked"
            if length is not None:
                raise self.give_up("Both C-E: Chunked and C-L")
            try:
                while self.read_chunk() > 0:
                    if most and len(self.body or b"") - before >= most:
                        break
            except WireError:
                kind = "chunked (cut short)"
        elif length is not None:
            kind = "c-l"
            wanted = numbers.unsigned(length, 10)
            wanted = most if most and wanted > before + most else wanted - before
            if wanted > MAX_MESSAGE:
                raise self.give_up(f"body of {wanted} bytes is too long")
            try:
                self.body = (self.body or b"") + self.read_exactly(wanted)
            except WireError as error:
                self.body = (self.body or b"") + error.partial
                raise
        elif until_close:
            kind = "eof"
            self._read_rest(before, most)
        else:
            self.voice.dump(4, "none", b"")
            self.body_length = "0"
            return
        body = self.body or b""
        self.voice.dump(4, kind, body[before:])
        self.body_length = str(len(body))

    def _read_rest(self, before: int, most: int) -> None:
        parts = [self.body or b""]
        total = before
        while not most or total - before < most:
            data = self._recv(min(_PEEK, most - (total - before)) if most else _PEEK)
            if not data:
                break
            parts.append(data)
            total += len(data)
            if total > MAX_MESSAGE:
                raise self.give_up(f"body longer than {MAX_MESSAGE} bytes")
        self.body = b"".join(parts)

    def expect_close(self) -> None:
        """Nothing but white space may come before the end of the connection."""
        sock = self._socket()
        while True:
            if not self._poll(sock):
                self.problem("Expected close: timeout")
            try:
                data = sock.recv(1)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            if data not in b" \t\r\n":
                self.problem(f"Expecting close: read = 1, c = 0x{data[0]:02x}")

    # Writing

    def write(self, data: bytes) -> None:
        try:
            net.send_all(self.test, self._socket(), data, self.waker)
        except OSError as error:
            self.problem(f"Write failed: {error.strerror}")

    def transmit(self, what: str, data: bytes) -> None:
        self.voice.dump(4, what, data)
        self.write(data)

    # The end

    def close(self) -> None:
        tls.leave(self)
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def know_peer(self, address: str) -> None:
        """Note who is at the other end (``address``: the one listened on or connected to)."""
        if net.is_path(address):
            self.remote_path = address
            return
        try:
            peer = self._socket().getpeername()
        except OSError:
            return
        self.remote_ip, self.remote_port = str(peer[0]), str(peer[1])


def split_head(text: str) -> list[str | None]:
    """The three fields of the first line and the header lines, however odd."""
    rows = re.split(r"\r?\n", text)
    first = rows[0].lstrip(" \t")
    words = re.match(r"([^ \t]*)[ \t]*([^ \t]*)(?:[ \t]+(.*))?", first, re.DOTALL)
    assert words is not None
    fields: list[str | None] = [words.group(1), words.group(2), words.group(3)]
    for row in rows[1:]:
        if not row:
            break
        fields.append(row)
    return fields


def find_header(fields: list[str | None], name: str) -> str | None:
    """The value of the first header of that name (any case), without blanks before it."""
    prefix = name.lower() + ":"
    for row in fields[3:]:
        if row is not None and row[: len(prefix)].lower() == prefix:
            return row[len(prefix) :].lstrip(" \t")
    return None


def count_header(fields: list[str | None], name: str) -> int:
    prefix = name.lower() + ":"
    return sum(1 for row in fields[3:] if row is not None and row[: len(prefix)].lower() == prefix)


def until_nul(data: bytes | None) -> str | None:
    """A body as ``expect`` compares it: text up to the first NUL."""
    if data is None:
        return None
    return data.partition(b"\0")[0].decode("latin-1")
