"""A client that may do everything wrong: frames as octets, header blocks as it pleases, and a look at what comes back.

Nothing is shared with the engine under test: a mistake made twice would go unseen.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED = range(8)
CANCEL, COMPRESSION = 8, 9

Field = tuple[str, str]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame; whatever is asked for."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """RFC 7541 section 5.1."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out) + bytes([value])


def text(value: str) -> bytes:
    """A string literal, not Huffman coded."""
    return integer(len(value), 7) + value.encode("latin-1")


def block(fields: Iterable[Field]) -> bytes:
    """A header block of literals that leave no trace in any table."""
    return b"".join(b"\x00" + text(name) + text(value) for name, value in fields)


def request(method: str = "GET", extra: Iterable[Field] = (), path: str = "/") -> list[Field]:
    """The fields of an ordinary request."""
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "127.0.0.1"), *extra]


def headers(
    stream: int = 1,
    fields: Iterable[Field] | bytes | None = None,
    flags: int = END_STREAM | END_HEADERS,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """HEADERS; ``before`` and ``after`` stand around the block (priority, padding)."""
    data = fields if isinstance(fields, bytes) else block(request() if fields is None else fields)
    return frame(HEADERS, flags, stream, before + data + after)


def data(stream: int = 1, payload: bytes = b"test", flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, stream, payload)


def continuation(stream: int, fields: Iterable[Field] | bytes, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, fields if isinstance(fields, bytes) else block(fields))


def priority(stream: int, depends: int = 0, weight: int = 255, exclusive: bool = False) -> bytes:
    return frame(PRIORITY, 0, stream, struct.pack(">IB", depends | exclusive << 31, weight))


def reset(stream: int = 1, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", number, value) for number, value in values))


def ping(payload: bytes = b"h2 probe", flags: int = 0, stream: int = 0) -> bytes:
    return frame(PING, flags, stream, payload)


def goaway(code: int = NO_ERROR, stream: int = 0) -> bytes:
    return frame(GOAWAY, 0, stream, struct.pack(">II", 0, code))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


@dataclass
class Frame:
    """A frame as it arrived."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")

    @property
    def last(self) -> bool:
        """Does it end its stream?"""
        return self.kind == RST_STREAM or (self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM))


class RawClient:
    """One connection. `read` gives frame after frame, ``None`` when the server has closed it."""

    def __init__(self, port: int, patience: float = 2.0) -> None:
        self.patience = patience
        self.sock = socket.create_connection(("127.0.0.1", port), patience)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.settings: dict[int, int] = {}
        self.seen: list[Frame] = []
        self._unread = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, octets: bytes) -> None:
        """Send; a server that has closed already is noticed when reading."""
        try:
            self.sock.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _need(self, count: int, until: float) -> bool:
        while len(self._unread) < count:
            self.sock.settimeout(max(0.001, until - time.monotonic()))
            try:
                piece = self.sock.recv(65536)
            except ConnectionResetError:
                return False
            if not piece:
                assert not self._unread, f"what came last is no frame: {self._unread!r}"
                return False
            self._unread += piece
        return True

    def read(self) -> Frame | None:
        """The next frame. Raises `TimeoutError` when none comes in time."""
        until = time.monotonic() + self.patience
        if not self._need(9, until):
            return None
        size = int.from_bytes(self._unread[:3], "big")
        if not self._need(9 + size, until):
            return None
        kind, flags = self._unread[3:5]
        got = Frame(kind, flags, int.from_bytes(self._unread[5:9], "big") & 0x7FFFFFFF, self._unread[9 : 9 + size])
        self._unread = self._unread[9 + size :]
        self.seen.append(got)
        return got

    def handshake(self, *values: tuple[int, int]) -> None:
        """Preface and settings, both ways acknowledged."""
        self.send(PREFACE + settings(*values))
        acknowledged = False
        while not acknowledged:
            got = self.read()
            assert got is not None, "closed during the handshake"
            if got.kind == SETTINGS and got.flags & ACK:
                acknowledged = True
            elif got.kind == SETTINGS:
                for number, value in struct.iter_unpack(">HI", got.payload):
                    self.settings[number] = value
                self.send(frame(SETTINGS, ACK, 0))

    def read_until_last(self, stream: int) -> None:
        """Read until a stream has ended."""
        while (got := self.read()) is not None:
            if got.stream == stream and got.last:
                return
        raise AssertionError(f"closed before stream {stream} had ended")
