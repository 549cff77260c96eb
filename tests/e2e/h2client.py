"""A small blocking HTTP/2 client on the ``h2`` package: an implementation that shares nothing with ours."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

_PING = 6


@dataclass
class Stream:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


class H2Client:
    """One connection with prior knowledge."""

    def __init__(self, port: int, window: int | None = None, ack_data: bool = True) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        if window is not None:
            self.h2.local_settings.initial_window_size = window
        self.ack_data = ack_data
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self.closed = False
        self._unread = bytearray()
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def request(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
        """Send a request; returns its stream number."""
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = Stream()
        fields = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(number, fields, end_stream=body is None)
        self.flush()
        if body is not None:
            self._send_body(number, body)
        return number

    def _send_body(self, number: int, body: bytes) -> None:
        view = memoryview(body)
        while view:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(view))
            if room <= 0:
                self.step()
                continue
            self.h2.send_data(number, bytes(view[:room]))
            view = view[room:]
            self.flush()
        self.h2.end_stream(number)
        self.flush()

    def step(self) -> bool:
        """Take in what the server sent; False at the end of the connection."""
        data = self.sock.recv(1 << 18)
        if not data:
            self.closed = True
            return False
        self._unread += data
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3], "big")):
            one = bytes(self._unread[:size])
            del self._unread[:size]
            if self.goaway is not None and one[3] == _PING:
                continue  # after GOAWAY the package takes a PING for an error; RFC 9113 section 6.8 does not
            for event in self.h2.receive_data(one):
                self._event(event)
        self.flush()
        return True

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            for name, value in event.headers:
                self.streams[event.stream_id].headers[str(name)] = str(value)
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if self.ack_data:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = None if event.error_code is None else int(event.error_code)

    def finish(self, *numbers: int) -> list[Stream]:
        """Wait until these streams (all, if none is named) have ended or were reset."""
        wanted = numbers or tuple(self.streams)
        while not all(self.streams[n].ended or self.streams[n].reset is not None for n in wanted):
            if not self.step():
                raise AssertionError("the server closed the connection before all streams ended")
        return [self.streams[n] for n in wanted]

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Stream:
        """Request and answer."""
        return self.finish(self.request(path, method, body, **headers))[0]

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
