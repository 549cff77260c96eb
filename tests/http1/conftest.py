"""Fixtures of the HTTP/1 tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Running
from tests.http1.h1_harness import Harness


@pytest.fixture
def harness(running: Running) -> Iterator[Harness]:
    made = Harness(running.pools, running.waiter, running.log)
    yield made
    for peer in made.peers:
        peer.sock.close()
