"""What arrives, header blocks: HEADERS and CONTINUATION, the start of requests, trailers.

One stream at a time holds ``h2.block`` from HEADERS until END_HEADERS. Every block is decoded, also those of
streams that are refused, ignored or dead, because the client's compression state moves on with each. Everything here
runs on the session thread, called by ``receive.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.h2.ending import end_received, reset
from varnishpy.h2.headers import HeaderBlock, keep_records, read_block
from varnishpy.h2.hpack import (
    MEMO_LIST_SIZE,
    HPACKError,
    InvalidTableIndexError,
    InvalidTableSizeError,
    OversizedHeaderListError,
)
from varnishpy.h2.stream import Stream, advance, how_closed
from varnishpy.h2.tables import (
    CE,
    CLOSED,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY_FLAG,
    RECEIVED_END,
    RECEIVED_RESET,
    SE,
    SENT_END,
    H2Error,
)
from varnishpy.log.tag_numbers import BOGO_HEADER, DEBUG, ERROR, SESS_ERROR

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection


_HPACK_TEXTS: Final = (
    (InvalidTableIndexError, "Invalid table index"),
    (InvalidTableSizeError, "Spurious update"),
)


def headers(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    """HEADERS: a new stream, or the trailers of one that is open."""
    new = number > h2.highest_stream
    error = None
    if not new:
        if stream is None or stream.state is CLOSED:
            how = how_closed(h2, number)
            if h2.compat or how is None:
                h2.log.put(ERROR, "H2: new stream ID < highest stream")
                return CE.PROTOCOL_ERROR
            if how in (RECEIVED_END, SENT_END):
                h2.log.put(SESS_ERROR, f"H2: HEADERS on closed stream {number}")
                return CE.STREAM_CLOSED
            if how == RECEIVED_RESET:
                error = SE.STREAM_CLOSED
            stream = None  # reset by us: the client may not have known
        elif h2.compat:
            h2.log.put(ERROR, "H2: new stream ID < highest stream")
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
            h2.log.put(SESS_ERROR, "H2: rx headers with pad length > frame len")
            return CE.PROTOCOL_ERROR
        end -= payload[0]
        begin = 1
    if flags & PRIORITY_FLAG:
        if end - begin < 5:
            h2.log.put(SESS_ERROR, "H2: rx headers with incorrect priority data")
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
    h2.block.flags = flags
    h2.block.error = error
    h2.block.new = new
    if flags & END_HEADERS:
        return _end_headers(h2, stream, fragment)
    h2.block.begin(stream, number, fragment, h2.now)
    h2.due(h2.now + h2.idle_timeout())
    return None


def continuation(h2: Connection, stream: Stream | None, flags: int, number: int, payload: bytes) -> H2Error | None:
    """CONTINUATION: more of the block that is being received."""
    block = h2.block
    stream = block.stream
    if not block.unfinished:
        h2.log.put(SESS_ERROR, f"H2: rx unexpected CONT frame on stream {number}")
        return CE.PROTOCOL_ERROR
    block.size += len(payload)
    if block.size > h2.list_limit:
        return _list_too_large(h2)
    block.pieces.append(payload)
    if stream is None and not _pay_for_dropped(h2, payload):
        return CE.ENHANCE_YOUR_CALM
    if not flags & END_HEADERS:
        if len(payload) < 16 and not h2.spend():
            return CE.ENHANCE_YOUR_CALM
        return None
    return _end_headers(h2, stream, block.finish())


def _pay_for_dropped(h2: Connection, fragment: bytes) -> bool:
    """A block that nobody wants is decoded all the same: that costs as much as some frames, more if it is long."""
    return h2.spend(4 + len(fragment) // 16)


def _list_too_large(h2: Connection) -> H2Error:
    h2.log.put(SESS_ERROR, "Header list too large")
    h2.stats.h2_lists_too_large += 1
    return CE.ENHANCE_YOUR_CALM


def decode_block(h2: Connection, data: bytes) -> list[tuple[bytes, bytes]] | H2Error:
    """The fields of a block, or what is wrong with the connection."""
    try:
        return h2.decoder.decode(data)
    except OversizedHeaderListError:
        return _list_too_large(h2)
    except HPACKError as exc:
        text = next((text for kind, text in _HPACK_TEXTS if isinstance(exc, kind)), str(exc))
        h2.log.put(BOGO_HEADER, f"HPACK compression error ({text})")
        return CE.COMPRESSION_ERROR


def _end_headers(h2: Connection, stream: Stream | None, data: bytes) -> H2Error | None:
    """A header block is complete. ``stream`` is ``None`` when nobody wants it."""
    error = h2.block.error
    block: HeaderBlock | None = h2.decoder.memo.get(data)
    if block is None:
        fields = decode_block(h2, data)
        if isinstance(fields, H2Error):
            return fields
        if stream is None or not h2.block.new:
            if stream is None or error is not None:
                return error
            return _trailers(h2, stream, read_block(fields, h2.limits, trailers=True))
        block = read_block(fields, h2.limits)
        if block.size <= MEMO_LIST_SIZE:
            h2.decoder.remember(data, block)
    elif stream is not None and h2.block.new:
        if block.received.records is None and block.error is None:
            keep_records(block)
    else:
        # a request's block again, as trailers: it begins with pseudo-headers
        return error if stream is None or error is not None else SE.PROTOCOL_ERROR
    ended = h2.block.flags & END_STREAM
    if error is not None:
        h2.host.desk.reject(stream, block, len(data))
        return error
    if block.error is not None:
        if block.error is SE.REQ_SIZE:
            h2.stats.h2_lists_too_large += 1
        if block.on_connection and block.complaint is not None:
            h2.log.put(*block.complaint)
        h2.host.desk.reject(stream, block, len(data))
        return block.error
    if ended:
        if block.content_length > 0:
            h2.log.put(SESS_ERROR, "H2: rx header with END_STREAM and content-length > 0")
            h2.host.desk.reject(stream, block, len(data))
            return CE.PROTOCOL_ERROR if h2.compat else SE.PROTOCOL_ERROR
        advance(stream, RECEIVED_END)
    else:
        stream.rx_length = block.content_length
    # streams that were reset while a request thread held them count too, or a client could pile them up
    if h2.open_streams > h2.max_streams or len(h2.streams) > 2 * h2.max_streams + 1:
        h2.log.put(DEBUG, f"H2: stream {stream.number}: Hit maximum number of concurrent streams")
        h2.stats.h2_streams_refused += 1
        h2.host.desk.reject(stream, block, len(data))
        return SE.REFUSED_STREAM
    if stream.priority is None:
        stream.priority = block.priority
    h2.purse.earn(1)
    if not h2.host.desk.start(stream, block, len(data)):
        h2.stats.h2_streams_refused += 1
        reset(stream, SE.REFUSED_STREAM, charge=False)
    return None


def _trailers(h2: Connection, stream: Stream, block: HeaderBlock) -> H2Error | None:
    if block.error is not None:
        if block.complaint is not None:
            h2.log.put(*block.complaint)
        return block.error
    error = check_length(h2, stream, 0, True)
    if error is not None:
        return error
    stream.trailers = block.headers
    end_received(stream)
    return None


def check_length(h2: Connection, stream: Stream, size: int, ended: bool) -> H2Error | None:
    """Does the body still agree with its content-length?"""
    if stream.rx_length >= 0:
        had = stream.rx_buffer.head if stream.rx_buffer is not None else 0
        if had + size > stream.rx_length or (ended and had + size != stream.rx_length):
            h2.log.put(DEBUG, f"H2: stream {stream.number}: Received data and Content-Length mismatch")
            return SE.PROTOCOL_ERROR
    return None
