"""Every case of a conformance suite against the daemon with its defaults, over real sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.interop.conformance_cases import CASES, Case
from tests.interop.raw_h2 import RawClient


@pytest.fixture(scope="module", params=["hit", "miss", "hit, handed", "miss, handed"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A daemon whose ``/`` is cached, or never is; requests run by the session thread, or all by others."""
    origin = Origin()
    ttl = "max-age=3600" if "hit" in request.param else "no-store"
    inline = "off" if "handed" in request.param else "on"

    @origin.page("/")
    def index(exchange: Exchange) -> None:
        exchange.answer(b"0123456789" * 100, cache_control=ttl)

    words = ("-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2")
    with (
        tempfile.TemporaryDirectory(prefix="vp-") as directory,
        running(Path(directory) / "v", *words, "-p", f"h2_inline={inline}") as cache,
    ):
        warm(cache)
        yield cache.port
    origin.close()  # what it complains of does not matter: some requests break off in the middle of their body


def warm(cache: Cache) -> None:
    """See to it that the object is there."""
    assert cache.get("/").status == 200


def test_the_table_is_complete() -> None:
    assert len({case.ident for case in CASES}) == len(CASES) >= 146


@pytest.mark.parametrize("case", CASES, ids=[case.ident for case in CASES])
def test_conformance(port: int, case: Case) -> None:
    with RawClient(port) as client:
        if case.greet:
            client.handshake()
        for step in case.steps:
            if isinstance(step, bytes):
                client.send(step)
            else:
                step(client)
        assert case.verdict(client), client.seen
