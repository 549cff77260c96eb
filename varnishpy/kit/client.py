"""The client of a test: HTTP/1.1, HTTP/2 and TLS; and the `Answer` that it gets."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import h2.config
import h2.connection
import h2.events

Fields = list[tuple[str, str]]
_SIZE: Final = 1 << 16


class ResponseHeaders(Mapping[str, str]):
    """Headers by name, whatever the case; of several of one name, reading gives the first, `getall` all."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields

    def __getitem__(self, name: str) -> str:
        for key, value in self.fields:
            if key.lower() == name.lower():
                return value
        raise KeyError(f"there is no header {name}; there are: {', '.join(self) or 'none'}")

    def getall(self, name: str) -> list[str]:
        """All values of a name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key.lower() == name.lower() for key, _ in self.fields)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self.fields))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self.fields})

    def __repr__(self) -> str:
        return repr(self.fields)


@dataclass
class Received:
    """A response as it came over the line. ``port``: of our end of the connection."""

    status: int
    reason: str = ""
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    port: int = 0

    @property
    def headers(self) -> ResponseHeaders:
        """The headers."""
        return ResponseHeaders(self.fields)

    @property
    def text(self) -> str:
        """The body as text (UTF-8)."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> object:
        """The body as JSON. :raises ValueError: it is none"""
        return json.loads(self.body)


class NoAnswer(AssertionError):
    """The cache closed the connection, or reset the stream, without an answer."""


def _tls(alpn: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the instance's certificate is made for tests
    context.set_alpn_protocols(alpn)
    return context


def connect(address: tuple[str, int], tls: bool, http2: bool, timeout: float, host: str) -> socket.socket:
    """A connection, with TLS on it if wanted."""
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return sock
    try:
        return _tls(["h2"] if http2 else ["http/1.1"]).wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def ask_http1(sock: socket.socket, method: str, target: str, fields: Fields, body: bytes | None) -> Received:
    """One request over HTTP/1.1. :raises NoAnswer:"""
    port = sock.getsockname()[1]
    connection = http.client.HTTPConnection("cache")
    connection.sock = sock
    names = {name.lower() for name, _ in fields}
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in fields:
        connection.putheader(name, value)
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        connection.putheader("Content-Length", str(len(body)))
    try:
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read()
    except (http.client.HTTPException, OSError) as error:
        raise NoAnswer(f"{method} {target}: no answer from the cache ({type(error).__name__}: {error})") from None
    return Received(response.status, response.reason, list(response.getheaders()), data, port)


def ask_http2(
    sock: socket.socket, method: str, target: str, fields: Fields, body: bytes | None, scheme: str
) -> Received:
    """One request over HTTP/2 on a connection of its own. :raises NoAnswer:"""
    port = sock.getsockname()[1]
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
    connection.initiate_connection()
    lower = [(name.lower(), value) for name, value in fields]
    authority = next((value for name, value in lower if name == "host"), "")
    head = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", target)]
    head += [row for row in lower if row[0] != "host"]
    if body is not None and not any(name == "content-length" for name, _ in head):
        head.append(("content-length", str(len(body))))
    connection.send_headers(1, head, end_stream=body is None)
    received = Received(0, port=port)
    upload = _Upload(connection, body)
    done = False
    try:
        while not done:
            upload.go_on()
            sock.sendall(connection.data_to_send())
            data = sock.recv(_SIZE)
            if not data:
                raise NoAnswer(f"{method} {target}: the cache closed the connection")
            done = _take(connection, data, received, f"{method} {target}")
        sock.sendall(connection.data_to_send())
    except OSError as error:
        raise NoAnswer(f"{method} {target}: no answer from the cache ({error})") from None
    return received


class _Upload:
    """The body of a request, as far as the windows let it."""

    def __init__(self, connection: h2.connection.H2Connection, body: bytes | None) -> None:
        self._connection = connection
        self._left = memoryview(body or b"")
        self._open = body is not None

    def go_on(self) -> None:
        """Send what may be sent now."""
        connection = self._connection
        while self._open:
            room = min(connection.local_flow_control_window(1), connection.max_outbound_frame_size, len(self._left))
            if self._left and room <= 0:
                return
            connection.send_data(1, bytes(self._left[:room]), end_stream=room == len(self._left))
            self._left = self._left[room:]
            self._open = bool(self._left)


def _take(connection: h2.connection.H2Connection, data: bytes, received: Received, what: str) -> bool:
    """Take in what came; True when the response has ended."""
    ended = False
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            rows = [(str(name), str(value)) for name, value in event.headers or ()]
            received.status = int(dict(rows)[":status"])
            received.fields = [row for row in rows if not row[0].startswith(":")]
        elif isinstance(event, h2.events.DataReceived):
            received.body += event.data or b""
            connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
        elif isinstance(event, h2.events.StreamEnded):
            ended = True
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)) and not ended:
            raise NoAnswer(f"{what}: the cache ended the stream ({event})")
    return ended
