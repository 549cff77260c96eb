"""One HTTP/2 connection without its socket: everything the protocol remembers, and the verbs that change it.

Bytes that arrived go into `receive_data`; requests come out through the `Host`; responses go in through
`send_headers`; the bytes to be sent are asked of `data_to_send`. Time is told, never asked: whoever drives the
connection sets `now`. ``http2/session.py`` drives it with a real socket and real threads, tests drive it with byte
strings.

Threads. The *session thread* owns all of it. Request threads may call the verbs of the section of that name, and read
a stream's ``error``; what they leave stands in the `Inbox` until the session thread takes it with `take_inbox`.
"""

from __future__ import annotations

from array import array
from threading import get_ident
from typing import TYPE_CHECKING

from varnishpy.base.clock import NEVER
from varnishpy.base.panic import panic
from varnishpy.h2.block_in_progress import BlockInProgress
from varnishpy.h2.budgets import Purse, ResetBudget
from varnishpy.h2.ending import request_finished, reset, response_lost
from varnishpy.h2.frames import FrameParser, frame, goaway_frame, rst_stream_frame, window_update_frame
from varnishpy.h2.headers import Limits
from varnishpy.h2.holding import Holding
from varnishpy.h2.hpack import Decoder
from varnishpy.h2.inbox import Inbox
from varnishpy.h2.outgoing import Outgoing
from varnishpy.h2.overhead import Overhead
from varnishpy.h2.receive import log_frame, process
from varnishpy.h2.settings import announced, settings_payload
from varnishpy.h2.stream import MEMORY, Stream, advance
from varnishpy.h2.tables import CE, CLOSED, F_PING, MAX_STREAM, RECEIVED_HEADERS, SE, H2Error
from varnishpy.h2.transmit import Transmitter
from varnishpy.h2.windows import Windows
from varnishpy.http.message import FIRST_LINE
from varnishpy.log.tag_numbers import DEBUG, ERROR, H2_RX_BODY, H2_RX_HDR, SESS_ERROR
from varnishpy.log.tasklog import SESSION, TaskLog, is_masked
from varnishpy.params import params
from varnishpy.stats import TaskCounters

if TYPE_CHECKING:
    from varnishpy.h2.host import Host
    from varnishpy.storage.source import Piece


class Connection:
    """See the module text. Times are monotonic seconds: a step of the wall clock ends no session."""

    __slots__ = (
        # the world
        "host", "vxid", "log", "stats", "thread", "inbox", "mutex",
        # time
        "now", "t_idle", "next_due", "send_timeout_of", "idle_timeout_of",
        # how it stands
        "error", "leaving", "refusing", "goaway_stream", "ping_sent", "bogosities", "overhead",
        # rules
        "compat", "nocheck", "limits", "list_limit", "max_streams",
        # settings
        "local_settings", "remote_settings", "expect_settings", "max_frame", "table_shrunk",
        # streams
        "streams", "open_streams", "highest_stream", "closed_memory", "early", "windows",
        # parts
        "parser", "decoder", "block", "transmitter", "purse", "resets",
    )  # fmt: skip

    def __init__(self, host: Host, vxid: int, now: float) -> None:
        self.host = host
        self.vxid = vxid
        self.log = TaskLog(vxid, SESSION)
        self.stats = TaskCounters()
        self.thread = get_ident()
        self.inbox = Inbox()
        self.mutex = self.inbox.mutex  # guards what request threads and the session thread both change; held briefly

        self.now = now
        self.t_idle = now
        self.next_due = NEVER
        self.send_timeout_of: float | None = None
        self.idle_timeout_of: float | None = None

        self.error: H2Error | None = None
        self.leaving = False  # the client said GOAWAY
        self.refusing = False  # we have said GOAWAY, streams above it are ignored
        self.goaway_stream = MAX_STREAM  # what our last GOAWAY said
        self.ping_sent = b""
        self.bogosities = 0
        self.overhead = Overhead()

        self.compat = bool(params.feature.h2_compat)
        self.nocheck = bool(params.debug.h2_nocheck)
        headers = params.http_max_hdr - FIRST_LINE
        self.limits = Limits(params.http_req_size, params.http_req_hdr_len, headers, self.compat)
        list_limit = params.h2_max_header_list_size
        if list_limit < params.http_req_size:  # which does not count 32 octets for each field, as HTTP/2 does
            list_limit = params.http_req_size * 3 // 2 + 32 * params.http_max_hdr
        self.list_limit: int = list_limit
        self.max_streams: int = params.h2_max_concurrent_streams

        self.local_settings = announced()
        self.remote_settings: dict[int, int] = {}
        self.expect_settings = True
        self.max_frame = 16384  # octets of a frame's payload, what the peer takes
        self.table_shrunk = False

        self.streams: dict[int, Stream] = {}
        self.open_streams = 0
        self.highest_stream = 0
        self.closed_memory = array("Q", bytes(8 * MEMORY))
        self.early: dict[int, tuple[int, bool]] = {}  # priorities of streams yet to come
        self.windows = Windows(params.h2_initial_window_size)

        self.parser = FrameParser(params.h2_max_frame_size)
        self.decoder = Decoder(params.h2_header_table_size, self.list_limit)
        self.block = BlockInProgress()
        self.transmitter = Transmitter(self)
        self.purse = Purse(now)
        self.resets = ResetBudget(params.h2_rapid_reset_limit, params.h2_rapid_reset_period, params.h2_rapid_reset, now)

    # -- threads ---------------------------------------------------------------------------------------------------

    def assert_session_thread(self) -> None:
        """Panics on any other thread."""
        if get_ident() != self.thread:
            panic("Assert error: HTTP/2 session thread only")

    def assert_request_thread(self) -> None:
        """Panics on the session thread, which must never wait."""
        if get_ident() == self.thread:
            panic("Assert error: not on the HTTP/2 session thread")

    # -- for request threads -----------------------------------------------------------------------------------------

    def send_headers(self, out: Outgoing, by: object | None = None) -> None:
        """Send the response to a request: header block, and body if there is one.

        :param by: who lets go of the request in the same step and must not touch it any more; ``None``: the caller
            goes on computing the body
        """
        self.inbox.post(out, out.stream.holding, by)

    def send_own(self, out: Outgoing) -> None:
        """Send a message that the request has no part in: an interim response, or a bare status."""
        self.inbox.post(out)

    def source_ready(self, stream: Stream) -> None:
        """The body of a stream's response has more to give. On any thread."""
        stream.source_ready = True
        self.inbox.post(stream)

    def acknowledge_data(self, stream: Stream) -> None:
        """The reader of a request body has made room: open the stream's window."""
        self.inbox.post(stream)

    def reset_stream(self, stream: Stream, error: H2Error) -> None:
        """Have a stream reset."""
        stream.async_error = error
        self.inbox.post(stream)

    def finished(self, holding: Holding) -> None:
        """The last request thread has finished the request: hand its stream over."""
        self.inbox.post(holding, holding, self)

    # -- what they left, on the session thread -------------------------------------------------------------------------

    def take_inbox(self) -> bool:
        """Do what request threads asked for. True if there was anything."""
        items = self.inbox.take()
        if not items:
            return False
        self.assert_session_thread()
        for item in items:
            if isinstance(item, Outgoing):
                stream = item.stream
                if stream.error is None and self.error is None and stream.state is not CLOSED:
                    self.transmitter.enqueue(item)
                else:
                    response_lost(item, stream.error or self.error)
            elif isinstance(item, Holding):
                finished = self.streams.get(item.number)
                if finished is not None:
                    request_finished(finished)
            else:
                self._look(item)
        self.due(self.now + self.send_timeout())  # if there was a response among them
        return True

    def _look(self, stream: Stream) -> None:
        if stream.source_ready:
            stream.source_ready = False
            out = stream.response
            if out is not None:
                self.transmitter.wake(out)
        if stream.async_error is not None:
            if stream.error is None:
                error = stream.async_error
                if error.connection:
                    self.fail(error)
                reset(stream, error, charge=False)
                return
            stream.async_error = None
        if stream.rx_asked:
            with self.mutex:
                stream.rx_asked = False
            if stream.error is None and not stream.rx_ended:
                self.refill(stream)

    # -- beginning and end -----------------------------------------------------------------------------------------

    def settings_payload(self) -> list[tuple[int, int]]:
        """Our settings, where they differ from the protocol's defaults."""
        return settings_payload(self.local_settings)

    def receive_data(self, data: bytes) -> None:
        """Process what arrived; ``now`` must be set."""
        parser = self.parser
        parser.feed(data)
        log_frames = not (is_masked(H2_RX_HDR) and is_masked(H2_RX_BODY))
        frames = 0
        while self.error is None:
            payload = parser.next()
            if payload is None:
                if parser.too_long and self.compat:
                    self.fail(CE.PROTOCOL_ERROR, "H2: overflow", ERROR)
                elif parser.too_long:
                    self.fail(CE.FRAME_SIZE_ERROR, f"H2: frame of {parser.length} octets is too long")
                break
            frames += 1
            if log_frames:
                log_frame(self, parser.type, parser.flags, parser.stream, payload)
            process(self, parser.type, parser.flags, parser.stream, payload)
        self.overhead.frames_rx += frames
        self.stats.h2_frames_rx += frames

    def data_to_send(self, control_only: bool = False) -> list[Piece]:
        """The pieces to send next; report with `data_sent` how much of them went out. Empty: there is nothing."""
        return self.transmitter.data_to_send(control_only)

    def data_sent(self, count: int) -> None:
        """The line took so many octets of what `data_to_send` gave."""
        self.transmitter.data_sent(count)

    def is_over(self) -> bool:
        """Has the connection met an error, or come to its end without one?"""
        return self.error is not None

    def fail(self, error: H2Error, text: str | None = None, tag: int = SESS_ERROR) -> None:
        """Latch the connection's error; the first one stays."""
        if text is not None:
            self.log.put(tag, text)
        if self.error is None:
            self.error = error
            if error.code:
                self.stats.h2_errors += 1

    def send_goaway(self, error: H2Error, last_stream: int | None = None) -> None:
        """Say GOAWAY; never with a higher stream than before (RFC 9113 section 6.8)."""
        self.goaway_stream = min(self.goaway_stream, self.highest_stream if last_stream is None else last_stream)
        self.control(goaway_frame(self.goaway_stream, error.code))

    def begin_shutdown(self) -> None:
        """Graceful shutdown (RFC 9113 section 6.8), first step: announce it, and find out with a PING when the client
        must know.
        """
        if not self.ping_sent and not self.leaving:
            self.send_goaway(CE.NO_ERROR, MAX_STREAM)
            self.ping_sent = b"draining"
            self.control(frame(F_PING, 0, 0, self.ping_sent))

    def end_shutdown(self) -> None:
        """Graceful shutdown, second step: new streams are ignored, the connection ends with the last open one."""
        if not self.refusing:
            self.refusing = True
            self.send_goaway(CE.NO_ERROR)
        self.leaving = True

    def close_connection(self) -> None:
        """Stage one of the end: every stream dies of the connection's error, and GOAWAY is laid down."""
        self.assert_session_thread()
        error = self.error or CE.NO_ERROR
        self.error = error
        for stream in list(self.streams.values()):
            reset(stream, error)
        if error.goaway:
            self.send_goaway(error)

    # -- streams ---------------------------------------------------------------------------------------------------

    def open_stream(self, number: int) -> Stream:
        """A new stream, opened by HEADERS."""
        stream = Stream(self, number, self.now)
        self.streams[number] = stream
        if self.early:
            stream.priority = self.early.pop(number, None)
        advance(stream, RECEIVED_HEADERS)
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
        now = self.now
        resets = self.resets
        if resets.counts(t_open, now):
            self.stats.h2_rapid_reset += 1
            if not resets.charge(now) and self.error is None:
                self.fail(CE.RAPID_RESET, "H2: Hit RST limit. Closing session.", ERROR)

    def spend(self, count: int = 1) -> bool:
        """Pay for frames that get nothing done; False: the client has spent everything."""
        if self.purse.spend(count, self.now):
            return True
        self.log.put(SESS_ERROR, "H2: too many frames without work")
        self.stats.h2_floods += 1
        return False

    # -- windows ---------------------------------------------------------------------------------------------------

    def charge_connection(self, size: int) -> None:
        """A DATA frame of that size came; give the client more room when there is little left."""
        increment = self.windows.received(size)
        if increment:
            self.control(window_update_frame(0, increment))

    def refill(self, stream: Stream) -> None:
        """Open a stream's receive window to the free space of its buffer."""
        buffer = stream.rx_buffer
        room = self.windows.initial_rx if buffer is None else buffer.size - (buffer.head - buffer.tail)
        increment = room - stream.rx_window
        if increment > 0:
            stream.rx_window += increment
            self.control(window_update_frame(stream.number, increment))

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
        if self.block.unfinished:
            when = self.block.t_begin + self.idle_timeout()
            if when <= now:
                self.fail(CE.COMPRESSION_ERROR, "H2: header block not finished in time")
                return
            self.due(when)
        if self.windows.t_dry:
            when = self.windows.t_dry + self.window_timeout()
            if when <= now:
                self.log.put(DEBUG, "H2: Hit h2_window_timeout")
                self.fail(CE.BANKRUPT)
                return
            self.due(when)
        send_timeout = self.send_timeout()
        window_timeout = self.window_timeout()
        for stream in list(self.streams.values()):
            if stream.t_window_dry:
                when = stream.t_window_dry + window_timeout
                if when <= now:
                    self.log.put(DEBUG, f"H2: stream {stream.number}: Hit h2_window_timeout")
                    if self.open_streams <= self.transmitter.stuck:
                        self.fail(CE.BANKRUPT)
                        return
                    reset(stream, SE.BROKE_WINDOW)
                    continue
                self.due(when)
            if stream.t_stop:
                if stream.t_stop <= now:
                    reset(stream, SE.NO_ERROR)
                    continue
                self.due(stream.t_stop)
            out = stream.response
            if out is not None and out.t_queued:
                when = out.t_queued + send_timeout
                if when <= now:
                    self.log.put(DEBUG, f"H2: stream {stream.number}: Hit send_timeout")
                    reset(stream, SE.SEND_TIMEOUT)
                    continue
                self.due(when)

    # -- accounting ------------------------------------------------------------------------------------------------

    def bogosity(self, text: str) -> None:
        """Something odd that is ignored."""
        self.bogosities += 1
        self.stats.h2_bogosity += 1
        self.log.put(DEBUG, text)
        if not self.spend():
            self.fail(CE.ENHANCE_YOUR_CALM)
