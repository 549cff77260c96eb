"""Processors of bodies as VMODs write them: these change nothing, a subclass overrides what it needs.

They are given to `VclHost.add_filters`; ``request/vfp.py`` and ``request/vdp.py`` say when what is called.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

Pieces = Generator[Any, None, None]


class FetchFilter:
    """On the way from a backend to the cache."""

    name = ""

    def __init__(self) -> None:
        self.context: Any = None
        self.source: Any = None

    def open(self) -> bool:
        return True

    def read(self, limit: int) -> bytes:
        data: bytes = self.source.read(limit)
        return data

    def close(self) -> None:
        """Nothing is held."""


class DeliveryFilter:
    """On the way from the cache to a client."""

    name = ""

    def __init__(self) -> None:
        self.context: Any = None

    def open(self) -> bool:
        return True

    def run(self, pieces: Pieces) -> Pieces:
        yield from pieces

    def close(self) -> None:
        """Nothing is held."""
