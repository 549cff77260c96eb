"""The body of a request on its way to a backend, behind the processors of ``bereq.filters``.

They are delivery processors, the first one nearest to the client. A length that none of them takes away is announced
and kept; else the body goes out in chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.backends.errors import RequestBodyError
from varnishpy.http.message import Header
from varnishpy.log.tag_numbers import FILTERS
from varnishpy.request.filters import open_delivery
from varnishpy.request.vdp import Chain, DeliveryContext, ProcessorError, PullSource
from varnishpy.storage.source import END, LATER, Piece, Source, SourceError, _Mark

if TYPE_CHECKING:
    from varnishpy.backends.exchange import RequestBody
    from varnishpy.request.busyobj import BusyObject


class _Unprocessed(Source):
    """The body as the client sent it, for a chain of processors; nothing, if there is none."""

    __slots__ = ("_body",)

    def __init__(self, body: RequestBody | None) -> None:
        super().__init__(0 if body is None else body.length, False)
        self._body = body

    def pull(self, limit: int) -> Piece | _Mark:
        return (b"" if self._body is None else self._body.read(limit)) or END


class ProcessedBody:
    """A `RequestBody` that processors compute; whoever sends it calls `discard` in the end.

    What it is made from stays with the fetch: another attempt makes another one.
    """

    filter_name = ""
    __slots__ = ("_body", "_source", "length")

    def __init__(self, body: RequestBody | None, chain: Chain, length: int) -> None:
        self.length = length
        self._body = body
        self._source = PullSource(chain, length)

    def read(self, limit: int) -> bytes:
        piece: Piece | _Mark = b""
        try:
            while piece is LATER or (not isinstance(piece, _Mark) and not len(piece)):
                piece = self._source.pull(limit)
        except SourceError as failure:
            raise RequestBodyError(str(failure)) from None
        return b"" if isinstance(piece, _Mark) else bytes(piece)

    @property
    def trailers(self) -> list[Header]:
        """What the client sent behind the body, known when that has been read."""
        return getattr(self._body, "trailers", [])

    def discard(self) -> bool:
        self._source.close()
        return True


def processed(bo: BusyObject) -> RequestBody | None:
    """What is sent behind bereq. Raises `RequestBodyError`, logged.

    The processors of a request without a body are opened and closed all the same.
    """
    names = bo.bereq_filter_list
    body = bo.bereq_body
    if names is None:
        return body
    bo.log.put(FILTERS, names)
    context = DeliveryContext(bo, bo.log, bo.bereq, 0 if body is None else body.length, None, body is None)
    try:
        processors = open_delivery(names, context)
    except ProcessorError as refused:
        raise RequestBodyError(str(refused)) from None
    made = ProcessedBody(body, Chain(processors, _Unprocessed(body), bo, context.length), context.length)
    if body is not None:
        return made
    made.discard()
    return None
