"""The one way in which tests wait: for a condition, with a deadline far beyond what a slow machine needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Until = Callable[[Callable[[], object]], object]  # the fixture `until`
PATIENCE = 20.0  # seconds; a test that needs them all has failed


def wait_for(condition: Callable[[], T], what: str = "the condition", patience: float = PATIENCE) -> T:
    """Wait until the condition gives something true, and return that; AssertionError after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.002)
    return value
