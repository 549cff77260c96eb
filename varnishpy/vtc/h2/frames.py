"""Frames: nine octets of header, and what is inside (RFC 9113, section 4 and 6).  No sockets here."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from .tables import Flag, FrameType

HEADER_LENGTH = 9
MASK_31 = 0x7FFFFFFF


class FrameError(ValueError):
    """A frame whose content contradicts its type."""


@dataclass(slots=True)
class Frame:
    """A frame as received, with what its payload says once ``parse`` has looked at it."""

    kind: int
    flags: int
    stream: int
    data: bytes
    padding: int = 0
    settings: dict[int, int] = field(default_factory=dict)
    dependency: int = 0
    exclusive: bool = False
    weight: int = 0
    error: int = 0
    last_stream: int = 0
    debug: bytes | None = None
    promised: int = 0
    increment: int = 0
    content: bytes = b""

    def has(self, flag: Flag) -> bool:
        return bool(self.flags & flag)


def header(kind: int, flags: int, stream: int, length: int) -> bytes:
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream)


def read_header(raw: bytes) -> tuple[int, int, int, int]:
    """Length, type, flags and stream of nine octets; the reserved bit of the stream is kept."""
    length = int.from_bytes(raw[:3], "big")
    kind, flags, stream = struct.unpack(">BBI", raw[3:HEADER_LENGTH])
    return length, kind, flags, stream


def _size(frame: Frame, wanted: int) -> None:
    if len(frame.data) != wanted:
        raise FrameError(f"Size should be {wanted}, but isn't ({len(frame.data)})")


def _unpad(frame: Frame) -> tuple[int, int]:
    """Start and end of the payload inside the padding."""
    if not frame.has(Flag.PADDED):
        return 0, len(frame.data)
    if not frame.data or frame.data[0] >= len(frame.data):
        reported = frame.data[0] if frame.data else 0
        raise FrameError(f"invalid padding: {reported} reported, but size is only {len(frame.data)}")
    frame.padding = frame.data[0]
    return 1, len(frame.data) - frame.padding


def _dependency(frame: Frame, at: int) -> None:
    if len(frame.data) < at + 5:
        raise FrameError("priority fields are cut short")
    (word,) = struct.unpack_from(">I", frame.data, at)
    frame.dependency = word & MASK_31
    frame.exclusive = bool(word >> 31)
    frame.weight = frame.data[at + 4]


def _data(frame: Frame) -> None:
    start, end = _unpad(frame)
    frame.content = frame.data[start:end]


def _headers(frame: Frame) -> None:
    start, end = _unpad(frame)
    if frame.has(Flag.PRIORITY):
        _dependency(frame, start)
        start += 5
    frame.content = frame.data[start:end]


def _push_promise(frame: Frame) -> None:
    start, end = _unpad(frame)
    if end - start < 4:
        raise FrameError("promised stream is cut short")
    frame.promised = int.from_bytes(frame.data[start : start + 4], "big") & MASK_31
    frame.content = frame.data[start + 4 : end]


def _continuation(frame: Frame) -> None:
    frame.content = frame.data


def _priority(frame: Frame) -> None:
    _size(frame, 5)
    _dependency(frame, 0)


def _rst_stream(frame: Frame) -> None:
    _size(frame, 4)
    frame.error = int.from_bytes(frame.data, "big")


def _settings(frame: Frame) -> None:
    if len(frame.data) % 6:
        raise FrameError(f"Size should be a multiple of 6, but isn't ({len(frame.data)})")
    if frame.stream:
        raise FrameError(f"Setting frames should only be on stream 0, but received on stream: {frame.stream}")
    for code, value in struct.iter_unpack(">HI", frame.data):
        frame.settings[code] = value


def _ping(frame: Frame) -> None:
    _size(frame, 8)


def _goaway(frame: Frame) -> None:
    if len(frame.data) < 8:
        raise FrameError(f"Size should be at least 8, but isn't ({len(frame.data)})")
    if frame.data[0] & 0x80:
        raise FrameError("First bit of data is reserved and should be 0")
    frame.last_stream, frame.error = struct.unpack_from(">II", frame.data)
    if len(frame.data) > 8:
        frame.debug = frame.data[8:]


def _window_update(frame: Frame) -> None:
    _size(frame, 4)
    if frame.data[0] & 0x80:
        raise FrameError("First bit of data is reserved and should be 0")
    frame.increment = int.from_bytes(frame.data, "big")


_PARSERS = {
    FrameType.DATA: _data,
    FrameType.HEADERS: _headers,
    FrameType.PRIORITY: _priority,
    FrameType.RST_STREAM: _rst_stream,
    FrameType.SETTINGS: _settings,
    FrameType.PUSH_PROMISE: _push_promise,
    FrameType.PING: _ping,
    FrameType.GOAWAY: _goaway,
    FrameType.WINDOW_UPDATE: _window_update,
    FrameType.CONTINUATION: _continuation,
}


def parse(frame: Frame) -> None:
    """Fill in what the payload says.  Frames of unknown type are left alone.  Raises FrameError."""
    parser = _PARSERS.get(frame.kind)  # type: ignore[call-overload]
    if parser is not None:
        parser(frame)


def priority_fields(stream: int, exclusive: bool, weight: int) -> bytes:
    return struct.pack(">IB", stream & MASK_31 | (0x80000000 if exclusive else 0), weight & 0xFF)


def settings_payload(settings: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack(">HI", code, value & 0xFFFFFFFF) for code, value in settings)
