"""Processors of bodies that VMODs bring: objects of classes that know nothing of this room, as processors of it.

VMODs stand below ``request/`` and derive from classes of their own (``vmods/_filters.py``). What is asked of them is
said here; whatever fits is wrapped, compiled or not.
"""

from __future__ import annotations

from typing import Protocol

from varnishpy.request.growing import Pieces
from varnishpy.request.vdp import DeliveryContext, DeliveryProcessor
from varnishpy.request.vfp import FetchContext, FetchProcessor, Reader


class FetchFilter(Protocol):
    """See `FetchProcessor`; ``context`` and ``source`` are there when ``open`` is called."""

    name: str
    context: FetchContext
    source: Reader

    def open(self) -> bool:
        """False to stay out of the way."""

    def read(self, limit: int) -> bytes:
        """The next octets of the processed body."""

    def close(self) -> None:
        """Release what is held."""


class DeliveryFilter(Protocol):
    """See `DeliveryProcessor`; ``context`` is there when ``open`` is called."""

    name: str
    context: DeliveryContext

    def open(self) -> bool:
        """False to stay out of the way."""

    def run(self, pieces: Pieces) -> Pieces:
        """The processed body."""

    def close(self) -> None:
        """Release what is held."""


class ForeignFetch(FetchProcessor):
    """A VMOD's fetch processor."""

    def __init__(self, made: FetchFilter) -> None:
        super().__init__()
        self.name = made.name
        self._made = made

    def open(self) -> bool:
        self._made.context = self.context
        self._made.source = self.source
        return self._made.open()

    def read(self, limit: int) -> bytes:
        return self._made.read(limit)

    def close(self) -> None:
        self._made.close()


class ForeignDelivery(DeliveryProcessor):
    """A VMOD's delivery processor."""

    def __init__(self, made: DeliveryFilter) -> None:
        super().__init__()
        self.name = made.name
        self._made = made

    def open(self) -> bool:
        self._made.context = self.context
        return self._made.open()

    def run(self, pieces: Pieces) -> Pieces:
        return self._made.run(pieces)

    def close(self) -> None:
        self._made.close()
