"""Fixtures of the end-to-end tests: an origin, and a cache in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Origin, running


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin without pages."""
    made = Origin()
    yield made
    made.close()
    assert not made.errors


@pytest.fixture
def cache(origin: Origin, short_tmp: Path) -> Iterator[Cache]:
    """A cache in front of the origin, HTTP/2 on, everything else as it comes."""
    with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2") as made:
        yield made
