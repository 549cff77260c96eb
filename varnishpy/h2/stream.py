"""Streams, and the only code that changes their state.

Theory of operation
===================

A stream is one request and its response. Its state (`tables.State`) moves along `tables.TRANSITIONS`, always
forward, and only in `advance`, which only the session thread may call. Two ends must be reached before a stream is
closed: the client's END_STREAM (`Event.RECEIVED_END`) and ours (`Event.SENT_END`); or one side gives up (the
``_RESET`` events).

Being *closed* is about the protocol; being *free* is about memory. The request of a stream that is closed may still be
held by a request thread, or wait for an object, or have its response accounted for: ``holding`` knows. Until that is
over the stream stays in the session's table. How it gets out of it is told in ``ending.py``. So:

* ``state`` is written by `advance` alone; closing is counted there (``open_streams``) and remembered there (so that
  a frame that comes late can be told from one that could never have been legal).
* ``error`` is latched by `ending.reset`: the first one stays, unless it was NO_ERROR.
* ``async_error`` is how a request thread asks for a reset; the session thread turns it into one.

A request thread may read ``error`` at any time: it only goes from ``None`` to something once as far as the thread
cares.

The transmit window is signed: a smaller INITIAL_WINDOW_SIZE may drive it below zero (RFC 9113 section 6.9.2).
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Final

from varnishpy.base.panic import panic
from varnishpy.h2.headers import DEFAULT_PRIORITY
from varnishpy.h2.holding import Holding
from varnishpy.h2.tables import CLOSED, FOLLOWS, IDLE, RECEIVED_HEADERS, SENT_END, Event, H2Error, State

if TYPE_CHECKING:
    from threading import Condition

    from varnishpy.h2.connection import Connection
    from varnishpy.h2.host import Request
    from varnishpy.h2.outgoing import Outgoing
    from varnishpy.h2.receive_buffer import ReceiveBuffer
    from varnishpy.http.message import Header

MEMORY: Final = 128  # how many stream numbers back a session knows what closed a stream


class Stream:
    """One request and its response. Times are monotonic seconds, windows octets."""

    __slots__ = (
        "async_error",
        "error",
        "h2",
        "holding",
        "number",
        "priority",
        "reader",
        "request",
        "response",
        "rx_asked",
        "rx_buffer",
        "rx_ended",
        "rx_length",
        "rx_window",
        "source_ready",
        "state",
        "t_open",
        "t_stop",
        "t_window_dry",
        "trailers",
        "tx_window",
    )  # fmt: skip

    def __init__(self, h2: Connection, number: int, now: float) -> None:
        self.h2 = h2
        self.number = number
        self.state: State = IDLE
        self.holding = Holding(h2.mutex, number)
        self.request: Request | None = None
        self.t_open = now
        self.t_stop = 0.0  # the response is complete: when a client still sending is told to stop; 0: it is not
        self.rx_window = h2.windows.initial_rx
        self.rx_ended = False  # no more body will come: END_STREAM or the end of the stream
        self.rx_length = -1  # content-length, -1 if not said
        self.rx_buffer: ReceiveBuffer | None = None
        self.rx_asked = False  # the reader asked for a larger window; under the mutex
        self.reader: Condition | None = None  # on which somebody waits for the body; under the mutex
        self.tx_window = h2.windows.initial_tx
        self.t_window_dry = 0.0  # since when it waits for WINDOW_UPDATE; 0: it does not
        self.response: Outgoing | None = None  # what is being sent
        self.source_ready = False  # the response's source has called: it has more to give
        self.priority: tuple[int, bool] | None = None
        self.error: H2Error | None = None
        self.async_error: H2Error | None = None
        self.trailers: list[Header] | None = None

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
    if event is RECEIVED_HEADERS:
        h2.open_streams += 1
        h2.stats.h2_streams += 1
        h2.stats.h2_streams_live += 1
    elif event is not SENT_END:
        stream.rx_ended = True
    stream.state = state
    if state is CLOSED:
        h2.open_streams -= 1
        h2.stats.h2_streams_live -= 1
        h2.closed_memory[stream.number >> 1 & MEMORY - 1] = stream.number << 3 | event


def how_closed(h2: Connection, number: int) -> Event | None:
    """What closed a stream; ``None`` when that was long ago, or it never was opened."""
    memory = h2.closed_memory[number >> 1 & MEMORY - 1]
    return Event(memory & 7) if memory >> 3 == number else None
