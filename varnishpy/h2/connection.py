"""One HTTP/2 connection without its socket: everything the protocol remembers, and the verbs that change it.

Bytes that arrived go into `Connection.receive`; requests come out through the `Host`; what is to be sent is asked
of ``transmitter.gather``. Time is told, never asked: whoever drives the connection sets `now`. ``http2/session.py``
drives it with a real socket and real threads, tests drive it with byte strings.

Threads. The *session thread* owns all of it. Request threads may call `post`, `attention`, `ask_reset` and read a
stream's ``error``; what they leave stands in ``inbox``, under ``mutex``, until the session thread takes it with
`take_inbox`. A signal is only needed while the session thread sleeps: ``awake`` tells, and so any number of posts
cost one wakeup.
"""

from __future__ import annotations

from array import array
from enum import IntEnum
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

from varnishpy.base.clock import NEVER
from varnishpy.base.locks import make_lock
from varnishpy.base.panic import panic
from varnishpy.h2 import receive as receiving
from varnishpy.h2.frames import FrameParser, frame, goaway_frame, rst_stream_frame, window_update_frame
from varnishpy.h2.headers import HeaderBlock, Limits
from varnishpy.h2.hpack import Decoder
from varnishpy.h2.stream import MEMORY, Stream, advance, kill, release
from varnishpy.h2.tables import CE, FRAME_HEADER, MAX_STREAM, MAX_WINDOW, SE, SETTINGS, Event, F, H2Error, S, State
from varnishpy.h2.transmit import Entry, Transmitter
from varnishpy.http.message import FIRST_LINE
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import SESSION, TaskLog, is_masked
from varnishpy.params import params
from varnishpy.stats import TaskCounters

if TYPE_CHECKING:
    from varnishpy.h2.receive_buffer import ReceiveBuffer
    from varnishpy.threads.worker import Worker

_DEBUG: Final = int(Tag.Debug)
_ERROR: Final = int(Tag.Error)
_SESS_ERROR: Final = int(Tag.SessError)
_RX_HDR: Final = int(Tag.H2RxHdr)
_RX_BODY: Final = int(Tag.H2RxBody)

# Frames that make us work without getting anything done (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, ...) are
# paid for from a purse that time and real work fill again. An honest client never notices it.
PURSE: Final = 10_000  # frames
PURSE_REFILL: Final = 1_000.0  # frames per second


class Host(Protocol):
    """What a connection needs of the world around it. All of it is called on the session thread."""

    def control_buffer(self) -> memoryview | bytearray | None:
        """Room for control frames; ``None`` when workspace is out (the host then fails the connection)."""

    def flush(self) -> bool:
        """Send what is committed, waiting up to the deadline; False: it did not work, the connection has failed."""

    def signal(self, ghost: bool) -> None:
        """Wake the session thread, or be it for a moment when there is none any more. (Called on request threads.)"""

    def start(self, stream: Stream, block: HeaderBlock, size: int) -> bool:
        """Make a request of a header block (of ``size`` octets) and schedule it; False: nobody has time for it."""

    def reject(self, stream: Stream, block: HeaderBlock, size: int) -> None:
        """Log a request that will not be run; its stream is reset right after."""

    def finish(self, stream: Stream) -> None:
        """The request is through: account for it and let it go. (Also called on request threads.)"""

    def walk_away(self, stream: Stream) -> None:
        """The stream is dead: if its request waits for an object, stop waiting and finish it."""

    def receive_buffer(self, stream: Stream, size: int) -> ReceiveBuffer | None:
        """A buffer for a request body."""


class Post(IntEnum):
    """What request threads leave in the inbox."""

    RESPONSE = 0  # an Entry to send
    INTERIM = 1  # (stream, block): a 1xx response
    READY = 2  # an Entry whose source has more
    ATTENTION = 3  # a Stream: async error, or room in the receive buffer
    RELEASED = 4  # a Stream that its last request thread let go


# members of an Enum cost a look-up in two tables each time
_POST_RESPONSE: Final = Post.RESPONSE
_POST_RELEASED: Final = Post.RELEASED
_POST_READY: Final = Post.READY
_POST_INTERIM: Final = Post.INTERIM
_POST_ATTENTION: Final = Post.ATTENTION
_EVENT_RECEIVED_HEADERS: Final = Event.RECEIVED_HEADERS
_STATE_CLOSED: Final = State.CLOSED


class Connection:
    """See the module text. Times are wall-clock seconds."""

    __slots__ = (
        "awake", "bogosities", "closed_memory", "compat", "decoder", "early", "ended", "error", "expect_settings",
        "frames_rx", "ghost", "goaway_stream", "header_drop", "header_error", "header_flags", "header_new",
        "header_number", "header_pieces", "header_size", "header_stream", "highest_stream", "host", "idle_timeout_of",
        "inbox", "leaving", "limits", "list_limit", "local_settings", "local_window", "log", "max_frame",
        "max_streams", "mutex", "next_due", "nocheck", "now", "open_streams", "parser", "ping_sent", "purse",
        "refusing", "remote_settings", "remote_window", "reset_age", "reset_budget", "reset_limit", "reset_period",
        "rx_overhead_body", "rx_overhead_hdr", "rx_window", "send_timeout_of", "stats", "streams", "t_header",
        "t_idle", "t_purse", "t_reset", "t_window_dry", "table_shrunk", "thread", "transmitter", "tx_control",
        "tx_overhead", "tx_window", "vxid", "wakeups", "wakeups_spared",
    )  # fmt: skip

    def __init__(self, host: Host, vxid: int, now: float) -> None:
        self.host = host
        self.vxid = vxid
        self.log = TaskLog(vxid, SESSION)
        self.stats = TaskCounters()
        self.mutex = make_lock("sess")
        self.thread = get_ident()
        self.awake = True  # the session thread runs, and will look into the inbox before it sleeps; under the mutex
        self.ghost = False  # no thread serves the session any more: who posts must see to it; under the mutex
        self.inbox: list[tuple[Post, Any]] = []
        self.wakeups = 0
        self.wakeups_spared = 0
        self.now = now
        self.t_idle = now
        self.next_due = NEVER
        self.error: H2Error | None = None
        self.compat = bool(params.feature.h2_compat)
        self.nocheck = bool(params.debug.h2_nocheck)
        self.ended = False

        self.local_settings = {
            S.HEADER_TABLE_SIZE: params.h2_header_table_size,
            S.MAX_CONCURRENT_STREAMS: params.h2_max_concurrent_streams,
            S.INITIAL_WINDOW_SIZE: params.h2_initial_window_size,
            S.MAX_FRAME_SIZE: params.h2_max_frame_size,
            S.MAX_HEADER_LIST_SIZE: params.http_req_size,
        }
        self.remote_settings: dict[int, int] = {}
        self.local_window: int = params.h2_initial_window_size
        self.max_streams: int = params.h2_max_concurrent_streams
        self.remote_window = 65535
        self.max_frame = 16384
        self.table_shrunk = False
        headers = params.http_max_hdr - FIRST_LINE
        self.limits = Limits(params.http_req_size, params.http_req_hdr_len, headers, self.compat)
        list_limit = params.h2_max_header_list_size
        self.list_limit: int = list_limit if list_limit >= params.http_req_size else params.http_req_size * 3 // 2
        self.parser = FrameParser(params.h2_max_frame_size)
        self.decoder = Decoder(params.h2_header_table_size, self.list_limit)
        self.expect_settings = True

        self.streams: dict[int, Stream] = {}
        self.open_streams = 0
        self.highest_stream = 0
        self.closed_memory = array("Q", bytes(8 * MEMORY))
        self.rx_window = 65535  # a connection's window is not subject to SETTINGS (RFC 9113 section 6.9.2)
        self.tx_window = 65535
        self.t_window_dry = 0.0
        self.transmitter = Transmitter(self)

        self.header_stream: Stream | None = None  # holds the header-block lock
        self.header_drop = False  # an unfinished block of a stream nobody wants
        self.header_number = 0
        self.header_flags = 0
        self.header_error: H2Error | None = None
        self.header_new = False
        self.header_pieces: list[bytes] = []
        self.header_size = 0
        self.t_header = 0.0

        self.reset_limit: int = params.h2_rapid_reset_limit
        self.reset_period: float = params.h2_rapid_reset_period
        self.reset_age: float = params.h2_rapid_reset
        self.reset_budget = float(self.reset_limit)
        self.t_reset = now
        self.purse = float(PURSE)
        self.t_purse = now

        self.leaving = False  # the client said GOAWAY
        self.refusing = False  # we have said GOAWAY, streams above it are ignored
        self.goaway_stream = MAX_STREAM  # what our last GOAWAY said
        self.ping_sent = b""
        self.early: dict[int, tuple[int, bool]] = {}  # priorities of streams yet to come
        self.bogosities = 0

        self.rx_overhead_hdr = 0
        self.rx_overhead_body = 0
        self.tx_overhead = 0  # frames' headers, and whole control frames
        self.tx_control = 0  # of these, what was behind the headers
        self.frames_rx = 0
        self.send_timeout_of: float | None = None
        self.idle_timeout_of: float | None = None

    # -- threads ---------------------------------------------------------------------------------------------------

    def assert_session_thread(self) -> None:
        """Panics on any other thread."""
        if get_ident() != self.thread:
            panic("Assert error: HTTP/2 session thread only")

    def assert_request_thread(self) -> None:
        """Panics on the session thread, which must never wait."""
        if get_ident() == self.thread:
            panic("Assert error: not on the HTTP/2 session thread")

    def post(self, kind: Post, item: Any) -> None:
        """Leave something for the session thread, and wake it if it sleeps. Any thread."""
        with self.mutex:
            self.inbox.append((kind, item))
            if self.awake:
                self.wakeups_spared += 1
                return
            self.awake = True
            self.wakeups += 1
            ghost = self.ghost  # as it is now: by the time of the call another thread may be at it already
        self.host.signal(ghost)

    def hand_over(self, entry: Entry, wrk: Worker | None) -> None:
        """Leave a response for the session thread.

        :param wrk: the worker of this thread, if it lets go of the request at the same time; it must not touch it then
        """
        with self.mutex:
            if wrk is not None:
                stream = entry.stream
                stream.holders -= 1
                stream.taken_by = wrk
            self.inbox.append((_POST_RESPONSE, entry))
            if self.awake:
                self.wakeups_spared += 1
                return
            self.awake = True
            self.wakeups += 1
            ghost = self.ghost  # as it is now: by the time of the call another thread may be at it already
        self.host.signal(ghost)

    def attention(self, stream: Stream) -> None:
        """Have the session thread look at a stream."""
        self.post(_POST_ATTENTION, stream)

    def ask_reset(self, stream: Stream, error: H2Error) -> None:
        """A request thread wants its stream reset."""
        stream.async_error = error
        self.post(_POST_ATTENTION, stream)

    def take_inbox(self) -> bool:
        """Do what request threads asked for. True if there was anything."""
        with self.mutex:
            posts = self.inbox
            if not posts:
                return False
            self.inbox = []
        self.assert_session_thread()
        for kind, item in posts:
            if kind == _POST_RESPONSE:
                self._response(item)
            elif kind == _POST_RELEASED:
                item.scheduled = False
                self._released(item)
            elif kind == _POST_READY:
                self.transmitter.wake(item)
            elif kind == _POST_INTERIM:
                stream, block = item
                if stream.error is None and self.error is None:
                    self.transmitter.enqueue_interim(stream, block)
            else:
                self._attend(item)
        return True

    def may_sleep(self) -> bool:
        """From here on posts signal. False: something was posted already, do not sleep."""
        with self.mutex:
            if self.inbox:
                return False
            self.awake = False
            return True

    def wake(self) -> None:
        """The session thread runs again."""
        with self.mutex:
            self.awake = True

    # -- beginning and end -----------------------------------------------------------------------------------------

    def settings_payload(self) -> list[tuple[int, int]]:
        """Our settings, where they differ from the protocol's defaults."""
        return [(number, value) for number, value in self.local_settings.items() if value != SETTINGS[number].default]

    def receive(self, data: bytes) -> None:
        """Process what arrived; ``now`` must be set."""
        parser = self.parser
        parser.feed(data)
        log_frames = not (is_masked(_RX_HDR) and is_masked(_RX_BODY))
        frames = 0
        while self.error is None:
            payload = parser.next()
            if payload is None:
                if parser.too_long and self.compat:
                    self.fail(CE.PROTOCOL_ERROR, "H2: overflow", _ERROR)
                elif parser.too_long:
                    self.fail(CE.FRAME_SIZE_ERROR, f"H2: frame of {parser.length} octets is too long")
                break
            frames += 1
            if log_frames:
                receiving.log_frame(self, parser.type, parser.flags, parser.stream, payload)
            receiving.process(self, parser.type, parser.flags, parser.stream, payload)
        self.frames_rx += frames
        self.stats.h2_frames_rx += frames
        self.rx_overhead_hdr += frames * FRAME_HEADER

    def fail(self, error: H2Error, text: str | None = None, tag: int = _SESS_ERROR) -> None:
        """Latch the connection's error; the first one stays."""
        if text is not None:
            self.log.put(tag, text)
        if self.error is None:
            self.error = error
            if error.code:
                self.stats.h2_errors += 1

    def goaway(self, error: H2Error, last_stream: int | None = None) -> None:
        """Say GOAWAY; never with a higher stream than before (RFC 9113 section 6.8)."""
        self.goaway_stream = min(self.goaway_stream, self.highest_stream if last_stream is None else last_stream)
        self.control(goaway_frame(self.goaway_stream, error.code))

    def begin_drain(self) -> None:
        """Graceful shutdown, first step: announce it, and find out with a PING when the client must know."""
        if not self.ping_sent and not self.leaving:
            self.goaway(CE.NO_ERROR, MAX_STREAM)
            self.ping_sent = b"draining"
            self.control(frame(F.PING, 0, 0, self.ping_sent))

    def end_drain(self) -> None:
        """Graceful shutdown, second step: new streams are ignored, the connection ends with the last open one."""
        if not self.refusing:
            self.refusing = True
            self.goaway(CE.NO_ERROR)
        self.leaving = True

    def shut_down(self) -> None:
        """Stage one of the end: every stream dies of the connection's error, and GOAWAY is laid down."""
        self.assert_session_thread()
        error = self.error or CE.NO_ERROR
        self.error = error
        for stream in list(self.streams.values()):
            kill(stream, error)
        if error.goaway:
            self.goaway(error)

    # -- streams ---------------------------------------------------------------------------------------------------

    def open_stream(self, number: int) -> Stream:
        """A new stream, opened by HEADERS."""
        stream = Stream(self, number, self.now)
        self.streams[number] = stream
        if self.early:
            stream.priority = self.early.pop(number, None)
        advance(stream, _EVENT_RECEIVED_HEADERS)
        return stream

    def early_priority(self, number: int, priority: tuple[int, bool]) -> None:
        """Remember the priority of a stream that is not open yet; only so many."""
        if len(self.early) < max(self.max_streams, 1) or number in self.early:
            self.early[number] = priority

    def reset_unknown(self, number: int, error: H2Error) -> None:
        """RST_STREAM for a stream that is gone."""
        self.charge_reset(self.now)
        if self.error is None:
            self.stats.h2_resets_tx += 1
            self.control(rst_stream_frame(number, error.code))

    def charge_reset(self, t_open: float) -> None:
        """Charge the rapid-reset budget for a stream that died young; an overdrawn budget ends the connection."""
        if self.reset_limit <= 0 or self.now - t_open > self.reset_age:
            return
        self.stats.h2_rapid_reset += 1
        refill = (self.now - self.t_reset) * self.reset_limit / self.reset_period
        self.reset_budget = min(float(self.reset_limit), self.reset_budget + max(0.0, refill)) - 1.0
        self.t_reset = self.now
        if self.reset_budget < 0.0 and self.error is None:
            self.fail(CE.RAPID_RESET, "H2: Hit RST limit. Closing session.", _ERROR)

    def spend(self, count: int = 1) -> bool:
        """Pay for frames that get nothing done; False: the client has spent everything."""
        self.purse -= count
        if self.purse >= 0:
            return True
        now = self.now
        self.purse = min(float(PURSE), self.purse + (now - self.t_purse) * PURSE_REFILL)
        self.t_purse = now
        if self.purse >= 0:
            return True
        self.log.put(_SESS_ERROR, "H2: too many frames without work")
        self.stats.h2_floods += 1
        return False

    def earn(self, count: int = 1) -> None:
        """Real work was done."""
        if self.purse < PURSE:
            self.purse = min(float(PURSE), self.purse + count)

    def _response(self, entry: Entry) -> None:
        stream = entry.stream
        if stream.error is not None or self.error is not None or stream.state is _STATE_CLOSED:
            self.transmitter.give_back(entry, stream.error or self.error)
            release(stream)
            return
        timeout = self.send_timeout_of
        when = self.now + (params.send_timeout if timeout is None else timeout)
        if when < self.next_due:
            self.next_due = when
        self.transmitter.enqueue(entry)

    def response_over(self, stream: Stream, request: Any) -> None:
        """A response is sent or given up; the request ends with whoever is through with it last."""
        if request is None:
            return  # a response of our own making; the request thread still has the request
        if stream.holders:  # more only by this thread's doing; who handed this over and let go did so in one step
            with self.mutex:
                if stream.holders:
                    stream.finish_pending = True
                    return
        self.host.finish(stream)
        stream.scheduled = False
        release(stream)

    def _released(self, stream: Stream) -> None:
        """A request thread is through with a request that it did not hand over."""
        if stream.state is not _STATE_CLOSED and stream.entry is None:
            # no response, and none to come
            error = stream.async_error or SE.INTERNAL_ERROR
            kill(stream, error, charge=False)
        else:
            release(stream)

    def _attend(self, stream: Stream) -> None:
        if stream.async_error is not None and stream.error is None:
            error = stream.async_error
            if error.connection:
                self.fail(error)
            kill(stream, error, charge=False)
            return
        stream.async_error = None
        if stream.rx_asked:
            with self.mutex:
                stream.rx_asked = False
            if stream.error is None and not stream.rx_ended:
                self.refill(stream)

    # -- windows ---------------------------------------------------------------------------------------------------

    def charge_connection(self, size: int) -> None:
        """A DATA frame of that size came; give the client more room when there is little left."""
        self.rx_window -= size
        if self.rx_window < params.h2_rx_window_low_water:
            increment: int = params.h2_rx_window_increment
            if self.rx_window + increment <= MAX_WINDOW and size:
                self.rx_window += increment
                self.control(window_update_frame(0, increment))

    def refill(self, stream: Stream) -> None:
        """Open a stream's receive window to the free space of its buffer."""
        buffer = stream.rx_buffer
        room = self.local_window if buffer is None else buffer.size - (buffer.head - buffer.tail)
        increment = room - stream.rx_window
        if increment > 0:
            stream.rx_window += increment
            self.control(window_update_frame(stream.number, increment))

    def change_windows(self, value: int) -> H2Error | None:
        """INITIAL_WINDOW_SIZE changed: so does the window of every live stream (RFC 9113 section 6.9.2)."""
        change = value - self.remote_window
        self.remote_window = value
        for stream in self.streams.values():
            if stream.state is _STATE_CLOSED:
                continue
            stream.tx_window += change
            if stream.tx_window > MAX_WINDOW:
                return CE.FLOW_CONTROL_ERROR
            if stream.tx_window > 0:
                self.transmitter.unstick(stream)
        return None

    # -- sending ---------------------------------------------------------------------------------------------------

    def control(self, octets: bytes) -> None:
        """Queue a control frame."""
        self.transmitter.control(octets)

    # -- time ------------------------------------------------------------------------------------------------------

    def due(self, when: float) -> None:
        """The sweep must run at that time at the latest."""
        if when < self.next_due:
            self.next_due = when

    def window_timeout(self) -> float:
        """How long a window may stay empty."""
        timeout: float = params.h2_window_timeout
        return timeout

    def send_timeout(self) -> float:
        """How long a response may take."""
        timeout: float = params.send_timeout if self.send_timeout_of is None else self.send_timeout_of
        return timeout

    def idle_timeout(self) -> float:
        """How long the connection may be without streams, or a header block unfinished."""
        timeout: float = params.timeout_idle if self.idle_timeout_of is None else self.idle_timeout_of
        return timeout

    def sweep(self) -> None:
        """Look for what is overdue; sets ``next_due`` to the moment the next thing may be."""
        self.assert_session_thread()
        now = self.now
        self.next_due = NEVER
        if self.header_stream is not None or self.header_drop:
            when = self.t_header + self.idle_timeout()
            if when <= now:
                self.fail(CE.COMPRESSION_ERROR, "H2: header block not finished in time")
                return
            self.due(when)
        if self.t_window_dry:
            when = self.t_window_dry + self.window_timeout()
            if when <= now:
                self.log.put(_DEBUG, "H2: Hit h2_window_timeout")
                self.fail(CE.BANKRUPT)
                return
            self.due(when)
        send_timeout = self.send_timeout()
        window_timeout = self.window_timeout()
        for stream in list(self.streams.values()):
            if stream.t_window_dry:
                when = stream.t_window_dry + window_timeout
                if when <= now:
                    self.log.put(_DEBUG, f"H2: stream {stream.number}: Hit h2_window_timeout")
                    if self.open_streams <= self.transmitter.stuck:
                        self.fail(CE.BANKRUPT)
                        return
                    kill(stream, SE.BROKE_WINDOW)
                    continue
                self.due(when)
            if stream.t_stop:
                if stream.t_stop <= now:
                    kill(stream, SE.NO_ERROR)
                    continue
                self.due(stream.t_stop)
            entry = stream.entry
            if entry is not None and entry.t_queued:
                when = entry.t_queued + send_timeout
                if when <= now:
                    self.log.put(_DEBUG, f"H2: stream {stream.number}: Hit send_timeout")
                    kill(stream, SE.SEND_TIMEOUT)
                    continue
                self.due(when)

    # -- accounting ------------------------------------------------------------------------------------------------

    def bogosity(self, text: str) -> None:
        """Something odd that is ignored."""
        self.bogosities += 1
        self.stats.h2_bogosity += 1
        self.log.put(_DEBUG, text)
        if not self.spend():
            self.fail(CE.ENHANCE_YOUR_CALM)

    def overhead_rx(self, size: int) -> None:
        """Octets received that belong to no request."""
        self.rx_overhead_body += size

    def overhead_tx(self, size: int) -> None:
        """Octets sent that belong to no request."""
        self.tx_overhead += size
        self.tx_control += max(0, size - FRAME_HEADER)
