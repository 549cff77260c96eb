"""A connection that anything may happen to, and what must hold all the same; for property tests and for the fuzzer."""

from __future__ import annotations

from typing import Any

from h2_harness import Conversation

from varnishpy.http2.connection import Post
from varnishpy.http2.frames import FrameParser
from varnishpy.http2.tables import MAX_WINDOW, SE, F, State
from varnishpy.storage.source import END, LATER, Source, SourceError

# what the rest of the process does while frames arrive
ACTIONS = ("answer", "answer_growing", "grow", "end", "fail", "release", "async", "take", "take_little", "time", "read")


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

    def act(self, action: str) -> None:
        h2 = self.h2
        waiting = [s for s in self.talk.host.started if s.number not in self.answered and s.scheduled]
        if action in ("answer", "answer_growing", "release", "async") and waiting:
            stream = waiting[0]
            self.known[stream.number] = stream
            if action == "async":
                h2.ask_reset(stream, SE.CANCEL)
                h2.take_inbox()
                return
            self.answered.add(stream.number)
            if action == "release":
                h2.post(Post.RELEASED, stream)
                h2.take_inbox()
            elif stream.number in h2.streams:
                source: Any = b"some body" * 20
                if action == "answer_growing":
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
        elif action == "take_little":
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
                    h2.attention(stream)
            h2.take_inbox()

    def check(self) -> None:
        h2 = self.h2
        assert h2.open_streams == sum(
            1 for s in h2.streams.values() if s.state in (State.OPEN, State.HALF_CLOSED_LOCAL, State.HALF_CLOSED_REMOTE)
        )
        assert h2.stats["h2_streams_live"] == h2.open_streams
        assert h2.rx_window <= MAX_WINDOW
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
            if stream.scheduled and stream.number not in self.answered:
                self.answered.add(stream.number)
                h2.post(Post.RELEASED, stream)
        h2.take_inbox()
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
