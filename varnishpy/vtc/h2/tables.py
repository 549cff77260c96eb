"""Names and numbers of HTTP/2 (RFC 9113, section 6, 7 and 11)."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class FrameType(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntFlag):
    """Flags share bits: ACK and END_STREAM are the same one on different frames."""

    NONE = 0
    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    NO_RFC7540_PRIORITIES = 9


ERRORS = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
"""Error names by code."""

ERROR_CODES = {name: code for code, name in enumerate(ERRORS)}
INITIAL_WINDOW = 65535
INITIAL_TABLE = 4096

_FLAG_NAMES: dict[Flag, tuple[str, frozenset[FrameType]]] = {
    Flag.END_HEADERS: (
        "END_HEADERS",
        frozenset({FrameType.HEADERS, FrameType.PUSH_PROMISE, FrameType.CONTINUATION}),
    ),
    Flag.PADDED: ("PADDED", frozenset({FrameType.DATA, FrameType.HEADERS, FrameType.PUSH_PROMISE})),
    Flag.PRIORITY: ("PRIORITY", frozenset({FrameType.HEADERS})),
}


def type_name(kind: int) -> str:
    return FrameType(kind).name if kind in FrameType.__members__.values() else "?"


def setting_name(code: int) -> str:
    return Setting(code).name if code in Setting.__members__.values() else "unknown"


def error_name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else "unknown"


def flag_names(kind: int, flags: int) -> list[str]:
    """The flags set on a frame of a kind, by name; what has no name there as a number."""
    names: list[str] = []
    left = flags
    if flags & 1:
        if kind in (FrameType.SETTINGS, FrameType.PING):
            names.append("ACK")
            left &= ~1
        elif kind in (FrameType.DATA, FrameType.HEADERS):
            names.append("END_STREAM")
            left &= ~1
    for flag, (name, kinds) in _FLAG_NAMES.items():
        if flags & flag and kind in kinds:
            names.append(name)
            left &= ~flag
    if left:
        names.append(f"0x{left:02x}")
    return names
