"""A connection to talk to without a socket: `Conversation` says what the client says and shows what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from hpack import Decoder as HpackDecoder
from hpack import Encoder as HpackEncoder

from varnishpy.h2 import frames
from varnishpy.h2.connection import Connection
from varnishpy.h2.headers import HeaderBlock
from varnishpy.h2.holding import RUNNING
from varnishpy.h2.host import Desk, Host, Line
from varnishpy.h2.hpack import encode_response
from varnishpy.h2.outgoing import Outgoing
from varnishpy.h2.receive_buffer import ReceiveBuffer
from varnishpy.h2.stream import Stream
from varnishpy.h2.tables import CE, END_HEADERS, END_STREAM, F
from varnishpy.http.message import Header
from varnishpy.request.request import Accounting
from varnishpy.storage.source import BytesSource, Source

GET_BLOCK = b"\x82\x86\x84\x01\x01a"  # GET / with authority "a", compressed
REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "example.com")]


@dataclass
class Frame:
    """A frame as the client sees it."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def name(self) -> str:
        return frames.frame_name(self.kind)

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == F.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")


class FakeLog:
    """Collects records."""

    def __init__(self) -> None:
        self.records: list[tuple[int, str]] = []

    def put(self, tag: int, text: str) -> None:
        self.records.append((tag, text))


class FakeRequest:
    """What the engine needs of a request."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.acct = Accounting()
        self.log = FakeLog()
        self.doclose: str | None = None
        self.finished = 0


class FakeHost:
    """A host whose requests are answered by the test: line and desk in one."""

    def __init__(self) -> None:
        self.h2: Connection
        self.started: list[Stream] = []
        self.blocks: list[HeaderBlock] = []
        self.rejected: list[tuple[int, HeaderBlock]] = []
        self.requests: list[FakeRequest] = []
        self.signals = 0
        self.flushes = 0
        self.refuse = False
        self.blocked = False  # the socket takes nothing
        self.sent = bytearray()
        self.walked: list[int] = []

    @property
    def line(self) -> Line:
        return self

    @property
    def desk(self) -> Desk:
        return self

    def signal(self) -> None:
        """What wakes the session thread."""
        self.signals += 1

    # -- the line --------------------------------------------------------------------------------------------------

    def control_buffer(self) -> bytearray:
        return bytearray(1024)

    def flush(self) -> bool:
        self.flushes += 1
        if self.blocked:
            self.h2.fail(CE.IO_ERROR)
            self.h2.transmitter.stop()
            return False
        while self.h2.transmitter.committed:
            self.take(True)
        return True

    def take(self, control_only: bool = False, limit: int = 1 << 30) -> int:
        """Let the socket take one batch, at most ``limit`` octets of it."""
        data = b"".join(bytes(piece) for piece in self.h2.data_to_send(control_only))[:limit]
        if data:
            self.sent += data
            self.h2.data_sent(len(data))
        return len(data)

    # -- the desk --------------------------------------------------------------------------------------------------

    def start(self, stream: Stream, block: HeaderBlock, size: int) -> bool:
        if self.refuse:
            return False
        stream.request = request = FakeRequest(stream)
        self.requests.append(request)
        stream.holding.take()
        self.started.append(stream)
        self.blocks.append(block)
        return True

    def reject(self, stream: Stream, block: HeaderBlock, size: int) -> None:
        self.rejected.append((stream.number, block))

    def finish(self, stream: Stream) -> None:
        request = stream.request
        assert isinstance(request, FakeRequest)
        request.finished += 1

    def walk_away(self, stream: Stream) -> None:
        self.walked.append(stream.number)

    def receive_buffer(self, size: int) -> ReceiveBuffer | None:
        return ReceiveBuffer(bytearray(size), size)


class Conversation:
    """A client and the connection it talks to."""

    def __init__(self, settings: Iterable[tuple[int, int]] | None = (), now: float = 1000.0) -> None:
        self.host = FakeHost()
        host: Host = self.host
        self.h2 = Connection(host, 1000, now)
        self.host.h2 = self.h2
        self.encoder = HpackEncoder()
        self.decoder = HpackDecoder()
        self._at = 0
        self.h2.control(frames.settings_frame(self.h2.settings_payload()))
        if settings is not None:
            self.send(frames.settings_frame(list(settings)))
            self.frames()

    # -- the client speaks -----------------------------------------------------------------------------------------

    def send(self, data: bytes) -> Conversation:
        self.h2.receive_data(data)
        return self

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> Conversation:
        return self.send(frames.frame(kind, flags, stream, payload))

    def fields(self, block: bytes) -> list[tuple[str, str]]:
        """The fields of a header block that came."""
        return [(str(name), str(value)) for name, value, *_ in self.decoder.decode(block)]

    def rx_buffer(self, stream: int) -> ReceiveBuffer:
        """What has been received of a request body."""
        buffer = self.h2.streams[stream].rx_buffer
        assert buffer is not None
        return buffer

    def headers(
        self,
        stream: int,
        fields: Iterable[tuple[str, str]] = REQUEST,
        end: bool = True,
        extra: Iterable[tuple[str, str]] = (),
    ) -> Conversation:
        block = self.encoder.encode([*fields, *extra])
        return self.frame(F.HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)

    def data(self, stream: int, data: bytes, end: bool = False) -> Conversation:
        return self.frame(F.DATA, END_STREAM if end else 0, stream, data)

    def window(self, stream: int, size: int) -> Conversation:
        return self.send(frames.window_update_frame(stream, size))

    def reset(self, stream: int, code: int = 8) -> Conversation:
        return self.send(frames.rst_stream_frame(stream, code))

    def settings(self, *values: tuple[int, int]) -> Conversation:
        return self.send(frames.settings_frame(list(values)))

    def at(self, now: float) -> Conversation:
        """Time passes."""
        self.h2.now = now
        if now >= self.h2.next_due:
            self.h2.sweep()
        return self

    # -- the request thread answers --------------------------------------------------------------------------------

    def answer(
        self,
        number: int,
        body: bytes | Source | None = b"hello",
        status: int = 200,
        fields: list[Header] | None = None,
        keep: bool = False,
    ) -> Outgoing:
        """Hand a response over. The request thread lets go in the same step, unless it is to ``keep`` the request."""
        stream = self.h2.streams[number]
        source = BytesSource([body]) if isinstance(body, bytes) else body
        if source is not None and source.length == 0:
            source = None
        out = Outgoing(stream, encode_response(status, fields or []), source, stream.request)
        if source is not None and not source.complete:
            source.on_ready = partial(self.h2.source_ready, stream)
        self.h2.send_headers(out, None if keep else self)
        self.h2.take_inbox()
        return out

    def leave(self, stream: Stream) -> None:
        """The request thread lets go: of a request without a response, or of one whose body it has computed."""
        holding = stream.holding
        if holding.stage is RUNNING:
            holding.over()
        if holding.give_back():
            self.host.finish(stream)
            self.h2.finished(holding)
        self.h2.take_inbox()

    # -- what the client sees --------------------------------------------------------------------------------------

    def frames(self) -> list[Frame]:
        """What was sent since the last call."""
        for _ in range(1000):
            if not self.host.take():
                break
        out = []
        parser = frames.FrameParser(1 << 24)
        parser.feed(bytes(self.host.sent[self._at :]))
        while (payload := parser.next()) is not None:
            out.append(Frame(parser.type, parser.flags, parser.stream, payload))
        self._at = len(self.host.sent) - parser.waiting
        return out

    def error(self) -> str | None:
        """The name of the connection's error."""
        return self.h2.error.name if self.h2.error is not None else None

    def resets(self) -> list[tuple[int, int]]:
        """Stream and code of each RST_STREAM since the last look."""
        return [(f.stream, f.code) for f in self.frames() if f.kind == F.RST_STREAM]

    def close(self) -> list[Frame]:
        """The connection ends; what is still sent."""
        self.h2.close_connection()
        out = self.frames()
        self.h2.transmitter.stop()
        return out


def connection_error(talk: Conversation, name: str) -> None:
    assert talk.error() == name
    goaway = [f for f in talk.close() if f.kind == F.GOAWAY]
    assert len(goaway) == 1


def stream_error(talk: Conversation, stream: int, code: int) -> None:
    assert talk.error() is None
    assert talk.resets() == [(stream, code)]
