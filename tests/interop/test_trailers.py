"""Fields behind the body, through the cache: dropped, or passed on verbatim where that is asked for."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpack import Decoder

from tests.e2e.harness import Cache, running
from tests.interop.raw_h2 import DATA, END_HEADERS, END_STREAM, HEADERS, RawClient, data, headers, request

ANSWER = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n"
    b"5\r\nhello\r\n0\r\nGrpc-Status: 0\r\nGrpc-Message: fine\r\n\r\n"
)
NOTHING = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGrpc-Status: 5\r\n\r\n"


class TrailingOrigin:
    """Takes one chunked request per connection, octet for octet, and answers with trailers."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                got = b""
                while piece := sock.recv(65536):
                    got += piece
                    head, _, body = got.partition(b"\r\n\r\n")
                    if (b"\r\n0\r\n" in body or body.startswith(b"0\r\n")) and body.endswith(b"\r\n\r\n"):
                        break
                self.requests.append(got)
                sock.sendall(NOTHING if b"/empty" in got else ANSWER)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def origin() -> Iterator[TrailingOrigin]:
    made = TrailingOrigin()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cache(origin: TrailingOrigin) -> Iterator[Cache]:
    with (
        tempfile.TemporaryDirectory(prefix="vp-") as directory,
        running(Path(directory) / "v", "-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2") as made,
    ):
        yield made


def call(cache: Cache, path: str = "/") -> tuple[list[dict[str, str]], bytes]:
    """A POST with trailers: the header blocks of the answer, and its body."""
    decoder = Decoder()
    blocks, body = [], b""
    with RawClient(cache.port) as client:
        client.handshake()
        fields = request("POST", [("te", "trailers"), ("trailer", "x-sum")], path)
        client.send(headers(1, fields, END_HEADERS) + data(1, b"abc", 0) + headers(1, [("x-sum", "6")]))
        while (got := client.read()) is not None:
            if got.stream != 1:
                continue
            if got.kind == HEADERS:
                blocks.append({str(n): str(v) for n, v in decoder.decode(got.payload)})
            elif got.kind == DATA:
                body += got.payload
            if got.flags & END_STREAM:
                break
    return blocks, body


def test_dropped_by_default(cache: Cache, origin: TrailingOrigin) -> None:
    cache.cli("param.reset experimental")
    blocks, body = call(cache)
    assert len(blocks) == 1
    assert body == b"hello"
    assert origin.requests[-1].endswith(b"3\r\nabc\r\n0\r\n\r\n")
    assert b"x-sum" not in origin.requests[-1]


@pytest.mark.parametrize("path", ["/", "/empty"])
def test_passed_on_both_ways(cache: Cache, origin: TrailingOrigin, path: str) -> None:
    cache.cli("param.set experimental +pass_trailers")
    blocks, body = call(cache, path)
    assert origin.requests[-1].endswith(b"3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n")
    assert b"te: trailers\r\n" in origin.requests[-1]
    assert b"trailer: x-sum\r\n" in origin.requests[-1]
    assert blocks[0][":status"] == "200"
    if path == "/":
        assert body == b"hello"
        assert blocks[0]["trailer"] == "Grpc-Status"
        assert blocks[1:] == [{"grpc-status": "0", "grpc-message": "fine"}]
    else:
        assert body == b""
        assert blocks[1:] == [{"grpc-status": "5"}]
