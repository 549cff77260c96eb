"""Delivery processor ``range``: cuts out the octets that a client asked for (RFC 9110 section 14)."""

from __future__ import annotations

from varnishpy.http.ranges import RangeError, content_range, parse_range, unsatisfied_range
from varnishpy.http.status import reason
from varnishpy.log.tag_numbers import DEBUG
from varnishpy.request.conditional import range_applies
from varnishpy.request.growing import Pieces
from varnishpy.request.vdp import DeliveryProcessor
from varnishpy.storage.source import SourceError


class RangeDelivery(DeliveryProcessor):
    """See the module text. ``low`` and ``high`` (exclusive) are the octets to deliver.

    Directly on storage nothing is computed: whoever builds the delivery takes the two figures and cuts the source.
    """

    name = "range"
    __slots__ = ("cut", "high", "low", "on_storage")

    def open(self) -> bool:
        context = self.context
        req = context.req
        response = context.response
        self.on_storage = context.stobj is not None
        self.cut = False  # whoever builds the delivery sets it when it cuts the source
        value = req.http.get("range")
        if value is None or not range_applies(req.http, response):
            return False
        try:
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
        response.set_proto("HTTP/1.1")
        response.set_status(206)
        response.set_reason(reason(206))
        return True

    def run(self, pieces: Pieces) -> Pieces:
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

    def _short(self) -> bool:
        """The body ended before the range did: that is an error only where its length was known."""
        if self.context.length < 0:
            return False
        self.context.req.doclose = "RANGE_SHORT"
        return True
