"""Fixtures of the storage tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.persistent_life import Life, Lives
from varnishpy.params import table


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Lives]:
    """Begins a life in a directory, by default always the same."""
    lives: list[Life] = []

    def begin(directory: Path | None = None, size: str = "4m") -> Life:
        lives.append(Life(directory or tmp_path / "store", size))
        return lives[-1]

    yield begin
    for life in lives:
        if life.store._lock_file is not None:
            life.end()
    for name in ("ban_lurker_age", "nuke_limit"):
        table.reset(name)
