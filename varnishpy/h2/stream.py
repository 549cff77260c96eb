"""Streams, and the only code that changes their state.

Theory of operation
===================

A stream is one request and its response. Its state (`tables.State`) moves along `tables.TRANSITIONS`, always
forward, and only in `advance`, which only the session thread may call. Two ends must be reached before a stream is
closed: the client's END_STREAM (`Event.RECEIVED_END`) and ours (`Event.SENT_END`); or one side gives up (the
``_RESET`` events).

Being *closed* is about the protocol; being *free* is about memory. A stream that is closed may still be
**scheduled**: a request thread holds its request, or the request waits for an object, or its response is being
accounted for. It stays in the session's table until that is over, and `release` is where both conditions meet. So:

* ``state`` is written by `advance` alone; closing is counted there (``open_streams``) and remembered there (so that
  a frame that comes late can be told from one that could never have been legal).
* ``error`` is latched by `kill`: the first one stays, unless it was NO_ERROR.
* ``async_error`` is how a request thread asks for a reset; the session thread's sweep turns it into a `kill`.
* ``scheduled`` is set when the request is given to the pool and cleared, on the session thread, when nobody holds
  it.

A request thread may read ``error`` at any time: it only goes from ``None`` to something once as far as the thread
cares.

The transmit window is signed: a smaller INITIAL_WINDOW_SIZE may drive it below zero (RFC 9113 section 6.9.2).
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from varnishpy.base.panic import panic
from varnishpy.h2.frames import rst_stream_frame
from varnishpy.h2.headers import DEFAULT_PRIORITY, HeaderBlock
from varnishpy.h2.tables import CE, FOLLOWS, SE, Event, H2Error, State
from varnishpy.log.tags import Tag

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.h2.receive_buffer import ReceiveBuffer
    from varnishpy.h2.transmit import Entry

_DEBUG: Final = int(Tag.Debug)

# members of an Enum cost a look-up in two tables each time
_CLOSED: Final = State.CLOSED
_ERROR: Final = int(Tag.Error)

STOP_PATIENCE: Final = 1.0  # seconds a client has to end its request when it has the whole response
MEMORY: Final = 128  # how many stream numbers back a session knows what closed a stream

_EVENT_RECEIVED_HEADERS: Final = Event.RECEIVED_HEADERS
_EVENT_RECEIVED_END: Final = Event.RECEIVED_END
_EVENT_SENT_END: Final = Event.SENT_END
_EVENT_SENT_RESET: Final = Event.SENT_RESET
_EVENT_RECEIVED_RESET: Final = Event.RECEIVED_RESET
_STATE_IDLE: Final = State.IDLE


class Stream:
    """One request and its response. Times are wall-clock seconds, windows octets."""

    __slots__ = (
        "async_error",
        "block",
        "entry",
        "error",
        "finish_pending",
        "h2",
        "holders",
        "number",
        "priority",
        "reader",
        "request",
        "rx_asked",
        "rx_buffer",
        "rx_ended",
        "rx_length",
        "rx_window",
        "scheduled",
        "state",
        "t_open",
        "t_stop",
        "t_window_dry",
        "taken_by",
        "trailers",
        "tx_window",
    )  # fmt: skip

    def __init__(self, h2: Connection, number: int, now: float) -> None:
        self.h2 = h2
        self.number = number
        self.state = _STATE_IDLE
        self.scheduled = False
        self.request: Any = None
        self.block: HeaderBlock | None = None
        self.t_open = now
        self.t_stop = 0.0  # the response is complete: when a client still sending is told to stop; 0: it is not
        self.rx_window = h2.local_window
        self.rx_ended = False  # no more body will come: END_STREAM or the end of the stream
        self.rx_length = -1  # content-length, -1 if not said
        self.rx_buffer: ReceiveBuffer | None = None
        self.rx_asked = False  # the reader asked for a larger window
        self.reader: Any = None  # condition on which somebody waits for the body
        self.tx_window = h2.remote_window
        self.t_window_dry = 0.0  # since when it waits for WINDOW_UPDATE; 0: it does not
        self.entry: Entry | None = None  # what is being sent
        self.priority: tuple[int, bool] | None = None
        self.error: H2Error | None = None
        self.async_error: H2Error | None = None
        self.holders = 0  # request threads (or queued tasks) that have the request; under the mutex
        self.finish_pending = False  # the response is through, the last holder finishes the request; under the mutex
        self.taken_by: Any = None  # the worker that has handed the response over and let go; under the mutex
        self.trailers: list[tuple[str, str, str]] | None = None

    @property
    def urgency(self) -> tuple[int, bool]:
        """What the client asked for, or the default."""
        return self.priority if self.priority is not None else DEFAULT_PRIORITY

    def __repr__(self) -> str:
        return f"<stream {self.number} {self.state.name}>"


def advance(stream: Stream, event: Event) -> None:
    """Move a stream on. Panics on a move that the table does not have, and off the session thread."""
    h2 = stream.h2
    if get_ident() != h2.thread:
        h2.assert_session_thread()
    state = FOLLOWS[stream.state][event]
    if state is None:
        panic(f"Assert error: stream {stream.number} in state {stream.state.name} on {event.name}")
    if event == _EVENT_RECEIVED_HEADERS:
        h2.open_streams += 1
        h2.stats.h2_streams += 1
        h2.stats.h2_streams_live += 1
    elif event != _EVENT_SENT_END:
        stream.rx_ended = True
    stream.state = state
    if state is _CLOSED:
        h2.open_streams -= 1
        h2.stats.h2_streams_live -= 1
        h2.closed_memory[stream.number >> 1 & MEMORY - 1] = stream.number << 3 | event


def how_closed(h2: Connection, number: int) -> Event | None:
    """What closed a stream; ``None`` when that was long ago, or it never was opened."""
    memory = h2.closed_memory[number >> 1 & MEMORY - 1]
    return Event(memory & 7) if memory >> 3 == number else None


def kill(stream: Stream, error: H2Error, by_peer: bool = False, charge: bool = True) -> None:
    """End a stream before its time, or let it go when its time has come (NO_ERROR).

    :param by_peer: the client reset it, so there is nobody to tell
    :param charge: a young stream's end counts against the rapid-reset budget, unless the reason is NO_ERROR
    """
    h2 = stream.h2
    h2.assert_session_thread()
    if h2.log is not None:
        h2.log.put(
            _DEBUG, f"KILL st={stream.number} state={stream.state:d} sched={stream.scheduled:d} error={error.code}"
        )
    first = stream.error is None
    if first and not by_peer and h2.error is None and stream.state not in (State.CLOSED, _STATE_IDLE):
        h2.stats.h2_resets_tx += 1
        h2.control(rst_stream_frame(stream.number, error.code))
    if first or stream.error is SE.NO_ERROR:
        stream.error = error
    if first and charge and error.code != 0:
        h2.charge_reset(stream.t_open)
    if stream is h2.header_stream:
        h2.header_stream = None
        if h2.error is None:
            h2.fail(CE.COMPRESSION_ERROR)
    h2.transmitter.unstick(stream)
    if stream.state is not _CLOSED and stream.state is not _STATE_IDLE:
        advance(stream, _EVENT_RECEIVED_RESET if by_peer else _EVENT_SENT_RESET)
    stream.async_error = None
    stream.rx_ended = True
    h2.transmitter.drop(stream)
    if stream.scheduled:
        with h2.mutex:
            if stream.reader is not None:
                stream.reader.notify_all()
        if error.code != 0 or h2.error is not None:
            h2.host.walk_away(stream)
    release(stream)


def release(stream: Stream) -> None:
    """Free a stream that is closed and that nobody holds."""
    h2 = stream.h2
    if stream.state is _CLOSED and not stream.scheduled and h2.streams.pop(stream.number, None) is not None:
        stream.request = None
        if stream.rx_buffer is not None:
            stream.rx_buffer.free()
            stream.rx_buffer = None


def end_received(stream: Stream) -> None:
    """The client has said END_STREAM: wake the reader, close the stream if we had ended it too."""
    advance(stream, _EVENT_RECEIVED_END)
    if stream.reader is not None:
        with stream.h2.mutex:
            if stream.reader is not None:
                stream.reader.notify_all()
    release(stream)


def end_sent(stream: Stream) -> None:
    """Our last byte has left. A client that is still sending is told to stop (RFC 9113 section 8.1): when it goes on,
    or when it has not come to its end in a while. Not at once, because the end may be on its way.
    """
    if stream.state is _CLOSED:
        return
    advance(stream, _EVENT_SENT_END)
    if not stream.rx_ended:
        h2 = stream.h2
        if h2.compat:
            kill(stream, SE.NO_ERROR)
        else:
            stream.t_stop = h2.now + STOP_PATIENCE
            h2.due(stream.t_stop)
