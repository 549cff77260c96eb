"""Processors of bodies as VMODs write them: these change nothing, a subclass overrides what it needs.

They are given to `VclHost.add_filters`; ``request/vfp.py`` and ``request/vdp.py`` say when what is called.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from varnishpy.http.message import Message
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.storage.source import Piece
    from varnishpy.threads.worker import Worker
    from varnishpy.vcl.tasks import ClientTask, FetchTask

Pieces = Generator["Piece", None, None]


class Fetch(Protocol):
    """What a filter sees of the fetch of a body; see `FetchContext`."""

    response: Message

    def error(self, text: str) -> Exception:
        """Log that the fetch has failed; what is to be raised."""


class Body(Protocol):
    """What a filter reads from."""

    def read(self, limit: int) -> bytes:
        """At most so many octets, ``b""`` at the end."""


class Delivery(Protocol):
    """What a filter sees of the delivery of a body; see `DeliveryContext`."""

    log: TaskLog
    response: Message
    length: int

    @property
    def task(self) -> ClientTask | FetchTask:
        """The request that is answered, or the fetch whose request is sent."""

    @property
    def wrk(self) -> Worker:
        """The worker that computes the body at this moment."""


class FetchFilter:
    """On the way from a backend to the cache."""

    name = ""

    def __init__(self) -> None:
        self.context: Fetch
        self.source: Body

    def open(self) -> bool:
        return True

    def read(self, limit: int) -> bytes:
        return self.source.read(limit)

    def close(self) -> None:
        """Nothing is held."""


class DeliveryFilter:
    """On the way from the cache to a client."""

    name = ""

    def __init__(self) -> None:
        self.context: Delivery

    def open(self) -> bool:
        return True

    def run(self, pieces: Pieces) -> Pieces:
        yield from pieces

    def close(self) -> None:
        """Nothing is held."""
