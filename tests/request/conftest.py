"""Fixtures: a small cache process for the state machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import make_worker
from tests.request.request_harness import Cache
from varnishpy.log import memory


@pytest.fixture(scope="package")
def process() -> Iterator[Cache]:
    cache = Cache()
    yield cache
    cache.stop()


@pytest.fixture
def cache(process: Cache) -> Iterator[Cache]:
    """The cache, empty, with the builtin VCL."""
    process.origin.script.clear()
    process.origin.requests.clear()
    process.origin.bodies.clear()
    process.origin.closed.clear()
    worker = make_worker()
    for oc in process.env.hash.all_objects():
        process.env.hash.purge(worker, oc.objhead.digest, 0.0)
    process.vcl()
    yield process


@pytest.fixture
def records() -> Iterator[Any]:
    """Log records written while the test runs."""
    with memory.captured() as found:
        yield found
