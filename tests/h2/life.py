"""A connection that anything may happen to, and what must hold all the same; for property tests and for the fuzzer."""

from __future__ import annotations

from typing import Any

from tests.h2.conversation import Conversation
from varnishpy.h2.frames import FrameParser, frame, rst_stream_frame, settings_frame, window_update_frame
from varnishpy.h2.tables import MAX_WINDOW, SE, F, State
from varnishpy.storage.source import END, LATER, Source, SourceError

# what happens between frames of any kind: a client's usual requests, and what the rest of the process does
ACTIONS = (
    *("request", "request", "upload", "upload", "answer", "answer", "answer large", "answer growing", "grow", "end"),
    *("fail", "release", "async", "take", "take", "take", "take little", "time", "read"),
)

# what a client says that is right at most times: a connection does not live long under arbitrary frames
SAYINGS = (
    *("window", "window", "connection window", "settings", "settings", "reset", "data", "data", "last data"),
    *("trailers", "priority", "priority update", "ping", "nothing", "too much"),
)
SIZES = (0, 1, 2, 100, 1000, 16384, 200_000)

# what arbitrary frames are made of, so that they hit something often
GET = b"\x82\x86\x84\x01\x01a"
BLOCKS = (
    GET,
    GET,
    b"\x83\x86\x84\x41\x07example",
    b"\xbe\x82\x86\x84",
    b"\x40\x01x\x01y",
    b"\x82\x86\x84\x0f\x0d\x015",
    b"\x3f\xe1\x1f\x82\x86\x84",
    b"\x82\x86\x84\x00\x08priority\x05u=1,i",
)
NUMBERS = (0, 1, 1, 3, 3, 5, 7, 9, 2, 201)
FLAGS = (0, 1, 4, 5, 5, 8, 0x0D, 0x20, 0x25, 0x2D, 0xFF)
WORDS = (0, 1, 2, 100, 1000, 16384, 65535, 2**31 - 1, 2**31, 2**32 - 1)
SETTINGS = (0, 1, 2, 3, 4, 4, 4, 4, 5, 6, 8, 9, 10)
PRIORITIES = (b"u=1", b"u=7, i", b"i", b"?")


class Dribble(Source):
    """A source of unknown length that is filled from outside."""

    __slots__ = ("closed", "error", "held", "over")

    def __init__(self) -> None:
        super().__init__(-1, False)
        self.held = 0
        self.over = False
        self.error = False
        self.closed = 0

    def pull(self, limit: int) -> Any:
        if self.held:
            size = min(self.held, limit)
            self.held -= size
            return bytes(size)
        if self.error:
            raise SourceError("broken")
        return END if self.over else LATER

    def close(self) -> None:
        self.closed += 1


class Life:
    """A connection, its requests, and the invariants."""

    def __init__(self) -> None:
        self.talk = Conversation()
        self.h2 = self.talk.h2
        self.answered: set[int] = set()
        self.sources: dict[int, Dribble] = {}
        self.states: dict[int, State] = {}
        self.known: dict[int, Any] = {}
        self.now = 1000.0

    def say(self, saying: str, which: int, size: int) -> None:
        """Have the client say something, of one of its streams where it needs one."""
        h2 = self.h2
        alive = [number for number, stream in h2.streams.items() if stream.error is None]
        open_ = [number for number in alive if not h2.streams[number].rx_ended]
        if saying == "settings":
            self.talk.send(settings_frame([(4, size)]))
        elif saying == "connection window":
            self.talk.send(window_update_frame(0, size + 1))
        elif saying == "ping":
            self.talk.send(frame(F.PING, 0, 0, bytes(8)))
        elif saying in ("data", "last data", "trailers"):
            if open_:
                number = open_[which % len(open_)]
                flags = int(saying == "last data")
                stream = h2.streams[number]
                body = bytes(min(size, 16384, stream.rx_window, h2.windows.rx))
                if saying == "trailers":
                    self.talk.send(frame(F.HEADERS, 5, number, b"\x00\x01x\x01y"))
                else:
                    self.talk.send(frame(F.DATA, flags, number, body))
        elif alive:
            number = alive[which % len(alive)]
            word = number.to_bytes(4, "big")
            self.talk.send(
                {
                    "window": window_update_frame(number, size + 1),
                    "reset": rst_stream_frame(number, 8),
                    "priority": frame(F.PRIORITY, 0, number, b"\0\0\0\0\x10"),
                    "priority update": frame(F.PRIORITY_UPDATE, 0, 0, word + PRIORITIES[which % len(PRIORITIES)]),
                    "nothing": window_update_frame(number, 0),
                    "too much": window_update_frame(number, MAX_WINDOW),
                }[saying]
            )

    def act(self, action: str) -> None:
        h2 = self.h2
        if action in ("request", "upload"):
            number = (h2.highest_stream + 1) | 1
            self.talk.send(frame(F.HEADERS, 5 if action == "request" else 4, number, GET))
            return
        waiting = [s for s in self.talk.host.started if s.number not in self.answered and s.holding.holders]
        if action in ("answer", "answer large", "answer growing", "release", "async") and waiting:
            stream = waiting[-1]
            self.known[stream.number] = stream
            if action == "async":
                h2.reset_stream(stream, SE.CANCEL)
                h2.take_inbox()
                return
            self.answered.add(stream.number)
            if action == "release":
                self.talk.leave(stream)
            elif stream.number in h2.streams:
                source: Any = b"some body" * 20
                if action == "answer large":
                    source = bytes(100_000)
                elif action == "answer growing":
                    source = self.sources[stream.number] = Dribble()
                self.talk.answer(stream.number, source)
        for source in list(self.sources.values())[-2:]:
            if action == "grow":
                source.held += 1000
            elif action == "end":
                source.over = True
            elif action == "fail":
                source.error = True
            if action in ("grow", "end", "fail") and source.on_ready is not None:
                source.on_ready()
                h2.take_inbox()
        if action == "take":
            self.talk.host.take()
        elif action == "take little":
            self.talk.host.take(limit=5)
        elif action == "time":
            self.now += 1.7
            self.talk.at(self.now)
        elif action == "read":
            for stream in list(h2.streams.values()):
                buffer = stream.rx_buffer
                if buffer is not None and buffer.head > buffer.tail:
                    buffer.get(buffer.head - buffer.tail)
                    buffer.tail = buffer.head
                    stream.rx_asked = True
                    h2.acknowledge_data(stream)
            h2.take_inbox()

    def check(self) -> None:
        h2 = self.h2
        assert h2.open_streams == sum(
            1 for s in h2.streams.values() if s.state in (State.OPEN, State.HALF_CLOSED_LOCAL, State.HALF_CLOSED_REMOTE)
        )
        assert h2.stats.h2_streams_live == h2.open_streams
        assert h2.windows.rx <= MAX_WINDOW
        assert h2.transmitter.stuck == sum(1 for s in h2.streams.values() if s.t_window_dry)
        for stream in h2.streams.values():
            assert self.states.get(stream.number, State.IDLE) <= stream.state
            self.states[stream.number] = stream.state
            assert 0 <= stream.rx_window <= 65535
            if h2.error is None and stream.error is None:
                assert stream.tx_window <= MAX_WINDOW
            buffer = stream.rx_buffer
            if buffer is not None:
                assert buffer.tail <= buffer.head
                # whatever the client may still send has room
                assert stream.rx_ended or buffer.head - buffer.tail + stream.rx_window <= buffer.size

    def end(self) -> None:
        """Everything is torn down: every stream is released, every source closed once, every request finished once."""
        h2 = self.h2
        self.talk.close()
        for stream in self.talk.host.started:
            if stream.holding.holders:
                self.talk.leave(stream)
        assert not h2.streams
        assert h2.open_streams == 0
        for source in self.sources.values():
            assert source.closed == 1
        for request in self.talk.host.requests:
            assert request.finished <= 1


def check_output(sent: bytes) -> None:
    """What was sent makes sense to a client that looks at frames only."""
    parser = FrameParser(1 << 24)
    parser.feed(sent)
    block = None
    ended: set[int] = set()
    while (payload := parser.next()) is not None:
        kind, number = parser.type, parser.stream
        if block is not None:
            assert (kind, number) == (F.CONTINUATION, block)
        if kind in (F.HEADERS, F.DATA):
            assert number not in ended
        if kind in (F.HEADERS, F.CONTINUATION):
            block = None if parser.flags & 4 else number
        if (kind in (F.HEADERS, F.DATA) and parser.flags & 1) or kind == F.RST_STREAM:
            ended.add(number)
        if kind == F.WINDOW_UPDATE:
            assert 0 < int.from_bytes(payload, "big") <= MAX_WINDOW
