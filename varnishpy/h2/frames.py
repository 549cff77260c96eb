"""Frames on the wire (RFC 9113 section 4): a parser that takes bytes in any pieces, and builders.

Nothing here knows streams, settings or errors: the parser only finds frames, and says so when one is longer than it may
be.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from varnishpy.h2.tables import FRAME_HEADER, FRAMES, F

_HEADER: Final = Struct(">HBBBI")  # length (16 high bits, 8 low bits), type, flags, stream
_LONG: Final = Struct(">I")
_SETTING: Final = Struct(">HI")
_GOAWAY: Final = Struct(">II")

header_pack: Final = _HEADER.pack
header_unpack: Final = _HEADER.unpack_from
long_unpack: Final = _LONG.unpack
setting_iter: Final = _SETTING.iter_unpack


class FrameParser:
    """Cuts a stream of bytes into frames.

    Call `feed` with what arrived, then `next` until it answers ``None``.
    """

    __slots__ = (
        "_buffer",
        "_have",
        "_need",
        "_pieces",
        "_pos",
        "flags",
        "length",
        "max_frame",
        "stream",
        "too_long",
        "type",
    )

    def __init__(self, max_frame: int) -> None:
        self._buffer: bytes = b""
        self._pos = 0
        self._pieces: list[bytes] = []  # of a frame that arrives in many: joined once, when it is whole
        self._have = 0
        self._need = 0
        self.max_frame = max_frame
        self.too_long = False  # the frame described by the attributes below exceeds max_frame: there is no going on
        self.length = 0
        self.type = 0
        self.flags = 0
        self.stream = 0

    @property
    def waiting(self) -> int:
        """Octets received that are no whole frame yet."""
        return len(self._buffer) - self._pos + self._have

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._have = 0
        elif self._pos < len(self._buffer):
            data = self._buffer[self._pos :] + data
        self._buffer = data
        self._pos = 0

    def next(self) -> bytes | None:
        """The payload of the next frame, whose header then stands in the attributes; ``None``: more must arrive."""
        buffer = self._buffer
        pos = self._pos
        have = len(buffer) - pos - FRAME_HEADER
        if have < 0 or self.too_long:
            return None
        high, low, self.type, self.flags, stream = header_unpack(buffer, pos)
        length: int = high << 8 | low
        self.length = length
        self.stream = stream & 0x7FFFFFFF  # the reserved bit is ignored
        if length > self.max_frame:
            self.too_long = True
            return None
        if have < length:
            self._pieces.append(buffer[pos:])
            self._have = have + FRAME_HEADER
            self._need = length + FRAME_HEADER
            self._buffer = b""
            self._pos = 0
            return None
        pos += FRAME_HEADER
        end = pos + length
        if end == len(buffer):
            self._buffer = b""
            self._pos = 0
        else:
            self._pos = end
        return buffer[pos:end]

    def compact(self) -> None:
        """Let go of consumed bytes, when the next read may be far away."""
        if self._pos:
            self._buffer = self._buffer[self._pos :]
            self._pos = 0


def frame_header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine octets in front of every frame."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return frame_header(len(payload), kind, flags, stream) + payload


def settings_frame(values: list[tuple[int, int]]) -> bytes:
    """SETTINGS with these (number, value) pairs."""
    return frame(F.SETTINGS, 0, 0, b"".join(_SETTING.pack(number, value) for number, value in values))


def rst_stream_frame(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(F.RST_STREAM, 0, stream, _LONG.pack(code))


def goaway_frame(last_stream: int, code: int, text: bytes = b"") -> bytes:
    """GOAWAY; ``text`` is debug data for a human."""
    return frame(F.GOAWAY, 0, 0, _GOAWAY.pack(last_stream, code) + text)


def window_update_frame(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(F.WINDOW_UPDATE, 0, stream, _LONG.pack(increment))


def frame_name(kind: int) -> str:
    """The name of a frame type, for logs."""
    row = FRAMES.get(kind)
    return row.name if row is not None else f"0x{kind:02x}"


def describe_frame(length: int, kind: int, flags: int, stream: int) -> str:
    """A frame in one line, for ``Debug`` records: ``HEADERS[22] 0x05 0x00000001``."""
    return f"{frame_name(kind)}[{length}] 0x{flags:02x} 0x{stream:08x}"
