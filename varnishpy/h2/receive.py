"""What arrives: one handler per frame type.

`process` checks what the table of frame types can check, and calls the handler. A handler answers ``None`` or the
error that the frame is; a connection error ends the connection, a stream error kills the stream. Everything here
runs on the session thread.

Header blocks, of HEADERS and CONTINUATION, have a file of their own: ``receive_headers.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from varnishpy.h2.ending import end_received, reset
from varnishpy.h2.frames import describe_frame, frame, frame_header, frame_name, long_unpack
from varnishpy.h2.headers import parse_priority
from varnishpy.h2.receive_headers import check_length, continuation, headers
from varnishpy.h2.settings import apply_settings
from varnishpy.h2.stream import Stream, how_closed
from varnishpy.h2.tables import (
    ACK,
    CE,
    CLOSED,
    END_STREAM,
    F_CONTINUATION,
    F_DATA,
    F_GOAWAY,
    F_HEADERS,
    F_PING,
    F_PRIORITY,
    F_PRIORITY_UPDATE,
    F_PUSH_PROMISE,
    F_RST_STREAM,
    F_SETTINGS,
    F_WINDOW_UPDATE,
    FRAMES,
    MAX_WINDOW,
    PADDED,
    RECEIVED_END,
    SE,
    SENT_END,
    SENT_RESET,
    H2Error,
    error_by_code,
)
from varnishpy.log.tag_numbers import DEBUG, ERROR, H2_RX_BODY, H2_RX_HDR, SESS_ERROR

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection


Handler = Callable[["Connection", "Stream | None", int, int, bytes], "H2Error | None"]


def log_frame(h2: Connection, kind: int, flags: int, number: int, payload: bytes) -> None:
    """The records of a received frame; called only when they are not masked."""
    h2.log.put_bin(H2_RX_HDR, frame_header(len(payload), kind, flags, number))
    if payload:
        h2.log.put_bin(H2_RX_BODY, payload)
    h2.log.put(DEBUG, f"H2RXF {describe_frame(len(payload), kind, flags, number)}")


def process(h2: Connection, kind: int, flags: int, number: int, payload: bytes) -> None:
    """Take one frame."""
    row = FRAMES.get(kind)
    block = h2.block
    if (
        (block.stream is not None or block.dropped)
        and not (row is None and h2.compat)
        and (kind != F_CONTINUATION or number != block.number)
    ):
        h2.fail(CE.PROTOCOL_ERROR, f"H2: expected continuation but received {frame_name(kind)} on stream {number}")
        return
    if row is None:
        if h2.expect_settings:
            _no_settings(h2, kind, flags, number)
            return
        h2.bogosity(f"H2: Unknown frame type 0x{kind:02x} (ignored)")
        h2.overhead.rx_body += len(payload)
        return
    if row.overhead:
        h2.overhead.rx_body += len(payload)
    if flags & ~row.flags:
        h2.bogosity(f"H2: Unknown flags 0x{flags & ~row.flags:02x} on {row.name} (ignored)")
        flags &= row.flags
    if h2.expect_settings:
        if kind != F_SETTINGS or flags & ACK or number:
            _no_settings(h2, kind, flags, number)
            return
        h2.expect_settings = False
    stream = None
    error: H2Error | None
    if number == 0:
        if row.on_zero is not None:
            h2.fail(row.on_zero, f"H2: unexpected {row.name} frame on stream 0")
            return
    else:
        if row.on_stream is not None:
            h2.fail(row.on_stream, f"H2: unexpected {row.name} frame on stream {number}")
            return
        if number > h2.highest_stream and row.on_idle is not None:
            h2.fail(row.on_idle, f"H2: unexpected {row.name} frame on idle stream {number}")
            return
        if not number & 1 and (kind != F_PRIORITY or h2.compat):
            h2.fail(CE.PROTOCOL_ERROR, f"H2: illegal stream (={number})")
            return
        stream = h2.streams.get(number)
    error = HANDLERS[kind](h2, stream, flags, number, payload)
    if error is not None:
        if error.connection:
            h2.fail(error)
        else:
            # a handler that opened the stream has put it in the table
            stream = h2.streams.get(number)
            if stream is not None and stream.state is not CLOSED:
                reset(stream, error)
            else:
                h2.reset_unknown(number, error)


def _no_settings(h2: Connection, kind: int, flags: int, number: int) -> None:
    ack = "(ACK)" if kind == F_SETTINGS and flags & ACK else ""
    h2.fail(
        CE.PROTOCOL_ERROR,
        f"H2: unexpected {frame_name(kind)}{ack} frame on stream {number}, expected preface settings",
        ERROR,
    )


# -- DATA ------------------------------------------------------------------------------------------------------------


def _data(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    size = len(payload)
    begin = 0
    end = size
    if flags & PADDED:
        if not payload or payload[0] >= size:
            h2.log.put(SESS_ERROR, f"H2: stream {number}: Padding larger than frame length")
            return CE.PROTOCOL_ERROR
        end -= payload[0]
        begin = 1
    # the whole frame counts in both windows, whatever becomes of it (RFC 9113 section 6.9)
    if size > h2.windows.rx:
        h2.log.put(SESS_ERROR, f"H2: stream {number}: Exceeded connection receive window")
        return CE.FLOW_CONTROL_ERROR
    h2.charge_connection(size)
    if stream is None or stream.state is CLOSED:
        if h2.compat:
            # what is dead but still held is ignored; what is not tracked any more is not
            return CE.PROTOCOL_ERROR if stream is None or stream.error is None else None
        how = how_closed(h2, number)
        if how == SENT_RESET:
            return None if h2.spend() else CE.ENHANCE_YOUR_CALM
        if how in (RECEIVED_END, SENT_END):
            h2.log.put(SESS_ERROR, f"H2: DATA on closed stream {number}")
            return CE.STREAM_CLOSED
        return SE.STREAM_CLOSED
    if stream.error is not None:
        return None
    if stream.rx_ended:
        h2.log.put(DEBUG, f"H2: stream {number}: Received data after END_STREAM")
        return SE.STREAM_CLOSED
    length = end - begin
    ended = bool(flags & END_STREAM)
    error = check_length(h2, stream, length, ended)
    if error is not None:
        return error
    if size > stream.rx_window:
        h2.log.put(DEBUG, f"H2: stream {number}: Exceeded stream receive window")
        return SE.FLOW_CONTROL_ERROR
    stream.rx_window -= size
    if stream.t_stop:  # the response is complete
        if ended:
            end_received(stream)
        else:
            reset(stream, SE.NO_ERROR)
        return None
    if length:
        buffer = stream.rx_buffer
        if buffer is None:
            room = min(length, h2.windows.initial_rx) if ended else h2.windows.initial_rx
            buffer = h2.host.desk.receive_buffer(room)
            if buffer is None:
                h2.log.put(DEBUG, f"H2: stream {number}: Failed to allocate request body buffer")
                return SE.INTERNAL_ERROR
            stream.rx_buffer = buffer
        buffer.put(memoryview(payload)[begin:end])
        with h2.mutex:
            buffer.head += length
            if stream.reader is not None:
                stream.reader.notify_all()
        if length < size and h2.compat and not ended:
            h2.refill(stream)  # padding takes no room in the buffer
    elif not ended:
        if not h2.spend():
            return CE.ENHANCE_YOUR_CALM
        buffer = stream.rx_buffer
        if stream.rx_window == 0 and (buffer is None or buffer.head == buffer.tail):
            # nothing but padding has used the window up: no reader will ever ask for more
            h2.refill(stream)
    if ended:
        end_received(stream)
    return None


# -- the others ------------------------------------------------------------------------------------------------------


def _priority(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    if h2.compat:
        return None
    error = None
    if len(payload) != 5:
        error = SE.FRAME_SIZE_ERROR
    elif int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == number:
        error = SE.PROTOCOL_ERROR
    if error is not None and stream is None and (number > h2.highest_stream or not number & 1):
        # RST_STREAM must not be sent on an idle stream (RFC 9113 section 6.4): only the connection is left to fail
        return CE.FRAME_SIZE_ERROR if error is SE.FRAME_SIZE_ERROR else CE.PROTOCOL_ERROR
    if stream is not None and stream.error is not None:
        return None
    return error


def _rst_stream(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) != 4:
        h2.log.put(SESS_ERROR, "H2: rx rst with (len != 4)")
        return CE.FRAME_SIZE_ERROR
    h2.stats.h2_resets_rx += 1
    if stream is None or stream.state is CLOSED:
        return None if h2.spend() else CE.ENHANCE_YOUR_CALM
    code: int = long_unpack(payload)[0]
    h2.log.put(DEBUG, f"H2: stream {number}: rx rst {error_by_code(code, False).log_name}")
    error = error_by_code(code, False)
    # a request that was served in full cost what any request costs
    reset(stream, SE.CANCEL if error.connection or code == 0 else error, by_peer=True, charge=not stream.t_stop)
    return None


def _settings(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if flags & ACK:
        if payload:
            h2.log.put(SESS_ERROR, "H2: rx settings ack with (len > 0)")
            return CE.FRAME_SIZE_ERROR
        h2.decoder.acknowledged()
        return None if h2.spend() else CE.ENHANCE_YOUR_CALM
    if len(payload) % 6:
        h2.log.put(SESS_ERROR, "H2: rx settings with ((len % 6) != 0)")
        return CE.PROTOCOL_ERROR if h2.compat else CE.FRAME_SIZE_ERROR
    if not h2.spend(1 + len(payload) // 60):
        return CE.ENHANCE_YOUR_CALM
    error = apply_settings(h2, payload)
    if error is None:
        h2.control(frame(F_SETTINGS, ACK, 0))
    return error


def _push_promise(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    h2.log.put(SESS_ERROR, "H2: rx push promise")
    return CE.PROTOCOL_ERROR


def _ping(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) != 8:
        h2.log.put(SESS_ERROR, "H2: rx ping with (len != 8)")
        return CE.FRAME_SIZE_ERROR
    if flags & ACK:
        if payload == h2.ping_sent:
            h2.ping_sent = b""
        elif h2.compat:
            h2.log.put(SESS_ERROR, "H2: rx ping ack")
            return CE.PROTOCOL_ERROR
        return None if h2.spend() else CE.ENHANCE_YOUR_CALM
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    h2.control(frame(F_PING, ACK, 0, payload))
    return None


def _goaway(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) < 8:
        h2.log.put(SESS_ERROR, "H2: rx goaway with (len < 8)")
        return CE.FRAME_SIZE_ERROR
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    error = error_by_code(int.from_bytes(payload[4:8], "big"), True)
    h2.log.put(DEBUG, f"GOAWAY {error.log_name}")
    if error.code:
        h2.log.put(ERROR, f"H2: rx goaway {error.log_name}")
    if h2.compat:
        return CE.NO_ERROR
    h2.leaving = True  # what is open is still finished (RFC 9113 section 6.8)
    return None


def _window_update(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) != 4:
        h2.log.put(SESS_ERROR, "H2: rx winup with (len != 4)")
        return CE.FRAME_SIZE_ERROR
    increment: int = long_unpack(payload)[0] & 0x7FFFFFFF
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    if number == 0:
        if increment == 0:
            return CE.PROTOCOL_ERROR
        h2.windows.tx += increment
        if h2.windows.tx > MAX_WINDOW:
            return CE.FLOW_CONTROL_ERROR
        if h2.windows.tx > 0:
            h2.windows.t_dry = 0.0
            h2.transmitter.unhold()
        return None
    if stream is None or stream.state is CLOSED or stream.error is not None:
        # it may have been on its way when the stream ended; but where both sides said so, 0 was never right
        if increment or h2.compat or how_closed(h2, number) not in (RECEIVED_END, SENT_END):
            return None
        return SE.PROTOCOL_ERROR
    if increment == 0:
        return SE.PROTOCOL_ERROR
    stream.tx_window += increment
    if stream.tx_window > MAX_WINDOW:
        return SE.FLOW_CONTROL_ERROR
    if stream.tx_window > 0:
        h2.transmitter.unstick(stream)
    return None


def _priority_update(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    """RFC 9218 section 7.1."""
    if len(payload) < 4:
        return CE.FRAME_SIZE_ERROR
    target = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
    if target == 0 or not target & 1:
        return CE.PROTOCOL_ERROR
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    priority = parse_priority(payload[4:68].decode("latin-1"))
    stream = h2.streams.get(target)
    if stream is not None:
        stream.priority = priority
        h2.transmitter.reprioritize(stream)
    elif target > h2.highest_stream:
        h2.early_priority(target, priority)
    return None


HANDLERS: Final[dict[int, Handler]] = {
    F_DATA: _data,
    F_HEADERS: headers,
    F_PRIORITY: _priority,
    F_RST_STREAM: _rst_stream,
    F_SETTINGS: _settings,
    F_PUSH_PROMISE: _push_promise,
    F_PING: _ping,
    F_GOAWAY: _goaway,
    F_WINDOW_UPDATE: _window_update,
    F_CONTINUATION: continuation,
    F_PRIORITY_UPDATE: _priority_update,
}
