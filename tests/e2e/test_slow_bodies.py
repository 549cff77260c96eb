"""A client gets at once what there is of a body that is still being fetched, made or included."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.waiting import wait_for

VCL = """
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_backend_response { set beresp.do_esi = bereq.url ~ "^/esi"; }
"""


class Gates:
    """What the origin waits for in the middle of its answers."""

    def __init__(self) -> None:
        self.open = threading.Event()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cache, Gates]]:
    origin = Origin()
    gates = Gates()

    def packed(exchange: Exchange) -> None:
        pack = zlib.compressobj(wbits=31)
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        for text in (b"first ", b"last"):
            data = pack.compress(text) + pack.flush(zlib.Z_SYNC_FLUSH if text == b"first " else zlib.Z_FINISH)
            exchange.send(b"%x\r\n%s\r\n" % (len(data), data))
            if text == b"first ":
                assert gates.open.wait(20)
        exchange.send(b"0\r\n\r\n")

    def included(exchange: Exchange) -> None:
        assert gates.open.wait(20)
        exchange.answer(b"last")

    origin.pages["/gzip"] = packed
    origin.pages["/esi"] = lambda exchange: exchange.answer(b'<p>first <esi:include src="/slow"/>')
    origin.pages["/esi-twice"] = lambda exchange: exchange.answer(b'<esi:include src="/esi"/>')
    origin.pages["/slow"] = included
    directory = tmp_path_factory.mktemp("slow")
    (directory / "v.vcl").write_text(VCL % origin.port)
    arguments = ["-f", str(directory / "v.vcl"), "-p", "feature=+http2", "-p", "default_ttl=0", "-p", "default_grace=0"]
    with running(directory / "v", *arguments) as made:
        yield made, gates
    origin.close()
    assert not origin.errors


PAGES = pytest.mark.parametrize("url", ["/gzip", "/esi", "/esi-twice"])


@PAGES
def test_http1(cache: tuple[Cache, Gates], url: str) -> None:
    made, gates = cache
    gates.open.clear()
    with made.connect() as sock:
        sock.sendall(f"GET {url} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while b"first " not in got:
            piece = sock.recv(65536)
            assert piece, got
            got += piece
        assert b"last" not in got
        gates.open.set()
        while piece := sock.recv(65536):
            got += piece
    assert b"last" in got and got.endswith(b"\r\n0\r\n\r\n")


@PAGES
def test_http2(cache: tuple[Cache, Gates], url: str) -> None:
    made, gates = cache
    gates.open.clear()
    client = H2Client(made.port)
    number = client.request(url)
    wait_for(lambda: client.step() and bytes(client.streams[number].body).endswith(b"first "), "the first part")
    gates.open.set()
    (stream,) = client.finish(number)
    assert bytes(stream.body).endswith(b"first last")
    client.sock.close()
