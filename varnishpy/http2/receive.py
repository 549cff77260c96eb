"""What arrives: one handler per frame type.

`process` checks what the table of frame types can check, and calls the handler. A handler answers ``None`` or the
error that the frame is; a connection error ends the connection, a stream error kills the stream. Everything here
runs on the session thread.

Header blocks: one stream at a time holds ``h2.header_stream`` from HEADERS until END_HEADERS. Every block is
decoded, also those of streams that are refused, ignored or dead, because the client's compression state moves on
with each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from varnishpy.http2.frames import describe_frame, frame, frame_header, frame_name, long_unpack, setting_iter
from varnishpy.http2.headers import HeaderBlock, parse_priority, read_block, request_records
from varnishpy.http2.hpack import (
    DEFAULT_TABLE_SIZE,
    MEMO_LIST_SIZE,
    HPACKError,
    InvalidTableIndexError,
    InvalidTableSizeError,
    OversizedHeaderListError,
)
from varnishpy.http2.stream import Stream, advance, end_received, how_closed, kill
from varnishpy.http2.tables import (
    ACK,
    CE,
    END_HEADERS,
    END_STREAM,
    FRAMES,
    MAX_WINDOW,
    PADDED,
    PRIORITY_FLAG,
    SE,
    SETTINGS,
    Event,
    F,
    H2Error,
    S,
    State,
    error_by_code,
)
from varnishpy.log.tags import Tag

if TYPE_CHECKING:
    from varnishpy.http2.connection import Connection

_DEBUG: Final = int(Tag.Debug)
_ERROR: Final = int(Tag.Error)
_SESS_ERROR: Final = int(Tag.SessError)
_BOGO: Final = int(Tag.BogoHeader)
_CLOSED: Final = State.CLOSED
_RX_HDR: Final = int(Tag.H2RxHdr)
_RX_BODY: Final = int(Tag.H2RxBody)

Handler = Callable[["Connection", "Stream | None", int, int, bytes], "H2Error | None"]

# members of an Enum cost a look-up in two tables each time
_EVENT_RECEIVED_END: Final = Event.RECEIVED_END
_F_CONTINUATION: Final = F.CONTINUATION
_F_SETTINGS: Final = F.SETTINGS
_F_PRIORITY: Final = F.PRIORITY


_HPACK_TEXTS: Final = (
    (InvalidTableIndexError, "Invalid table index"),
    (InvalidTableSizeError, "Spurious update"),
)


def log_frame(h2: Connection, kind: int, flags: int, number: int, payload: bytes) -> None:
    """The records of a received frame; called only when they are not masked."""
    h2.log.put_bin(_RX_HDR, frame_header(len(payload), kind, flags, number))
    if payload:
        h2.log.put_bin(_RX_BODY, payload)
    h2.log.put(_DEBUG, f"H2RXF {describe_frame(len(payload), kind, flags, number)}")


def process(h2: Connection, kind: int, flags: int, number: int, payload: bytes) -> None:
    """Take one frame."""
    row = FRAMES.get(kind)
    if (
        (h2.header_stream is not None or h2.header_drop)
        and not (row is None and h2.compat)
        and (kind != _F_CONTINUATION or number != h2.header_number)
    ):
        h2.fail(CE.PROTOCOL_ERROR, f"H2: expected continuation but received {frame_name(kind)} on stream {number}")
        return
    if row is None:
        if h2.expect_settings:
            _no_settings(h2, kind, flags, number)
            return
        h2.bogosity(f"H2: Unknown frame type 0x{kind:02x} (ignored)")
        h2.overhead_rx(len(payload))
        return
    if row.overhead:
        h2.overhead_rx(len(payload))
    if flags & ~row.flags:
        h2.bogosity(f"H2: Unknown flags 0x{flags & ~row.flags:02x} on {row.name} (ignored)")
        flags &= row.flags
    if h2.expect_settings:
        if kind != _F_SETTINGS or flags & ACK or number:
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
        if not number & 1 and (kind != _F_PRIORITY or h2.compat):
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
            if stream is not None and stream.state is not _CLOSED:
                kill(stream, error)
            else:
                h2.reset_unknown(number, error)


def _no_settings(h2: Connection, kind: int, flags: int, number: int) -> None:
    ack = "(ACK)" if kind == _F_SETTINGS and flags & ACK else ""
    h2.fail(
        CE.PROTOCOL_ERROR,
        f"H2: unexpected {frame_name(kind)}{ack} frame on stream {number}, expected preface settings",
        _ERROR,
    )


# -- HEADERS and CONTINUATION ----------------------------------------------------------------------------------------


def _headers(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    new = number > h2.highest_stream
    error = None
    if not new:
        if stream is None or stream.state is _CLOSED:
            how = how_closed(h2, number)
            if h2.compat or how is None:
                h2.log.put(_ERROR, "H2: new stream ID < highest stream")
                return CE.PROTOCOL_ERROR
            if how in (_EVENT_RECEIVED_END, Event.SENT_END):
                h2.log.put(_SESS_ERROR, f"H2: HEADERS on closed stream {number}")
                return CE.STREAM_CLOSED
            if how == Event.RECEIVED_RESET:
                error = SE.STREAM_CLOSED
            stream = None  # reset by us: the client may not have known
        elif h2.compat:
            h2.log.put(_ERROR, "H2: new stream ID < highest stream")
            return CE.PROTOCOL_ERROR
        elif stream.error is not None:
            stream = None
        elif stream.rx_ended:
            error = SE.STREAM_CLOSED
        elif not flags & END_STREAM:
            error = SE.PROTOCOL_ERROR  # trailers must end the stream (RFC 9113 section 8.1)
    begin = 0
    end = len(payload)
    if flags & PADDED:
        if not payload or payload[0] >= end:
            h2.log.put(_SESS_ERROR, "H2: rx headers with pad length > frame len")
            return CE.PROTOCOL_ERROR
        end -= payload[0]
        begin = 1
    if flags & PRIORITY_FLAG:
        if end - begin < 5:
            h2.log.put(_SESS_ERROR, "H2: rx headers with incorrect priority data")
            return CE.PROTOCOL_ERROR if h2.compat else CE.FRAME_SIZE_ERROR
        if int.from_bytes(payload[begin : begin + 4], "big") & 0x7FFFFFFF == number and not h2.compat:
            error = error or SE.PROTOCOL_ERROR
        begin += 5
    if new:
        h2.highest_stream = number
        if h2.refusing:  # GOAWAY has said that this one will not be looked at
            stream = None
        else:
            stream = h2.open_stream(number)
            stream.rx_length = -1
    fragment = payload[begin:end] if begin or end != len(payload) else payload
    if stream is None and error is None and not _pay_for_dropped(h2, fragment):
        return CE.ENHANCE_YOUR_CALM
    h2.header_flags = flags
    h2.header_error = error
    h2.header_new = new
    if flags & END_HEADERS:
        return _end_headers(h2, stream, fragment)
    h2.header_stream = stream
    h2.header_drop = stream is None
    h2.header_number = number
    h2.header_pieces.append(fragment)
    h2.header_size = len(fragment)
    h2.t_header = h2.now
    h2.due(h2.now + h2.idle_timeout())
    return None


def _continuation(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    stream = h2.header_stream
    if stream is None and not h2.header_drop:
        h2.log.put(_SESS_ERROR, f"H2: rx unexpected CONT frame on stream {number}")
        return CE.PROTOCOL_ERROR
    h2.header_size += len(payload)
    if h2.header_size > h2.list_limit:
        return _list_too_large(h2)
    h2.header_pieces.append(payload)
    if stream is None and not _pay_for_dropped(h2, payload):
        return CE.ENHANCE_YOUR_CALM
    if not flags & END_HEADERS:
        if len(payload) < 16 and not h2.spend():
            return CE.ENHANCE_YOUR_CALM
        return None
    block = b"".join(h2.header_pieces)
    h2.header_pieces.clear()
    h2.header_stream = None
    h2.header_drop = False
    return _end_headers(h2, stream, block)


def _pay_for_dropped(h2: Connection, fragment: bytes) -> bool:
    """A block that nobody wants is decoded all the same: that costs as much as some frames, more if it is long."""
    return h2.spend(4 + len(fragment) // 16)


def _list_too_large(h2: Connection) -> H2Error:
    h2.log.put(_SESS_ERROR, "Header list too large")
    h2.stats["h2_lists_too_large"] += 1
    return CE.ENHANCE_YOUR_CALM


def decode_block(h2: Connection, data: bytes) -> list[tuple[bytes, bytes]] | H2Error:
    """The fields of a block, or what is wrong with the connection."""
    try:
        return h2.decoder.decode(data)
    except OversizedHeaderListError:
        return _list_too_large(h2)
    except HPACKError as exc:
        text = next((text for kind, text in _HPACK_TEXTS if isinstance(exc, kind)), str(exc))
        h2.log.put(_BOGO, f"HPACK compression error ({text})")
        return CE.COMPRESSION_ERROR


def _end_headers(h2: Connection, stream: Stream | None, data: bytes) -> H2Error | None:
    """A header block is complete. ``stream`` is ``None`` when nobody wants it."""
    error = h2.header_error
    block: HeaderBlock | None = h2.decoder.memo.get(data)
    if block is None:
        fields = decode_block(h2, data)
        if isinstance(fields, H2Error):
            return fields
        if stream is None or not h2.header_new:
            if stream is None or error is not None:
                return error
            return _trailers(h2, stream, read_block(fields, h2.limits, trailers=True))
        block = read_block(fields, h2.limits)
        if block.size <= MEMO_LIST_SIZE:
            h2.decoder.remember(data, block)
    elif stream is not None and h2.header_new:
        if block.records is None and block.error is None:
            block.records = request_records(block)
    else:
        # a request's block again, as trailers: it begins with pseudo-headers
        return error if stream is None or error is not None else SE.PROTOCOL_ERROR
    ended = h2.header_flags & END_STREAM
    if error is not None:
        h2.host.reject(stream, block, len(data))
        return error
    if block.error is not None:
        if block.error is SE.REQ_SIZE:
            h2.stats["h2_lists_too_large"] += 1
        if block.on_connection and block.complaint is not None:
            h2.log.put(*block.complaint)
        h2.host.reject(stream, block, len(data))
        return block.error
    if ended:
        if block.content_length > 0:
            h2.log.put(_SESS_ERROR, "H2: rx header with END_STREAM and content-length > 0")
            h2.host.reject(stream, block, len(data))
            return CE.PROTOCOL_ERROR if h2.compat else SE.PROTOCOL_ERROR
        advance(stream, _EVENT_RECEIVED_END)
    else:
        stream.rx_length = block.content_length
    # streams that were reset while a request thread held them count too, or a client could pile them up
    if h2.open_streams > h2.max_streams or len(h2.streams) > 2 * h2.max_streams + 1:
        h2.log.put(_DEBUG, f"H2: stream {stream.number}: Hit maximum number of concurrent streams")
        h2.stats["h2_streams_refused"] += 1
        h2.host.reject(stream, block, len(data))
        return SE.REFUSED_STREAM
    if stream.priority is None:
        stream.priority = block.priority
    stream.block = block
    h2.earn()
    if not h2.host.start(stream, block, len(data)):
        h2.stats["h2_streams_refused"] += 1
        kill(stream, SE.REFUSED_STREAM, charge=False)
    return None


def _trailers(h2: Connection, stream: Stream, block: HeaderBlock) -> H2Error | None:
    if block.error is not None:
        if block.complaint is not None:
            h2.log.put(*block.complaint)
        return block.error
    error = _check_length(h2, stream, 0, True)
    if error is not None:
        return error
    stream.trailers = block.headers
    end_received(stream)
    return None


# -- DATA ------------------------------------------------------------------------------------------------------------


def _check_length(h2: Connection, stream: Stream, size: int, ended: bool) -> H2Error | None:
    """Does the body still agree with its content-length?"""
    if stream.rx_length >= 0:
        had = stream.rx_buffer.head if stream.rx_buffer is not None else 0
        if had + size > stream.rx_length or (ended and had + size != stream.rx_length):
            h2.log.put(_DEBUG, f"H2: stream {stream.number}: Received data and Content-Length mismatch")
            return SE.PROTOCOL_ERROR
    return None


def _data(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    size = len(payload)
    begin = 0
    end = size
    if flags & PADDED:
        if not payload or payload[0] >= size:
            h2.log.put(_SESS_ERROR, f"H2: stream {number}: Padding larger than frame length")
            return CE.PROTOCOL_ERROR
        end -= payload[0]
        begin = 1
    # the whole frame counts in both windows, whatever becomes of it (RFC 9113 section 6.9)
    if size > h2.rx_window:
        h2.log.put(_SESS_ERROR, f"H2: stream {number}: Exceeded connection receive window")
        return CE.FLOW_CONTROL_ERROR
    h2.charge_connection(size)
    if stream is None or stream.state is _CLOSED:
        if h2.compat:
            # what is dead but still held is ignored; what is not tracked any more is not
            return CE.PROTOCOL_ERROR if stream is None or stream.error is None else None
        how = how_closed(h2, number)
        if how == Event.SENT_RESET:
            return None if h2.spend() else CE.ENHANCE_YOUR_CALM
        if how in (_EVENT_RECEIVED_END, Event.SENT_END):
            h2.log.put(_SESS_ERROR, f"H2: DATA on closed stream {number}")
            return CE.STREAM_CLOSED
        return SE.STREAM_CLOSED
    if stream.error is not None:
        return None
    if stream.rx_ended:
        h2.log.put(_DEBUG, f"H2: stream {number}: Received data after END_STREAM")
        return SE.STREAM_CLOSED
    length = end - begin
    ended = bool(flags & END_STREAM)
    error = _check_length(h2, stream, length, ended)
    if error is not None:
        return error
    if size > stream.rx_window:
        h2.log.put(_DEBUG, f"H2: stream {number}: Exceeded stream receive window")
        return SE.FLOW_CONTROL_ERROR
    stream.rx_window -= size
    if stream.t_stop:  # the response is complete
        if ended:
            end_received(stream)
        else:
            kill(stream, SE.NO_ERROR)
        return None
    if length:
        buffer = stream.rx_buffer
        if buffer is None:
            room = min(length, h2.local_window) if ended else h2.local_window
            buffer = h2.host.receive_buffer(stream, room)
            if buffer is None:
                h2.log.put(_DEBUG, f"H2: stream {number}: Failed to allocate request body buffer")
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
        h2.log.put(_SESS_ERROR, "H2: rx rst with (len != 4)")
        return CE.FRAME_SIZE_ERROR
    h2.stats["h2_resets_rx"] += 1
    if stream is None or stream.state is _CLOSED:
        return None if h2.spend() else CE.ENHANCE_YOUR_CALM
    code: int = long_unpack(payload)[0]
    h2.log.put(_DEBUG, f"H2: stream {number}: rx rst {error_by_code(code, False).log_name}")
    error = error_by_code(code, False)
    # a request that was served in full cost what any request costs
    kill(stream, SE.CANCEL if error.connection or code == 0 else error, by_peer=True, charge=not stream.t_stop)
    return None


def _settings(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if flags & ACK:
        if payload:
            h2.log.put(_SESS_ERROR, "H2: rx settings ack with (len > 0)")
            return CE.FRAME_SIZE_ERROR
        h2.decoder.acknowledged()
        return None if h2.spend() else CE.ENHANCE_YOUR_CALM
    if len(payload) % 6:
        h2.log.put(_SESS_ERROR, "H2: rx settings with ((len % 6) != 0)")
        return CE.PROTOCOL_ERROR if h2.compat else CE.FRAME_SIZE_ERROR
    if not h2.spend(1 + len(payload) // 60):
        return CE.ENHANCE_YOUR_CALM
    error = apply_settings(h2, payload)
    if error is None:
        h2.control(frame(_F_SETTINGS, ACK, 0))
    return error


def apply_settings(h2: Connection, payload: bytes) -> H2Error | None:
    """Take the client's settings, of a SETTINGS frame or an HTTP2-Settings header; whole six-byte settings."""
    window = h2.remote_window
    for key, value in setting_iter(payload):
        row = SETTINGS.get(key)
        if row is None:
            h2.log.put(_DEBUG, f"H2SETTING unknown setting 0x{key:04x}={value:08x} (ignored)")
            continue
        if not row.low <= value <= row.high:
            h2.log.put(_DEBUG, f"H2SETTING invalid {row.name.lower()}=0x{value:08x}")
            if row.error is not None and not h2.nocheck:
                return row.error
        if key == S.INITIAL_WINDOW_SIZE:
            window = value
        elif key == S.MAX_FRAME_SIZE:
            h2.max_frame = value
        elif key == S.HEADER_TABLE_SIZE and value < DEFAULT_TABLE_SIZE and not h2.table_shrunk:
            h2.table_shrunk = True  # our encoder's table is empty from now on, whatever else they allow
            h2.transmitter.shrink_table = True
        h2.log.put(_DEBUG, f"H2SETTING {row.name.lower()}=0x{value:08x}")
        h2.remote_settings[key] = value
    # once, however often it was changed: it costs a look at every stream
    return h2.change_windows(window) if window != h2.remote_window else None


def _push_promise(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    h2.log.put(_SESS_ERROR, "H2: rx push promise")
    return CE.PROTOCOL_ERROR


def _ping(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) != 8:
        h2.log.put(_SESS_ERROR, "H2: rx ping with (len != 8)")
        return CE.FRAME_SIZE_ERROR
    if flags & ACK:
        if payload == h2.ping_sent:
            h2.ping_sent = b""
        elif h2.compat:
            h2.log.put(_SESS_ERROR, "H2: rx ping ack")
            return CE.PROTOCOL_ERROR
        return None if h2.spend() else CE.ENHANCE_YOUR_CALM
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    h2.control(frame(F.PING, ACK, 0, payload))
    return None


def _goaway(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) < 8:
        h2.log.put(_SESS_ERROR, "H2: rx goaway with (len < 8)")
        return CE.FRAME_SIZE_ERROR
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    error = error_by_code(int.from_bytes(payload[4:8], "big"), True)
    h2.log.put(_DEBUG, f"GOAWAY {error.log_name}")
    if error.code:
        h2.log.put(_ERROR, f"H2: rx goaway {error.log_name}")
    if h2.compat:
        return CE.NO_ERROR
    h2.leaving = True  # what is open is still finished (RFC 9113 section 6.8)
    return None


def _window_update(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    if len(payload) != 4:
        h2.log.put(_SESS_ERROR, "H2: rx winup with (len != 4)")
        return CE.FRAME_SIZE_ERROR
    increment: int = long_unpack(payload)[0] & 0x7FFFFFFF
    if not h2.spend():
        return CE.ENHANCE_YOUR_CALM
    if number == 0:
        if increment == 0:
            return CE.PROTOCOL_ERROR
        h2.tx_window += increment
        if h2.tx_window > MAX_WINDOW:
            return CE.FLOW_CONTROL_ERROR
        if h2.tx_window > 0:
            h2.t_window_dry = 0.0
            h2.transmitter.unhold()
        return None
    if stream is None or stream.state is _CLOSED or stream.error is not None:
        # it may have been on its way when the stream ended; but where both sides said so, 0 was never right
        if increment or h2.compat or how_closed(h2, number) not in (_EVENT_RECEIVED_END, Event.SENT_END):
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
    F.DATA: _data,
    F.HEADERS: _headers,
    _F_PRIORITY: _priority,
    F.RST_STREAM: _rst_stream,
    _F_SETTINGS: _settings,
    F.PUSH_PROMISE: _push_promise,
    F.PING: _ping,
    F.GOAWAY: _goaway,
    F.WINDOW_UPDATE: _window_update,
    _F_CONTINUATION: _continuation,
    F.PRIORITY_UPDATE: _priority_update,
}
