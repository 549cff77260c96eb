"""Fetch processors for gzip: ``gunzip``, ``gzip`` and ``testgunzip``.

Each counts what goes in and out, for the ``Gzip`` record and for the ``GZIPBITS`` attribute, whose last number, the
size of the unpacked body, lets a later delivery announce ``Content-Length``. The bit positions in both are those of a
stream of a single deflate block, byte-aligned at its end: zlib's Python binding does not tell the true ones, and
nothing here depends on them.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from varnishpy.log.tag_numbers import GZIP
from varnishpy.params import params
from varnishpy.request.conditional import vary_on_encoding, weaken_etag
from varnishpy.request.vfp import FetchContext, FetchProcessor
from varnishpy.storage.object import ObjectFlag

GZIP_WBITS: Final = 31  # a gzip wrapper around the largest window
_HEADER_BITS: Final = 80  # a gzip header without optional fields


def zlib_message(exc: zlib.error) -> str:
    """zlib's own words, without what the Python binding puts before them."""
    return str(exc).rpartition(": ")[2]


def zlib_code(exc: zlib.error) -> str:
    """zlib's error number, for ``Gzip`` records."""
    words = str(exc).split(" ", 2)
    return words[1] if len(words) > 1 else "?"


def gzip_bits(packed: int, unpacked: int) -> bytes:
    """The ``GZIPBITS`` attribute: first, last and stop bit of the deflate data, and the size of the unpacked body."""
    return struct.pack(">QQQQ", _HEADER_BITS, _HEADER_BITS, max(0, packed - 8) * 8, unpacked)


def unpacked_size(bits: bytes | None) -> int:
    """What ``GZIPBITS`` says of the unpacked body, -1 if nothing."""
    if bits is None or len(bits) != 32:
        return -1
    size = int.from_bytes(bits[24:], "big")
    return size if size else -1


class Meter:
    """Counts of one compressor or decompressor, and its ``Gzip`` record."""

    __slots__ = ("ident", "packs", "total_in", "total_out")

    def __init__(self, ident: str, packs: bool) -> None:
        self.ident = ident
        self.packs = packs
        self.total_in = 0
        self.total_out = 0

    def record(self) -> str:
        """Text of the record: who, octets in, octets out, first, last and stop bit."""
        stop = max(0, (self.total_out if self.packs else self.total_in) - 8) * 8
        return f"{self.ident} {self.total_in} {self.total_out} {_HEADER_BITS} {_HEADER_BITS} {stop}"


def new_packer() -> zlib._Compress:
    """A gzip compressor as the parameters want it."""
    return zlib.compressobj(params.gzip_level, zlib.DEFLATED, GZIP_WBITS, params.gzip_memlevel)


class _GzipProcessor(FetchProcessor):
    """What the three have in common."""

    __slots__ = ("_ended", "_meter")
    ident = ""
    packs = False

    def __init__(self) -> None:
        super().__init__()
        self._meter = Meter(self.ident, self.packs)
        self._ended = False

    def close(self) -> None:
        self.context.log.put(GZIP, self._meter.record())

    def _fail(self, text: str) -> Exception:
        return self.context.error(text)

    def _set_bits(self) -> None:
        meter = self._meter
        if self.packs:
            self.context.attrs["GZIPBITS"] = gzip_bits(meter.total_out, meter.total_in)
        else:
            self.context.attrs["GZIPBITS"] = gzip_bits(meter.total_in, meter.total_out)


def _is_gzip(context: FetchContext) -> bool:
    return (context.response.joined("content-encoding") or "").strip().lower() == "gzip"


class Gunzip(_GzipProcessor):
    """Unpacks a gzipped body before it is stored."""

    name = "gunzip"
    ident = "U F -"
    __slots__ = ("_engine",)

    def open(self) -> bool:
        context = self.context
        if context.response.status == 206 or not _is_gzip(context):
            return False
        context.stats.n_gunzip += 1
        context.flags = context.flags & ~ObjectFlag.GZIPED | ObjectFlag.CHGCE
        context.response.unset("content-encoding")
        context.response.unset("content-length")
        weaken_etag(context.response)
        self._engine = zlib.decompressobj(GZIP_WBITS)
        return True

    def read(self, limit: int) -> bytes:
        engine = self._engine
        meter = self._meter
        limit = max(limit, 1)
        while True:
            data = engine.unconsumed_tail
            if not data and not self._ended:
                data = self.source.read(params.gzip_buffer)
                if data:
                    meter.total_in += len(data)
                else:
                    self._ended = True
            if self._ended and not data:
                if not engine.eof:
                    raise self._fail("Gunzip error at the very end")
                self._set_bits()
                return b""
            if engine.eof:
                raise self._fail("Junk after gzip data")
            try:
                out = engine.decompress(data, limit)
            except zlib.error as exc:
                self.context.log.put(GZIP, f"Gunzip error: {zlib_code(exc)} ({zlib_message(exc)})")
                raise self._fail(f"Invalid Gzip data: {zlib_message(exc)}") from None
            if engine.unused_data:
                raise self._fail("Junk after gzip data")
            if out:
                meter.total_out += len(out)
                return out


class TestGunzip(_GzipProcessor):
    """Lets a gzipped body through unchanged, but makes sure that it can be unpacked."""

    __test__ = False  # for pytest: this is no test class
    name = "testgunzip"
    ident = "u F -"
    __slots__ = ("_engine",)

    def open(self) -> bool:
        context = self.context
        if context.response.status == 206 or not _is_gzip(context):
            return False
        context.stats.n_test_gunzip += 1
        context.flags |= ObjectFlag.GZIPED
        vary_on_encoding(context.response)
        self._engine = zlib.decompressobj(GZIP_WBITS)
        return True

    def read(self, limit: int) -> bytes:
        engine = self._engine
        meter = self._meter
        data = self.source.read(limit)
        if not data:
            if not engine.eof:
                raise self._fail("tGunzip failed")
            self._set_bits()
            return data
        if engine.eof:
            raise self._fail("Junk after gzip data")
        meter.total_in += len(data)
        rest = data
        try:
            while rest and not engine.eof:  # at its end the tail holds what is not ours
                meter.total_out += len(engine.decompress(rest, params.gzip_buffer))
                rest = engine.unconsumed_tail
        except zlib.error as exc:
            self.context.log.put(GZIP, f"Gunzip error: {zlib_code(exc)} ({zlib_message(exc)})")
            raise self._fail(f"Invalid Gzip data: {zlib_message(exc)}") from None
        if engine.unused_data:
            raise self._fail("Junk after gzip data")
        return data


class Gzip(_GzipProcessor):
    """Packs a plain body before it is stored."""

    name = "gzip"
    ident = "G F -"
    packs = True
    __slots__ = ("_engine",)

    def open(self) -> bool:
        context = self.context
        if context.response.status == 206 or context.response.has("content-encoding"):
            return False
        context.stats.n_gzip += 1
        context.flags |= ObjectFlag.GZIPED | ObjectFlag.CHGCE
        context.response.unset("content-length")
        weaken_etag(context.response)
        context.response.set("Content-Encoding", "gzip")
        vary_on_encoding(context.response)
        self._engine = new_packer()
        return True

    def read(self, limit: int) -> bytes:
        meter = self._meter
        while not self._ended:
            data = self.source.read(params.gzip_buffer)
            if data:
                meter.total_in += len(data)
                out = self._engine.compress(data)
            else:
                self._ended = True
                out = self._engine.flush(zlib.Z_FINISH)
            if out:
                meter.total_out += len(out)
                return out
        self._set_bits()
        return b""
