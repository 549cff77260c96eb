"""Clients of the model: connections that are used again, several requests at once, HTTP/1 and HTTP/2."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.e2e.h2client import H2Client

PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Ask:
    """A request to be made."""

    path: str
    variant: str = "a"
    method: str = "GET"
    http2: bool = False
    gzip: bool = False
    passed: bool = False
    etag: str = ""
    range: tuple[int, int] | None = None
    body: str = ""

    def headers(self) -> dict[str, str]:
        """Its headers, names in lower case."""
        rows = {"x-variant": self.variant, "accept-encoding": "gzip" if self.gzip else "identity"}
        if self.passed:
            rows["x-pass"] = "yes"
        if self.etag:
            rows["if-none-match"] = f'"{self.etag}"'
        if self.range:
            rows["range"] = f"bytes={self.range[0]}-{self.range[1]}"
        return rows


@dataclass(frozen=True)
class Answer:
    """What came of it. ``status`` 0: nothing. ``broken``: the message did not come to its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool

    def plain(self) -> bytes | None:
        """The body without coding; None: it is no gzip, or not all of it."""
        if self.headers.get("content-encoding") != "gzip":
            return self.body
        try:
            return gzip.decompress(self.body)
        except (OSError, EOFError, zlib.error):
            return None

    @property
    def serial(self) -> int:
        """Which answer of the origin it was made of; 0: of none."""
        return int(self.headers.get("x-serial", "0"))


NOTHING: Final = Answer(0, {}, b"", True)


class Clients:
    """See the module text. One thread's."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[http.client.HTTPConnection] = []
        self._http2: H2Client | None = None

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self._http2 is not None:
            self._http2.close()
            self._http2 = None

    def ask(self, asks: Sequence[Ask]) -> list[Answer]:
        """Make all these requests at once; their answers in the same order."""
        streams = self._send_http2([ask for ask in asks if ask.http2])
        sent = [None if ask.http2 else self._send_http1(ask) for ask in asks]
        return [next(streams) if pair is None else self._receive_http1(pair) for pair in sent]

    def abandon(self, ask: Ask) -> None:
        """Make a request over HTTP/1 and reset the connection as soon as anything is answered."""
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as sock:
            rows = {"host": "test", **ask.headers()}
            lines = "".join(f"{name}: {value}\r\n" for name, value in rows.items())
            sock.sendall(f"{ask.method} {ask.path} HTTP/1.1\r\n{lines}\r\n".encode())
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _send_http1(self, ask: Ask) -> http.client.HTTPConnection:
        connection = self._idle.pop() if self._idle else self._connect()
        connection.request(ask.method, ask.path, ask.body or None, {"Host": "test", **ask.headers()})
        return connection

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _receive_http1(self, connection: http.client.HTTPConnection) -> Answer:
        try:
            response = connection.getresponse()
        except (http.client.HTTPException, ConnectionError):
            connection.close()
            return NOTHING
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            body = response.read()
        except (http.client.IncompleteRead, ConnectionError):
            connection.close()
            return Answer(response.status, headers, b"", True)
        if connection.sock is not None:  # it stays open
            self._idle.append(connection)
        return Answer(response.status, headers, body, False)

    def _send_http2(self, asks: Sequence[Ask]) -> Iterator[Answer]:
        if not asks:
            return iter(())
        if self._http2 is None or self._http2.closed or self._http2.goaway is not None:
            self._http2 = H2Client(self._port)
        client = self._http2
        numbers = [client.request(ask.path, ask.method, ask.body.encode() or None, **ask.headers()) for ask in asks]
        return self._receive_http2(client, numbers)

    def _receive_http2(self, client: H2Client, numbers: list[int]) -> Iterator[Answer]:
        with contextlib.suppress(AssertionError, ConnectionError):  # the streams tell how far they came
            client.finish(*numbers)
        for number in numbers:
            stream = client.streams.pop(number)
            headers = {name: value for name, value in stream.headers.items() if name != ":status"}
            status = stream.status if stream.headers else 0
            yield Answer(status, headers, bytes(stream.body), not stream.ended)
