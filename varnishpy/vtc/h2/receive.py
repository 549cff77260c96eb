"""Stream commands that wait for frames."""

from __future__ import annotations

from .. import numbers
from ..table import Call, Command, Opt
from .frames import Frame
from .stream import Stream
from .tables import Flag, FrameType, Setting, type_name


def _check(call: Call, frame: Frame, wanted: int, count: int) -> None:
    if frame.kind != wanted:
        call.voice.fatal(
            f"Frame #{count} for {call.command.name} was of type {type_name(frame.kind)} ({frame.kind}) "
            f"instead of {type_name(wanted)} ({int(wanted)})"
        )


def _series(stream: Stream, call: Call, first: int, others: int, end: Flag) -> None:
    """Frames of a kind: one, as many as ``-some`` says, or with ``-all`` until one has the flag ``end``."""
    some = call.find("-some")
    times = numbers.unsigned(some[0]) if some else 1
    count, wanted = 0, first
    while True:
        frame = stream.receive()
        if frame is None:
            return
        count += 1
        _check(call, frame, wanted, count)
        wanted = others
        if count >= times and not (call.has("-all") and not frame.has(end)):
            return


def _rxhdrs(stream: Stream, call: Call) -> None:
    _series(stream, call, FrameType.HEADERS, FrameType.CONTINUATION, Flag.END_HEADERS)


def _rxpush(stream: Stream, call: Call) -> None:
    _series(stream, call, FrameType.PUSH_PROMISE, FrameType.CONTINUATION, Flag.END_HEADERS)


def _rxcont(stream: Stream, call: Call) -> None:
    _series(stream, call, FrameType.CONTINUATION, FrameType.CONTINUATION, Flag.END_HEADERS)


def _rxdata(stream: Stream, call: Call) -> None:
    _series(stream, call, FrameType.DATA, FrameType.DATA, Flag.END_STREAM)


def _rxmessage(stream: Stream, call: Call) -> None:
    server = stream.connection.http.is_server
    if server != (call.command.name == "rxreq"):
        call.voice.fatal(f'"{call.command.name}" only possible in {"client" if server else "server"}')
    frame = stream.receive()
    while frame is not None and frame.kind == FrameType.WINDOW_UPDATE:
        frame = stream.receive()
    if frame is None:
        return
    count = 1
    _check(call, frame, FrameType.HEADERS, count)
    ends = frame.has(Flag.END_STREAM)
    while not frame.has(Flag.END_HEADERS):
        frame = stream.receive()
        if frame is None:
            return
        count += 1
        _check(call, frame, FrameType.CONTINUATION, count)
    while not ends:
        frame = stream.receive()
        if frame is None:
            return
        count += 1
        _check(call, frame, FrameType.DATA, count)
        ends = frame.has(Flag.END_STREAM)


_SINGLE = {
    "rxrst": FrameType.RST_STREAM,
    "rxping": FrameType.PING,
    "rxgoaway": FrameType.GOAWAY,
    "rxwinup": FrameType.WINDOW_UPDATE,
    "rxsettings": FrameType.SETTINGS,
    "rxprio": FrameType.PRIORITY,
}


def _rxsingle(stream: Stream, call: Call) -> None:
    connection = stream.connection
    wanted = _SINGLE[call.command.name]
    if wanted == FrameType.PRIORITY and connection.http.no_rfc7540_priorities:
        call.voice.say(4, "skipping rxprio: no_rfc7540_priorities is set")
        return
    frame = stream.receive()
    if frame is None:
        if connection.http.fatal or wanted in (FrameType.WINDOW_UPDATE, FrameType.SETTINGS):
            call.voice.fatal(f"No frame received, wanted {wanted.name}")
        return
    if frame.kind != wanted:
        call.voice.fatal(f"Wrong frame type {type_name(frame.kind)} ({frame.kind}) wanted {wanted.name}")
    with connection.lock:
        if wanted == FrameType.WINDOW_UPDATE:
            if stream.id == 0:
                connection.window_peer += frame.increment
            stream.window_peer += frame.increment
        elif wanted == FrameType.SETTINGS and Setting.INITIAL_WINDOW_SIZE in frame.settings:
            value = frame.settings[Setting.INITIAL_WINDOW_SIZE]
            for other in connection.streams.values():
                other.window_peer += value - connection.window_peer_initial
            connection.window_peer_initial = value


def _rxframe(stream: Stream, call: Call) -> None:
    if stream.receive() is None:
        call.voice.fatal("No frame received")


_MANY = {"-some": Opt("COUNT", "{0} of them"), "-all": Opt("", "until the last")}

ROWS = (
    Command("rxhdrs", _rxhdrs, options=_MANY, text="receive HEADERS"),
    Command("rxcont", _rxcont, options=_MANY, text="receive a CONTINUATION"),
    Command("rxdata", _rxdata, options=_MANY, text="receive DATA"),
    Command("rxpush", _rxpush, options=_MANY, text="receive a PUSH_PROMISE"),
    Command("rxreq", _rxmessage, text="receive a request"),
    # Scripts say -no_obj here too, as for HTTP/1; vtest never minded, and receives the whole response all the same.
    Command("rxresp", _rxmessage, options={"-no_obj": Opt("", "whole, whatever it says")}, text="receive a response"),
    Command("rxrst", _rxsingle, text="receive a RST_STREAM"),
    Command("rxping", _rxsingle, text="receive a PING"),
    Command("rxgoaway", _rxsingle, text="receive a GOAWAY"),
    Command("rxwinup", _rxsingle, text="receive a WINDOW_UPDATE"),
    Command("rxsettings", _rxsingle, text="receive SETTINGS"),
    Command("rxprio", _rxsingle, text="receive a PRIORITY"),
    Command("rxframe", _rxframe, text="receive any frame"),
)
