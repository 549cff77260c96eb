"""The language inside ``stream``: what can be expected of frames, streams and tables, and the table of commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from ..compare import expect as compare_expect
from ..http1 import until_nul
from ..http1_commands import gunzip_body, write_file
from ..table import Call, Command, table
from . import receive, transmit
from .frames import Frame
from .hpack import DynamicTable, Field
from .stream import Stream
from .tables import ERROR_CODES, Flag, FrameType, Setting


def _truth(value: object) -> str:
    return "true" if value else "false"


def _setting(code: Setting) -> Callable[[Frame], str | None]:
    return lambda frame: str(frame.settings[code]) if code in frame.settings else None


def _push(frame: Frame) -> str | None:
    value = frame.settings.get(Setting.ENABLE_PUSH)
    return None if value is None else _truth(value == 1)


FRAME_FIELDS: dict[str, tuple[FrameType, Callable[[Frame], str | None]]] = {
    "ping.data": (FrameType.PING, lambda frame: until_nul(frame.data)),
    "ping.ack": (FrameType.PING, lambda frame: _truth(frame.has(Flag.ACK))),
    "winup.size": (FrameType.WINDOW_UPDATE, lambda frame: str(frame.increment)),
    "prio.stream": (FrameType.PRIORITY, lambda frame: str(frame.dependency)),
    "prio.exclusive": (FrameType.PRIORITY, lambda frame: _truth(frame.exclusive)),
    "prio.weight": (FrameType.PRIORITY, lambda frame: str(frame.weight)),
    "rst.err": (FrameType.RST_STREAM, lambda frame: str(frame.error)),
    "settings.ack": (FrameType.SETTINGS, lambda frame: _truth(frame.has(Flag.ACK))),
    "settings.push": (FrameType.SETTINGS, _push),
    "settings.hdrtbl": (FrameType.SETTINGS, _setting(Setting.HEADER_TABLE_SIZE)),
    "settings.maxstreams": (FrameType.SETTINGS, _setting(Setting.MAX_CONCURRENT_STREAMS)),
    "settings.winsize": (FrameType.SETTINGS, _setting(Setting.INITIAL_WINDOW_SIZE)),
    "settings.framesize": (FrameType.SETTINGS, _setting(Setting.MAX_FRAME_SIZE)),
    "settings.hdrsize": (FrameType.SETTINGS, _setting(Setting.MAX_HEADER_LIST_SIZE)),
    "push.id": (FrameType.PUSH_PROMISE, lambda frame: str(frame.promised)),
    "goaway.err": (FrameType.GOAWAY, lambda frame: str(frame.error)),
    "goaway.laststream": (FrameType.GOAWAY, lambda frame: str(frame.last_stream)),
    "goaway.debug": (FrameType.GOAWAY, lambda frame: until_nul(frame.debug)),
}
"""What ``expect`` finds in the last frame, and the type it must have had."""

ANY_FRAME: dict[str, Callable[[Frame], str | None]] = {
    "frame.data": lambda frame: until_nul(frame.data or None),
    "frame.type": lambda frame: str(int(frame.kind)),
    "frame.size": lambda frame: str(len(frame.data)),
    "frame.stream": lambda frame: str(frame.stream),
    "frame.padding": lambda frame: str(frame.padding),
}
_PADDED = (FrameType.DATA, FrameType.HEADERS, FrameType.PUSH_PROMISE)

STREAM_FIELDS: dict[str, Callable[[Stream], str | None]] = {
    "stream.window": lambda stream: str(stream.window_self if stream.id else stream.connection.window_self),
    "stream.peer_window": lambda stream: str(stream.window_peer if stream.id else stream.connection.window_peer),
    "stream.weight": lambda stream: str(stream.weight) if stream.id else None,
    "stream.dependency": lambda stream: str(stream.dependency) if stream.id else None,
}
MESSAGE = {"status": ":status", "url": ":path", "method": ":method", "authority": ":authority", "scheme": ":scheme"}
_TABLE_FIELD = re.compile(r"tbl\.(dec|enc)(?:\[([0-9]+)\])?\.(key|value|size|maxsize|length)")


def _find(fields: list[Field], name: str) -> str | None:
    wanted = name.lower().encode("latin-1")
    for field in fields:
        if field.name.lower() == wanted:
            return field.value.decode("latin-1")
    return None


def _message(stream: Stream, word: str) -> str | None:
    kind, _, what = word.partition(".")
    fields = stream.req if kind == "req" else stream.resp
    if what == "body":
        return until_nul(stream.body)
    if what == "bodylen":
        return str(len(stream.body or b""))
    if what in MESSAGE:
        return _find(fields, MESSAGE[what])
    if what.startswith("http."):
        return _find(fields, what[5:])
    return None


def _table(headers: DynamicTable, index: str | None, what: str) -> str | None:
    if index is not None:
        field = headers.dynamic(int(index))
        if field is None or what not in ("key", "value"):
            return None
        return (field.name if what == "key" else field.value).decode("latin-1")
    return str({"size": headers.size, "maxsize": headers.max_size, "length": len(headers)}.get(what, ""))


def resolve(stream: Stream, word: str, fatal: Callable[[str], NoReturn]) -> str | None:
    """What a word of ``expect`` stands for in a stream; itself if nothing."""
    if word in FRAME_FIELDS:
        wanted, read = FRAME_FIELDS[word]
        if stream.frame is None or stream.frame.kind != wanted:
            fatal(f"Last frame was not of type {wanted.name}")
        return read(stream.frame)
    if word in ANY_FRAME:
        if stream.frame is None:
            fatal("No frame received yet.")
        if word == "frame.padding" and stream.frame.kind not in _PADDED:
            fatal("Last frame was not of type DATA, HEADERS or PUSH")
        return ANY_FRAME[word](stream.frame)
    if word in STREAM_FIELDS:
        return STREAM_FIELDS[word](stream)
    match = _TABLE_FIELD.fullmatch(word)
    if match is not None:
        connection = stream.connection
        headers = connection.decoder_table if match.group(1) == "dec" else connection.encoder.table
        return _table(headers, match.group(2), match.group(3))
    if word.startswith(("req.", "resp.")):
        return _message(stream, word)
    if word in ERROR_CODES:
        return str(ERROR_CODES[word])
    return word


def is_field(word: str) -> bool:
    """Whether ``expect`` would find something else than the word itself, and not always nothing."""
    if word.startswith(("req.", "resp.")):
        what = word.partition(".")[2]
        return what in ("body", "bodylen", *MESSAGE) or what.startswith("http.")
    fields = (FRAME_FIELDS, ANY_FRAME, STREAM_FIELDS, ERROR_CODES)
    return any(word in table for table in fields) or _TABLE_FIELD.fullmatch(word) is not None


def _expect(stream: Stream, call: Call) -> None:
    left, operator, right = call.plain
    with stream.connection.lock:
        got = resolve(stream, left, call.voice.fatal)
        wanted = resolve(stream, right, call.voice.fatal)
    compare_expect(call.voice, left, got, operator, right, wanted)


def _gunzip(stream: Stream, _call: Call) -> None:
    body = gunzip_body(stream.connection.http, stream.body or b"")
    with stream.connection.lock:
        stream.body = body


def _write_body(stream: Stream, call: Call) -> None:
    write_file(call.plain[0], stream.body or b"", call.voice)


STREAM = table(
    *transmit.ROWS,
    *receive.ROWS,
    Command("expect", _expect, "FIELD OPERATOR VALUE", text="expect {0} {1} {2}", mixed=False),
    Command("gunzip", _gunzip, text="unpack the body"),
    Command("write_body", _write_body, "FILE", text="write the body to {0}"),
)
