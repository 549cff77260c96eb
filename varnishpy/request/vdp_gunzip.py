"""Delivery processor ``gunzip``: unpacks a gzipped object for a client that does not take gzip."""

from __future__ import annotations

import zlib

from varnishpy.log.tag_numbers import GZIP
from varnishpy.params import params
from varnishpy.request.growing import Pieces
from varnishpy.request.vdp import DeliveryProcessor
from varnishpy.request.vfp_gzip import GZIP_WBITS, Meter, unpacked_size, zlib_code, zlib_message
from varnishpy.storage.source import SourceError


class GunzipDelivery(DeliveryProcessor):
    """See the module text. The size of the result is known once the object is complete in storage."""

    name = "gunzip"
    __slots__ = ("_meter",)

    def open(self) -> bool:
        context = self.context
        context.wrk.stats.n_gunzip += 1
        self._meter = Meter("U D -", False)
        context.response.unset("content-encoding")
        context.length = -1
        if context.stobj is not None and context.finished:
            context.length = unpacked_size(context.stobj.attrs.get("GZIPBITS"))
        return True

    def run(self, pieces: Pieces) -> Pieces:
        meter = self._meter
        engine = zlib.decompressobj(GZIP_WBITS)
        limit = max(1, params.gzip_buffer)
        try:
            for piece in pieces:
                if not len(piece):
                    yield piece
                    continue
                if engine.eof:
                    raise self._fail("G(un)zip error: 1 (junk after VGZ_END)")
                meter.total_in += len(piece)
                data: bytes | bytearray | memoryview = piece
                while True:
                    out = engine.decompress(data, limit)
                    if engine.unused_data:  # what came before it is not sent either
                        raise self._fail("G(un)zip error: 1 (junk after VGZ_END)")
                    if out:
                        meter.total_out += len(out)
                        yield out
                    data = engine.unconsumed_tail
                    if engine.eof or (not data and len(out) < limit):
                        break
        except zlib.error as exc:
            raise self._fail(f"Gunzip error: {zlib_code(exc)} ({zlib_message(exc)})") from None
        if not engine.eof:
            raise self._fail("Gunzip error: -5 (unexpected end)")

    def _fail(self, text: str) -> SourceError:
        self.context.log.put(GZIP, text)
        return SourceError(text)

    def close(self) -> None:
        self.context.log.put(GZIP, self._meter.record())
