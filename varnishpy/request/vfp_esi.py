"""Fetch processors ``esi`` and ``esi_gzip``: parse a body for ESI while it is stored.

The whole body is stored, what ESI leaves out too, so that the same object can be delivered without ESI processing; the
instructions go into the ``ESIDATA`` attribute. ``esi_gzip`` packs the body on the way, and starts a deflate block of
its own, with an empty window, wherever verbatim and skipped parts meet: each verbatim part can then be sent as it is
in the middle of any other gzip stream (RFC 1951 knows no state between blocks but the window and the bit position).
"""

from __future__ import annotations

import zlib
from typing import Final

from varnishpy.base import testable_random
from varnishpy.log.tag_numbers import ESI_XMLERROR, GZIP, VCL_ERROR
from varnishpy.params import params
from varnishpy.request.conditional import vary_on_encoding, weaken_etag
from varnishpy.request.esi_codes import Encoder, Include, Skip, Verbatim
from varnishpy.request.esi_parse import EsiParser
from varnishpy.request.vfp import FetchProcessor
from varnishpy.request.vfp_gzip import Meter, gzip_bits, new_packer
from varnishpy.stats import main as stats
from varnishpy.storage.object import ObjectFlag

_LONGEST_CHOP: Final = 4  # octets, with debug=+esi_chop


class Esi(FetchProcessor):
    """Parses a plain body; the octets pass unchanged."""

    name = "esi"
    gzipped = False
    __slots__ = ("_done", "_encoder", "_offset", "_parser", "_run", "_start", "_verbatim")

    def open(self) -> bool:
        context = self.context
        if context.response.status == 206:
            context.log.put(VCL_ERROR, "Attempted ESI on partial (206) response")
            raise context.error("Fetch filter esi failed to open")
        context.flags |= ObjectFlag.ESIPROC
        self._encoder = Encoder(self.gzipped)
        self._parser = EsiParser(self, context.request.url)
        self._run = 0  # stored octets of the current run of one kind
        self._verbatim = True
        self._start = 0  # where it began in storage: what error messages refer to
        self._offset = 0
        self._done = False
        return True

    def read(self, limit: int) -> bytes:
        data = self.source.read(limit)
        if data:
            self._feed(data)
        elif not self._done:
            self._done = True
            self._finish()
        return data

    def _feed(self, data: bytes) -> None:
        if not params.debug.esi_chop:
            self._parser.feed(data)
            return
        while data:
            size = 1 + int(testable_random.testable_fraction() * _LONGEST_CHOP)
            self._parser.feed(data[:size])
            data = data[size:]

    def _finish(self) -> None:
        self._parser.finish()
        self._flush()
        if self._parser.found and self._encoder.count:
            self.context.attrs["ESIDATA"] = self._encoder.data()

    # -- what the parser says --------------------------------------------------------------------------------------

    def mark(self, piece: bytes, verbatim: bool) -> None:
        if verbatim != self._verbatim:
            self._flush()
            self._verbatim = verbatim
        self._run += len(piece)
        self._offset += len(piece)

    def _flush(self) -> None:
        """The current run ends here."""
        if self._run:
            self._encoder.add(Verbatim(self._run) if self._verbatim else Skip(self._run))
            self._run = 0
            self._start = self._offset

    def include(self, instruction: Include) -> None:
        if self._verbatim:
            self._flush()
        # octets skipped before and after an include may well form one run: nothing of it is delivered
        self._encoder.add(instruction)

    def complain(self, text: str, error: bool) -> None:
        stats.inc("esi_errors" if error else "esi_warnings")
        self.context.log.put(ESI_XMLERROR, f"{'ERR' if error else 'WARN'}: after {self._start} {text}")

    def remark(self, text: str) -> None:
        self.context.log.put(ESI_XMLERROR, f"WARN: {text}")


class EsiGzip(Esi):
    """Parses and packs a plain body."""

    name = "esi_gzip"
    gzipped = True
    __slots__ = ("_crc", "_meter", "_packed", "_packer", "_plain")

    def open(self) -> bool:
        super().open()
        context = self.context
        context.stats.n_gzip += 1
        context.flags |= ObjectFlag.GZIPED | ObjectFlag.CHGCE
        weaken_etag(context.response)
        context.response.unset("content-length")
        context.response.set("Content-Encoding", "gzip")
        vary_on_encoding(context.response)
        self._packer = new_packer()
        self._meter = Meter("G F E", True)
        self._packed = bytearray()
        self._crc = 0
        self._plain = 0
        # the gzip header comes first and belongs to nobody: left out, because a delivery writes its own
        self._put(self._packer.flush(zlib.Z_FULL_FLUSH))
        self._encoder.add(Skip(self._offset))
        self._start = self._offset
        self._run = 0
        return True

    def read(self, limit: int) -> bytes:
        while not self._packed and not self._done:
            data = self.source.read(params.gzip_buffer)
            if data:
                self._feed(data)
            else:
                self._done = True
                self._finish()
                self._put(self._packer.flush(zlib.Z_FINISH))
                self.context.attrs["GZIPBITS"] = gzip_bits(self._meter.total_out, self._meter.total_in)
        out = bytes(self._packed[:limit])
        del self._packed[:limit]
        return out

    def close(self) -> None:
        self.context.log.put(GZIP, self._meter.record())

    def _put(self, packed: bytes) -> None:
        self._packed += packed
        self._meter.total_out += len(packed)
        self._run += len(packed)
        self._offset += len(packed)

    def mark(self, piece: bytes, verbatim: bool) -> None:
        if verbatim != self._verbatim:
            self._flush()
            self._verbatim = verbatim
        self._crc = zlib.crc32(piece, self._crc)
        self._plain += len(piece)
        self._meter.total_in += len(piece)
        self._put(self._packer.compress(piece))

    def _flush(self) -> None:
        if not self._plain:
            return
        self._put(self._packer.flush(zlib.Z_FULL_FLUSH))
        if self._verbatim:
            self._encoder.add(Verbatim(self._run, self._crc, self._plain))
        else:
            self._encoder.add(Skip(self._run))
        self._run = 0
        self._crc = 0
        self._plain = 0
        self._start = self._offset
