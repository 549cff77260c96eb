"""Clients that stop reading hold no worker, whatever stands between them and the body; and get all of it later."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.interop.raw_h2 import DATA, HEADERS, RawClient, headers, request, window_update
from tests.waiting import wait_for

STREAMS = 30  # more than there may be workers
PLAIN = bytes(range(256)) * 3000  # more than is computed ahead of a client

VCL = """
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv { if (req.url ~ "pass") { return (pass); } }
sub vcl_backend_response {
    set beresp.do_esi = bereq.url ~ "^/esi";
    set beresp.transit_buffer = 64k;
}
"""
POOL = ("thread_pools=1", "thread_pool_min=10", "thread_pool_max=20", "feature=+http2", "h2_window_timeout=60")

BODIES = {
    "/gzip": PLAIN,
    "/esi": b"<p>" + PLAIN + b"</p>",
    "/esi-of-gzip": b"<p>" + PLAIN + b"</p>",
    "/pass": PLAIN,
    "/gzip-pass": PLAIN,
    "/plain": PLAIN,
}


@pytest.fixture(scope="module")
def cache() -> Iterator[Cache]:
    origin = Origin()
    packed = gzip.compress(PLAIN)

    def plain(exchange: Exchange) -> None:
        exchange.answer(PLAIN)

    def zipped(exchange: Exchange) -> None:
        exchange.answer(packed, content_encoding="gzip")

    origin.pages.update({"/plain": plain, "/pass": plain, "/gzip": zipped, "/gzip-pass": zipped})
    origin.pages["/esi"] = lambda exchange: exchange.answer(b'<p><esi:include src="/plain"/></p>')
    origin.pages["/esi-of-gzip"] = lambda exchange: exchange.answer(b'<p><esi:include src="/gzip"/></p>')
    origin.pages["/quick"] = lambda exchange: exchange.answer(b"quick")
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        directory = Path(name)
        (directory / "v.vcl").write_text(VCL % origin.port)
        arguments = [word for option in POOL for word in ("-p", option)]
        with running(directory / "v", "-f", str(directory / "v.vcl"), *arguments) as made:
            yield made
    origin.close()
    assert not origin.errors


def busy(cache: Cache) -> list[str]:
    """What workers are doing."""
    board = json.loads(cache.stats_page("/scoreboard"))
    return [task["kind"] for task in board["tasks"]]


@pytest.mark.parametrize("path", BODIES)
def test_a_slow_client_holds_no_worker(cache: Cache, path: str) -> None:
    if "pass" not in path:
        assert cache.get(path).body == BODIES[path]
    numbers = range(1, 2 * STREAMS, 2)
    with RawClient(cache.port, 10.0) as slow:
        slow.handshake((4, 100))  # a hundred octets of each body, and no more
        slow.send(b"".join(headers(number, request(path=path)) for number in numbers))
        got = dict.fromkeys(numbers, b"")
        begun = 0
        while begun < STREAMS:
            frame = slow.read()
            assert frame is not None
            assert frame.kind != 3, frame
            begun += frame.kind == HEADERS
            if frame.kind == DATA:
                got[frame.stream] += frame.payload
        wait_for(lambda: busy(cache) == ["HTTP/2 session"], "nobody but the session has a worker")
        # who comes now is served: it takes a worker for the request, and another for the fetch
        assert cache.get(f"/quick?{path}").body == b"quick"

        slow.send(window_update(0, 1 << 30))
        slow.send(b"".join(window_update(number, 1 << 30) for number in numbers))
        left = STREAMS
        while left:
            frame = slow.read()
            assert frame is not None
            if frame.kind == DATA:
                got[frame.stream] += frame.payload
            left -= frame.last
    assert [number for number in numbers if got[number] != BODIES[path]] == []
