"""A connection once it speaks HTTP/2: the thread that reads frames, the streams, the windows, the tables.

Theory of operation: frames are read by one thread, and only while some stream waits for one; so what a script does not
ask for stays in the socket, and ``expect_close`` can tell.  A frame is parsed when it is read, its header block decoded
then too, and put into its stream's queue; if a script has no such stream yet, the reader waits until it has.  All state
here is guarded by ``lock``; writing has a lock of its own, so that a peer that does not read cannot stop the reader.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .. import net
from ..context import Test
from ..errors import TestAborted
from ..log import Voice
from ..threads import PartyThread
from . import frames, hpack
from .frames import Frame
from .tables import (
    INITIAL_TABLE,
    INITIAL_WINDOW,
    Flag,
    FrameType,
    Setting,
    error_name,
    flag_names,
    setting_name,
    type_name,
)

if TYPE_CHECKING:
    from ..http1 import Http
    from .stream import Stream

MAX_HEADERS = 64


class H2Connection:
    """The HTTP/2 state of one ``Http`` connection."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self.test: Test = http.test
        self.voice: Voice = http.voice
        self.lock = threading.Condition()
        self.streams: dict[str, Stream] = {}
        self.last_stream = 0
        self.window_self = self.window_self_initial = INITIAL_WINDOW
        self.window_peer = self.window_peer_initial = INITIAL_WINDOW
        self.decoder_table = hpack.DynamicTable(INITIAL_TABLE)
        self.encoder = hpack.Encoder(hpack.DynamicTable(INITIAL_TABLE))
        self.wanted = 0
        self.down = False
        self._writing = threading.Lock()
        self._block: bytearray | None = None
        self._block_stream: Stream | None = None
        self._reader = PartyThread(self.test, self.voice, self._read_frames, f"{http.name}.rx").start()

    # Writing

    def write_frame(self, stream: Stream, kind: int, flags: int, payload: bytes) -> None:
        """Send one frame, whatever it is.  Raises OSError never: trouble is reported as the script wants it."""
        stream.voice.say(
            3,
            f"tx: stream: {stream.id}, type: {type_name(kind)} ({kind}), flags: 0x{flags:02x}, size: {len(payload)}",
        )
        if kind == FrameType.DATA:
            with self.lock:
                stream.window_peer -= len(payload)
                self.window_peer -= len(payload)
        self.write_raw(stream.voice, frames.header(kind, flags, stream.id, len(payload)) + payload)

    def write_raw(self, voice: Voice, data: bytes) -> None:
        sock = self.http.sock
        try:
            with self._writing:
                if sock is None:
                    raise OSError(9, "Bad file descriptor")
                net.send_all(self.test, sock, data, self.http.waker)
        except OSError as error:
            if self.http.fatal:
                voice.fatal(f"Write failed: {error.strerror}")

    # Reading

    def _get(self, count: int) -> bytes | None:
        """``count`` octets, or None at the end of the connection or of patience."""
        parts: list[bytes] = []
        sock = self.http.sock
        if sock is None:
            return None
        fd = sock.fileno()
        while count > 0:
            try:
                if not net.wait_readable(self.test, sock, self.http.timeout, self.http.waker):
                    self.voice.say(3, f"HTTP2 rx timeout (fd:{fd} {self.http.timeout:.3f}s)")
                    return None
                data = sock.recv(min(count, 1 << 20))
            except BlockingIOError:
                continue
            except OSError as error:
                self.voice.say(3, f"HTTP2 rx failed (fd:{fd} read: {error.strerror})")
                return None
            if not data:
                self.voice.say(3, f"HTTP2 rx EOF (fd:{fd} read: Success)")
                return None
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def _read_frames(self) -> None:
        try:
            while self._wait_wanted():
                raw = self._get(frames.HEADER_LENGTH)
                what = "header"
                if raw is not None:
                    length, kind, flags, stream_id = frames.read_header(raw)
                    self.voice.say(
                        3,
                        f"rx: stream: {stream_id}, type: {type_name(kind)} ({kind}), "
                        f"flags: 0x{flags:02x}, size: {length}",
                    )
                    names = flag_names(kind, flags)
                    if names:
                        self.voice.say(3, f"flag: {' '.join(names)}")
                    what = "body"
                    raw = self._get(length)
                if raw is None:
                    self._set_down()
                    if self.http.fatal:
                        self.voice.fatal(f"could not get frame {what}")
                    return
                if not self._deliver(Frame(kind, flags, stream_id, raw)):
                    return
        finally:
            self._set_down()

    def _set_down(self) -> None:
        with self.lock:
            self.down = True
            self.lock.notify_all()

    def _wait_wanted(self) -> bool:
        with self.lock:
            while not self.wanted and not self.down:
                self.lock.wait()
            return not self.down

    def _deliver(self, frame: Frame) -> bool:
        """Parse a frame and put it into its stream's queue; False if the connection ended meanwhile."""
        with self.lock:
            while True:
                stream = next((one for one in self.streams.values() if one.id == frame.stream), None)
                if stream is not None:
                    break
                if self.down:
                    return False
                self.lock.wait()
        expected = self._block_stream
        if expected is not None and (frame.kind != FrameType.CONTINUATION or expected is not stream):
            stream.voice.fatal(f"Expected CONTINUATION frame for stream {expected.id}")
        try:
            frames.parse(frame)
        except frames.FrameError as error:
            if self.http.fatal:
                stream.voice.fatal(str(error))
        self._look_at(stream, frame)
        with self.lock:
            stream.queue.append(frame)
            if stream.waiting:
                stream.waiting = False
                self.wanted -= 1
            self.lock.notify_all()
        return True

    def _look_at(self, stream: Stream, frame: Frame) -> None:
        """What a frame does to the connection and its stream, and what the log says about it."""
        voice = stream.voice
        match frame.kind:
            case FrameType.DATA:
                if frame.has(Flag.PADDED):
                    voice.say(4, f"padding: {frame.padding:3d}")
                with self.lock:
                    if stream.id:
                        stream.window_self -= len(frame.content)
                    self.window_self -= len(frame.content)
                    if frame.content:
                        stream.body = (stream.body or b"") + frame.content
                if not frame.content:
                    voice.say(4, f"s{stream.id} - no data")
            case FrameType.HEADERS | FrameType.PUSH_PROMISE | FrameType.CONTINUATION:
                self._header_block(stream, frame)
            case FrameType.PRIORITY:
                stream.depend(frame.dependency, frame.weight, frame.exclusive)
                voice.say(3, f"prio->stream: {frame.dependency}")
                voice.say(3, f"prio->weight: {frame.weight}")
            case FrameType.RST_STREAM:
                voice.say(2, "ouch")
                voice.say(4, f"rst->err: {error_name(frame.error)} ({frame.error})")
            case FrameType.SETTINGS:
                for code, value in frame.settings.items():
                    if code == Setting.HEADER_TABLE_SIZE:
                        self.encoder.table.resize(value)
                    voice.say(4, f"settings->{setting_name(code)} ({code}): {value}")
            case FrameType.PING:
                voice.dump(4, "ping->data: ", frame.data)
            case FrameType.GOAWAY:
                voice.say(3, f"goaway->laststream: {frame.last_stream}")
                voice.say(3, f"goaway->err: {error_name(frame.error)} ({frame.error})")
                if frame.debug is not None:
                    voice.dump(3, "goaway->debug: ", frame.debug)
            case FrameType.WINDOW_UPDATE:
                voice.say(3, f"winup->size: {frame.increment}")

    def _header_block(self, stream: Stream, frame: Frame) -> None:
        if frame.has(Flag.PADDED) and frame.kind != FrameType.CONTINUATION:
            stream.voice.say(4, f"padding: {frame.padding:3d}")
        if frame.kind == FrameType.HEADERS and frame.has(Flag.PRIORITY):
            stream.depend(frame.dependency, frame.weight, frame.exclusive)
            stream.voice.say(4, f"stream->dependency: {stream.dependency}")
            stream.voice.say(4, f"stream->weight: {stream.weight}")
        if frame.kind != FrameType.CONTINUATION:
            self._block = bytearray()
            self._block_stream = stream
            stream.receiving_request = frame.kind == FrameType.PUSH_PROMISE or self.http.is_server
            stream.set_fields([])
        elif self._block is None:
            stream.voice.fatal("CONTINUATION frame without a header block to continue")
        assert self._block is not None
        self._block += frame.content
        if frame.has(Flag.END_HEADERS):
            block, self._block, self._block_stream = bytes(self._block), None, None
            self._decode(stream, block)

    def _decode(self, stream: Stream, block: bytes) -> None:
        try:
            with self.lock:
                fields = hpack.decode(block, self.decoder_table)
        except hpack.HpackError as error:
            if self.http.fatal:
                self.voice.fatal(f"Header decoding failed: {error}")
            self.voice.say(4, f"Header decoding failed: {error}")
            return
        for number, field in enumerate(fields[:MAX_HEADERS]):
            self.voice.say(4, f"header[{number:2d}]: {field.name.decode('latin-1')}: {field.value.decode('latin-1')}")
        if len(fields) > MAX_HEADERS and self.http.fatal:
            self.voice.fatal(f"Max number of headers reached ({MAX_HEADERS})")
        stream.set_fields(fields[:MAX_HEADERS])

    def receive(self, stream: Stream) -> Frame | None:
        """The next frame for a stream; None if the connection is down.  Raises TestAborted when the test fails."""
        with self.lock:
            if not stream.queue and not self.down:
                stream.waiting = True
                self.wanted += 1
                self.lock.notify_all()
                with self.test.waiting(f"a frame on stream {stream.id}"):
                    while stream.waiting and not self.down:
                        if self.test.failed:
                            raise TestAborted("the test has failed")
                        self.lock.wait(0.5)
                if stream.waiting:
                    stream.waiting = False
                    self.wanted -= 1
            if not stream.queue:
                return None
            return stream.queue.popleft()

    # The end

    def stop(self) -> None:
        """Wait for the streams' scripts to end, then leave HTTP/2."""
        for stream in list(self.streams.values()):
            if stream.thread is not None:
                stream.wait()
        self.abandon()

    def abandon(self) -> None:
        """Leave HTTP/2 at once."""
        with self.lock:
            self.streams.clear()
            self.down = True
            self.lock.notify_all()
        self.http.h2 = None
        if not self._reader.join_anyway(2.0) and not self.test.failed:
            raise TestAborted("the reader of frames does not end")
