"""The facts of HTTP/2 as tables: errors, frame types, flags, settings, stream states and how they follow each other.

Parsing, logging, dumps and tests read these rows. To add a setting takes its row, and its effect in ``settings.py`` if
it has one; to add a frame type, its row and its handler in ``receive.py``; to add an error, its row, and its name in
`CE` or `SE` if our code raises it. Numbers are those of RFC 9113 (sections 6, 7 and 6.5.2) and RFC 9218 (section 7).

Members of an Enum cost two look-ups each time they are named. So each member that code names is exported once more, as
a plain constant: ``F_DATA`` is ``F.DATA``, ``SENT_END`` is ``Event.SENT_END``, ``CLOSED`` is ``State.CLOSED``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

# -- errors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class H2Error:
    """One way for a stream or a connection to fail.

    ``code`` goes on the wire; several errors may share it. ``connection`` is the scope, ``goaway`` whether a GOAWAY
    tells the client, ``reason`` what ``SessClose`` will say.
    """

    name: str
    code: int
    connection: bool
    goaway: bool
    reason: str
    text: str

    @property
    def log_name(self) -> str:
        """What the log and the panic dump call it."""
        return f"H2{'C' if self.connection else 'S'}E_{self.name}"

    def __repr__(self) -> str:
        return self.log_name


_BOTH: Final = "cs"

# name, code, scopes (c connection, s stream), GOAWAY, close reason, text
_ERROR_ROWS: Final[tuple[tuple[str, int, str, bool, str, str], ...]] = (
    ("NO_ERROR", 0, _BOTH, True, "REM_CLOSE", "Nothing went wrong"),
    ("PROTOCOL_ERROR", 1, _BOTH, True, "RX_JUNK", "The protocol was violated"),
    ("INTERNAL_ERROR", 2, _BOTH, True, "VCL_FAILURE", "A fault on our side"),
    ("FLOW_CONTROL_ERROR", 3, _BOTH, True, "OVERLOAD", "A flow-control window was exceeded"),
    ("SETTINGS_TIMEOUT", 4, "c", True, "RX_TIMEOUT", "Settings were not acknowledged"),
    # scope "cs": after END_STREAM both ways, more frames are an error of the connection (RFC 9113 section 5.1)
    ("STREAM_CLOSED", 5, _BOTH, True, "RX_JUNK", "A frame for a stream that is closed"),
    ("FRAME_SIZE_ERROR", 6, _BOTH, True, "RX_JUNK", "A frame of the wrong size"),
    ("REFUSED_STREAM", 7, "s", True, "REM_CLOSE", "The request was not looked at"),
    ("CANCEL", 8, "s", True, "REM_CLOSE", "The stream is not wanted any more"),
    ("COMPRESSION_ERROR", 9, "c", True, "RX_JUNK", "The header compression state is lost"),
    ("CONNECT_ERROR", 10, "s", True, "REM_CLOSE", "The connection asked for by CONNECT failed"),
    ("ENHANCE_YOUR_CALM", 11, _BOTH, True, "OVERLOAD", "Too much was asked for"),
    ("INADEQUATE_SECURITY", 12, "c", True, "RX_JUNK", "TLS is not good enough"),
    ("HTTP_1_1_REQUIRED", 13, "c", True, "REQ_HTTP20", "Ask again over HTTP/1.1"),
    # ours: they share a code, but differ in scope or in what the end of the session is called
    ("RAPID_RESET", 11, "c", True, "RAPID_RESET", "Streams were reset too fast"),
    ("MISSING_SCHEME", 1, "s", True, "REM_CLOSE", "The request has no :scheme"),
    ("BROKE_WINDOW", 8, "s", False, "REM_CLOSE", "The stream's window stayed empty"),
    ("BANKRUPT", 11, "c", False, "BANKRUPT", "All windows stayed empty"),
    ("REQ_SIZE", 11, "s", False, "REM_CLOSE", "The header list exceeds http_req_size"),
    ("SEND_TIMEOUT", 8, "s", False, "REM_CLOSE", "The response was not taken in time"),
    ("IO_ERROR", 0, "c", True, "REM_CLOSE", "The socket failed"),
)

ERRORS: Final[dict[tuple[str, bool], H2Error]] = {
    (name, scope == "c"): H2Error(name, code, scope == "c", goaway, reason, text)
    for name, code, scopes, goaway, reason, text in _ERROR_ROWS
    for scope in scopes
}


class CE:
    """Errors of the connection."""

    NO_ERROR: Final = ERRORS["NO_ERROR", True]
    PROTOCOL_ERROR: Final = ERRORS["PROTOCOL_ERROR", True]
    INTERNAL_ERROR: Final = ERRORS["INTERNAL_ERROR", True]
    FLOW_CONTROL_ERROR: Final = ERRORS["FLOW_CONTROL_ERROR", True]
    STREAM_CLOSED: Final = ERRORS["STREAM_CLOSED", True]
    FRAME_SIZE_ERROR: Final = ERRORS["FRAME_SIZE_ERROR", True]
    COMPRESSION_ERROR: Final = ERRORS["COMPRESSION_ERROR", True]
    ENHANCE_YOUR_CALM: Final = ERRORS["ENHANCE_YOUR_CALM", True]
    RAPID_RESET: Final = ERRORS["RAPID_RESET", True]
    BANKRUPT: Final = ERRORS["BANKRUPT", True]
    IO_ERROR: Final = ERRORS["IO_ERROR", True]


class SE:
    """Errors of one stream."""

    NO_ERROR: Final = ERRORS["NO_ERROR", False]
    PROTOCOL_ERROR: Final = ERRORS["PROTOCOL_ERROR", False]
    INTERNAL_ERROR: Final = ERRORS["INTERNAL_ERROR", False]
    FLOW_CONTROL_ERROR: Final = ERRORS["FLOW_CONTROL_ERROR", False]
    STREAM_CLOSED: Final = ERRORS["STREAM_CLOSED", False]
    FRAME_SIZE_ERROR: Final = ERRORS["FRAME_SIZE_ERROR", False]
    REFUSED_STREAM: Final = ERRORS["REFUSED_STREAM", False]
    CANCEL: Final = ERRORS["CANCEL", False]
    ENHANCE_YOUR_CALM: Final = ERRORS["ENHANCE_YOUR_CALM", False]
    MISSING_SCHEME: Final = ERRORS["MISSING_SCHEME", False]
    BROKE_WINDOW: Final = ERRORS["BROKE_WINDOW", False]
    REQ_SIZE: Final = ERRORS["REQ_SIZE", False]
    SEND_TIMEOUT: Final = ERRORS["SEND_TIMEOUT", False]


_CODES: Final[dict[tuple[int, bool], H2Error]] = {}
for _error in ERRORS.values():
    _CODES.setdefault((_error.code, _error.connection), _error)


def error_by_code(code: int, connection: bool) -> H2Error:
    """The error a peer's code stands for; unknown codes count as INTERNAL_ERROR (RFC 9113 section 7)."""
    return _CODES.get((code, connection)) or _CODES.get((code, not connection)) or ERRORS["INTERNAL_ERROR", connection]


# -- frames ----------------------------------------------------------------------------------------------------------


class F(IntEnum):
    """Frame types."""

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
    PRIORITY_UPDATE = 16


F_DATA: Final = int(F.DATA)
F_HEADERS: Final = int(F.HEADERS)
F_PRIORITY: Final = int(F.PRIORITY)
F_RST_STREAM: Final = int(F.RST_STREAM)
F_SETTINGS: Final = int(F.SETTINGS)
F_PUSH_PROMISE: Final = int(F.PUSH_PROMISE)
F_PING: Final = int(F.PING)
F_GOAWAY: Final = int(F.GOAWAY)
F_WINDOW_UPDATE: Final = int(F.WINDOW_UPDATE)
F_CONTINUATION: Final = int(F.CONTINUATION)
F_PRIORITY_UPDATE: Final = int(F.PRIORITY_UPDATE)

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
PRIORITY_FLAG: Final = 0x20


@dataclass(frozen=True, slots=True)
class FrameRow:
    """What is fixed about one frame type; an error in ``on_*`` means that kind of stream cannot carry it."""

    type: F
    flags: int  # those known; others are masked away
    on_zero: H2Error | None  # on stream 0
    on_stream: H2Error | None  # on any other stream
    on_idle: H2Error | None  # on a stream above the highest opened
    overhead: bool  # its payload is charged to the session, not to a stream

    @property
    def name(self) -> str:
        return self.type.name


_P: Final = CE.PROTOCOL_ERROR

FRAMES: Final[dict[int, FrameRow]] = {
    row.type.value: row
    for row in (
        FrameRow(F.DATA, END_STREAM | PADDED, _P, None, _P, False),
        FrameRow(F.HEADERS, END_STREAM | END_HEADERS | PADDED | PRIORITY_FLAG, _P, None, None, False),
        FrameRow(F.PRIORITY, 0, _P, None, None, True),
        FrameRow(F.RST_STREAM, 0, _P, None, _P, True),
        FrameRow(F.SETTINGS, ACK, None, _P, _P, True),
        FrameRow(F.PUSH_PROMISE, END_HEADERS | PADDED, _P, _P, _P, True),
        FrameRow(F.PING, ACK, None, _P, _P, True),
        FrameRow(F.GOAWAY, 0, None, _P, _P, True),
        FrameRow(F.WINDOW_UPDATE, 0, None, None, _P, True),
        FrameRow(F.CONTINUATION, END_HEADERS, _P, None, _P, False),
        FrameRow(F.PRIORITY_UPDATE, 0, None, _P, _P, True),
    )
}

FRAME_HEADER: Final = 9  # octets
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM: Final = 2**31 - 1

# -- settings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: its value before anybody says otherwise, its bounds, and the error for a value outside of them."""

    name: str
    number: int
    default: int
    low: int
    high: int
    error: H2Error | None
    parameter: str | None  # whose value we announce; None: we never say this one


_ANY: Final = 2**32 - 1

SETTINGS: Final[dict[int, SettingRow]] = {
    row.number: row
    for row in (
        SettingRow("HEADER_TABLE_SIZE", 1, 4096, 0, _ANY, None, "h2_header_table_size"),
        SettingRow("ENABLE_PUSH", 2, 1, 0, 1, _P, None),
        SettingRow("MAX_CONCURRENT_STREAMS", 3, _ANY, 0, _ANY, None, "h2_max_concurrent_streams"),
        SettingRow("INITIAL_WINDOW_SIZE", 4, 65535, 0, MAX_WINDOW, CE.FLOW_CONTROL_ERROR, "h2_initial_window_size"),
        SettingRow("MAX_FRAME_SIZE", 5, 16384, 16384, 2**24 - 1, _P, "h2_max_frame_size"),
        SettingRow("MAX_HEADER_LIST_SIZE", 6, 2**31 - 1, 0, _ANY, None, "http_req_size"),
        SettingRow("ENABLE_CONNECT_PROTOCOL", 8, 0, 0, 1, _P, None),
        SettingRow("NO_RFC7540_PRIORITIES", 9, 0, 0, 1, _P, None),
    )
}

# -- stream states ---------------------------------------------------------------------------------------------------


class State(IntEnum):
    """States of a stream (RFC 9113 section 5.1); the order is that in which they may follow each other."""

    IDLE = 0
    RESERVED_LOCAL = 1
    RESERVED_REMOTE = 2
    OPEN = 3
    HALF_CLOSED_LOCAL = 4
    HALF_CLOSED_REMOTE = 5
    CLOSED = 6


IDLE: Final = State.IDLE
OPEN: Final = State.OPEN
CLOSED: Final = State.CLOSED

STATE_NAMES: Final[dict[State, tuple[str, str]]] = {
    State.IDLE: ("idle", "idle"),
    State.RESERVED_LOCAL: ("r-loc", "reserved (local)"),
    State.RESERVED_REMOTE: ("r-rem", "reserved (remote)"),
    State.OPEN: ("open", "open"),
    State.HALF_CLOSED_LOCAL: ("c-loc", "half closed (local)"),
    State.HALF_CLOSED_REMOTE: ("c-rem", "half closed (remote)"),
    State.CLOSED: ("closed", "closed"),
}


class Event(IntEnum):
    """What makes a stream change its state."""

    RECEIVED_HEADERS = 0
    RECEIVED_END = 1
    SENT_END = 2
    SENT_RESET = 3
    RECEIVED_RESET = 4


RECEIVED_HEADERS: Final = Event.RECEIVED_HEADERS
RECEIVED_END: Final = Event.RECEIVED_END
SENT_END: Final = Event.SENT_END
SENT_RESET: Final = Event.SENT_RESET
RECEIVED_RESET: Final = Event.RECEIVED_RESET

# (state, event) -> next state; a pair that is missing cannot happen, and trying it is a panic
TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.IDLE, Event.RECEIVED_HEADERS): State.OPEN,
    (State.OPEN, Event.RECEIVED_END): State.HALF_CLOSED_REMOTE,
    (State.OPEN, Event.SENT_END): State.HALF_CLOSED_LOCAL,
    (State.OPEN, Event.SENT_RESET): State.CLOSED,
    (State.OPEN, Event.RECEIVED_RESET): State.CLOSED,
    (State.HALF_CLOSED_LOCAL, Event.RECEIVED_END): State.CLOSED,
    (State.HALF_CLOSED_LOCAL, Event.SENT_RESET): State.CLOSED,
    (State.HALF_CLOSED_LOCAL, Event.RECEIVED_RESET): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Event.SENT_END): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Event.SENT_RESET): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Event.RECEIVED_RESET): State.CLOSED,
}

# the same by index, as `stream.advance` wants it: FOLLOWS[state][event], None where nothing follows
FOLLOWS: Final = tuple(tuple(TRANSITIONS.get((state, event)) for event in Event) for state in State)
