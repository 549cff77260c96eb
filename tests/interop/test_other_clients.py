"""Clients that others wrote and the e2e tests do not have: Node's http2 module; h2load beside a reader that stalls."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.interop.raw_h2 import RawClient, headers, request

BIG = 3 << 20


@pytest.fixture(scope="module")
def cache() -> Iterator[Cache]:
    origin = Origin()

    @origin.page("/")
    def index(exchange: Exchange) -> None:
        exchange.answer(b"x" * 1000, cache_control="max-age=3600")

    @origin.page("/big")
    def big(exchange: Exchange) -> None:
        exchange.answer(bytes(BIG), cache_control="max-age=3600")

    @origin.page("/echo")
    def echo(exchange: Exchange) -> None:
        exchange.answer(exchange.body)

    with (
        tempfile.TemporaryDirectory(prefix="vp-") as directory,
        running(Path(directory) / "v", "-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2") as made,
    ):
        yield made
    origin.close()
    assert not origin.errors


def test_node(cache: Cache, program: Callable[[str], str]) -> None:
    script = Path(__file__).parent / "node_client.js"
    done = subprocess.run(
        [program("node"), str(script), cache.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["problems"] == []
    assert [(answer["status"], answer["size"]) for answer in got["gets"]] == [(200, 1000)] * 200
    assert (got["head"]["status"], got["head"]["size"]) == (200, 0)
    assert [(answer["status"], answer["size"]) for answer in got["big"]] == [(200, BIG)] * 5
    assert (got["post"]["status"], got["post"]["size"]) == (200, 1_000_000)
    assert got["early"]["status"] == 404
    assert (got["after"]["status"], got["after"]["size"]) == (200, 1000)


def test_h2load_beside_stalled_readers(cache: Cache, program: Callable[[str], str]) -> None:
    """A session with a hundred streams that nobody reads does not hold h2load up; writes are gathered."""
    assert cache.get("/big").status == 200
    assert cache.get("/").status == 200
    with RawClient(cache.port) as stalled:
        stalled.handshake((4, 1 << 20))
        stalled.send(b"".join(headers(number, request(path="/big")) for number in range(1, 201, 2)))
        before = cache.counters()
        done = subprocess.run(
            [program("h2load"), "-n", "5000", "-c", "10", "-m", "100", f"{cache.url}/"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        after = cache.counters()
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    frames = after["MAIN.h2_frames_tx"] - before["MAIN.h2_frames_tx"]
    assert frames / (after["MAIN.h2_sends"] - before["MAIN.h2_sends"]) >= 8
