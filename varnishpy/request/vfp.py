"""Fetch processors: what a body goes through between the backend's connection and storage.

A processor is a body reader that wraps another one: ``read(limit)`` returns at most ``limit`` octets, ``b""`` at the
end and only there, and raises `FetchError` when the body cannot be completed. The `FetchStack` opens them from the
backend's side upwards, so that each sees the response headers as the one below leaves them; a processor may decline
(``open`` returns False) and is then left out.

The first error of a fetch is logged as ``FetchError`` and later ones are kept silent: they are consequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from varnishpy.backends.errors import FetchError
from varnishpy.base.compiled import mypyc_attr
from varnishpy.http.message import Message
from varnishpy.log.tag_numbers import FETCH_ERROR, VFP_ACCT
from varnishpy.log.tasklog import is_masked

if TYPE_CHECKING:
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.stats import TaskCounters
    from varnishpy.vcl.loader import Vcl


#: what ``VfpAcct`` calls the readers of HTTP/1 bodies, by their kind
FETCH_NAMES: Final = {"length": "V1F_STRAIGHT", "chunked": "V1F_CHUNKED", "eof": "V1F_EOF"}


class Reader(Protocol):
    """The least of a body reader."""

    def read(self, limit: int, /) -> bytes: ...


class FetchContext:
    """What a processor may look at and change while a body is fetched.

    ``request`` and ``response`` are bereq and beresp, or for ``req.filters`` both the client's request. ``attrs`` are
    the attributes that go with the object (``ESIDATA``, ``GZIPBITS``); ``flags`` the `ObjectFlag` bits.
    """

    __slots__ = ("attrs", "failed", "flags", "log", "request", "response", "stats", "vcl")

    def __init__(self, log: TaskLog, request: Message, response: Message, stats: TaskCounters, vcl: Vcl | None) -> None:
        self.log = log
        self.request = request
        self.response = response
        self.attrs: dict[str, bytes] = {}
        self.flags = 0
        self.failed: str | None = None
        self.stats = stats
        self.vcl = vcl

    def error(self, text: str) -> FetchError:
        """Note and log the first failure; returns the exception to raise."""
        if self.failed is None:
            self.failed = text
            self.log.put(FETCH_ERROR, text)
        return FetchError(text)


fragment = 0  # most octets read from a stack at once, 0 for no limit; `set_fragment`


def set_fragment(octets: int) -> None:
    """Have bodies read in tiny pieces (``debug.fragfetch``), to see who cannot deal with them."""
    global fragment
    fragment = max(0, octets)


@mypyc_attr(allow_interpreted_subclasses=True)
class FetchProcessor:
    """Base of fetch processors. A subclass sets ``name`` and overrides what it needs."""

    name = ""
    __slots__ = ("context", "source")

    def __init__(self) -> None:
        self.context: FetchContext
        self.source: Reader

    def open(self) -> bool:
        """Prepare, with ``context`` set; False to stay out of the way. Raises `FetchError` to refuse the fetch."""
        return True

    def read(self, limit: int) -> bytes:
        """The next octets of the processed body, from ``source``."""
        return self.source.read(limit)

    def close(self) -> None:
        """Release what is held; called once, at the end or on failure."""


class _Counted:
    """A processor at work: counts for ``VfpAcct``, and keeps to its end once it has reached it."""

    __slots__ = ("calls", "ended", "name", "octets", "processor", "reader")

    def __init__(self, name: str, reader: Reader, processor: FetchProcessor | None) -> None:
        self.name = name
        self.reader = reader
        self.processor = processor
        self.calls = 0
        self.octets = 0
        self.ended = False

    def read(self, limit: int) -> bytes:
        if self.ended:
            return b""
        self.calls += 1
        data = self.reader.read(limit)
        if data:
            self.octets += len(data)
        else:
            self.ended = True
        return data


class FetchStack:
    """The processors of one body, on top of the backend's reader."""

    __slots__ = ("_layers", "_top", "context", "octets")

    def __init__(self, context: FetchContext, bottom: Reader, bottom_name: str) -> None:
        self.context = context
        self._layers: list[_Counted] = [_Counted(bottom_name, bottom, None)]
        self._top = self._layers[0]
        self.octets = 0  # received from below, known after close

    def open(self, processors: list[FetchProcessor]) -> None:
        """Put processors on top, the first one nearest to the backend; raises `FetchError`."""
        for processor in processors:
            processor.context = self.context
            processor.source = self._top
            try:
                used = processor.open()
            except FetchError:
                raise self.context.error(f"Fetch filter {processor.name} failed to open") from None
            if used:
                self._top = _Counted(processor.name, processor, processor)
                self._layers.append(self._top)

    def read(self, limit: int) -> bytes:
        """The next octets of the fully processed body; raises `FetchError`, already logged."""
        try:
            return self._top.read(limit if not fragment else min(limit, fragment))
        except FetchError as exc:
            raise self.context.error(str(exc)) from None

    def plain(self) -> bool:
        """Does nothing stand between backend and storage?"""
        return len(self._layers) == 1

    def close(self) -> int:
        """Close all processors; logs ``VfpAcct`` and returns the octets received from the backend."""
        log = self.context.log
        for layer in reversed(self._layers):
            if layer.processor is not None:
                layer.processor.close()
            if layer.name and not is_masked(VFP_ACCT):
                log.put(VFP_ACCT, f"{layer.name} {layer.calls} {layer.octets}")
        self.octets = self._layers[0].octets
        self._layers = self._layers[:1]
        return self.octets
