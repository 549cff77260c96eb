"""Delivery processor ``range``: cuts out the octets that a client asked for (RFC 9110 section 14)."""

from __future__ import annotations

from varnishpy.base.panic import present
from varnishpy.http.ranges import ByteRange, RangeError, content_range, parse_range, parse_ranges, unsatisfied_range
from varnishpy.http.status import reason
from varnishpy.log.tag_numbers import DEBUG, ERROR
from varnishpy.params import params
from varnishpy.request.byteranges import MOST, Parts, join
from varnishpy.request.conditional import range_applies
from varnishpy.request.growing import Pieces
from varnishpy.request.vdp import DeliveryProcessor
from varnishpy.storage.source import SourceError


class RangeDelivery(DeliveryProcessor):
    """See the module text. ``low`` and ``high`` (exclusive) are the octets to deliver.

    Directly on storage nothing is computed: whoever builds the delivery takes the two figures and cuts the source.
    """

    name = "range"
    __slots__ = ("cut", "high", "low", "on_storage", "parts")

    def open(self) -> bool:
        context = self.context
        req = context.req
        response = context.response
        self.on_storage = context.stobj is not None
        self.cut = False  # whoever builds the delivery sets it when it cuts the source
        self.parts: Parts | None = None
        if req is None:
            context.log.put(ERROR, "range can only be used on the client side")
            return False
        value = req.http.get("range")
        if value is None or not range_applies(req.http, response):
            return False
        try:
            if params.feature.multi_range and context.length > 0:
                several = parse_ranges(value, context.length)
                if several:
                    return self._open_parts(several)
            wanted = parse_range(value, context.length)
        except RangeError as exc:
            context.log.put(DEBUG, f"RANGE_FAIL {exc}")
            if context.length >= 0:
                response.set("Content-Range", unsatisfied_range(context.length))
            response.set_proto("HTTP/1.1")
            response.set_status(416)
            response.set_reason(reason(416))
            context.length = 0
            return False
        if wanted is None:
            return False
        response.set("Content-Range", content_range(wanted, context.length))
        if context.length >= 0:
            context.length = wanted.length
        self.low = wanted.low
        self.high = wanted.high + 1
        self._partial()
        return True

    def _partial(self) -> None:
        response = self.context.response
        response.set_proto("HTTP/1.1")
        response.set_status(206)
        response.set_reason(reason(206))

    def _open_parts(self, several: list[ByteRange]) -> bool:
        """Prepare for several ranges; False where the whole body is the better answer."""
        context = self.context
        ranges = join(several)
        if len(ranges) > MOST or len(several) > 2 * MOST:
            return False
        if len(ranges) == 1:  # a single part may be sent as such (section 15.3.7.2)
            only = ranges[0]
            context.response.set("Content-Range", content_range(only, context.length))
            self.low, self.high = only.low, only.high + 1
            context.length = only.length
        else:
            parts = self.parts = Parts(ranges, context.length, context.response.get("content-type"))
            if parts.length >= context.length:
                self.parts = None
                return False
            context.response.set("Content-Type", parts.content_type)
            context.length = parts.length
            self.on_storage = False  # what is sent is not just a piece of it
        self._partial()
        return True

    def run(self, pieces: Pieces) -> Pieces:
        parts = self.parts
        if parts is not None:
            yield from self._run_parts(parts, pieces)
            return
        low = self.low
        high = self.high
        at = 0
        try:
            for piece in pieces:
                start = at
                at += len(piece)
                if start == at:
                    yield piece
                    continue
                if at <= low:
                    continue
                if start >= low and at <= high:
                    yield piece
                else:
                    yield memoryview(piece)[max(0, low - start) : high - start]
                if at >= high:
                    return
        except SourceError:
            self._short()
            raise
        if self._short():
            raise SourceError("Insufficient data for range")

    def _run_parts(self, parts: Parts, pieces: Pieces) -> Pieces:
        sent = 0
        for piece in parts.cut(pieces):
            sent += len(piece)
            yield piece
        if sent < parts.length:
            self._short()
            raise SourceError("Insufficient data for ranges")

    def _short(self) -> bool:
        """The body ended before the range did: that is an error only where its length was known."""
        if self.context.length < 0:
            return False
        present(self.context.req, "a range is of a response").doclose = "RANGE_SHORT"
        return True
