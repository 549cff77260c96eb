"""Fetch processors for codings beside gzip: ``br``, ``unbr`` and ``testbr``, ``zstd``, ``unzstd`` and ``testzstd``.

They are to ``br`` and ``zstd`` what ``gzip``, ``gunzip`` and ``testgunzip`` are to gzip. An object in such a coding is
a variant of its own (``Vary: Accept-Encoding``): it is never unpacked for a client.
"""

from __future__ import annotations

from varnishpy.params import params
from varnishpy.request.codecs import PACKERS, UNPACKERS, CodecError, Packer, Unpacker
from varnishpy.request.conditional import vary_on_encoding, weaken_etag
from varnishpy.request.vfp import FetchContext, FetchProcessor
from varnishpy.storage.object import ObjectFlag


def _is_coded(context: FetchContext, coding: str) -> bool:
    return (context.response.joined("content-encoding") or "").strip().lower() == coding


class Pack(FetchProcessor):
    """Packs a plain body before it is stored."""

    __slots__ = ("_ended", "_engine")
    coding = ""

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def open(self) -> bool:
        response = self.context.response
        if response.status == 206 or response.has("content-encoding"):
            return False
        self.context.stats.n_pack += 1
        self.context.flags |= ObjectFlag.CHGCE
        response.unset("content-length")
        weaken_etag(response)
        response.set("Content-Encoding", self.coding)
        vary_on_encoding(response)
        self._engine: Packer = PACKERS[self.coding]()
        return True

    def read(self, limit: int) -> bytes:
        while not self._ended:
            data = self.source.read(params.gzip_buffer)
            if data:
                out = self._engine.feed(data)
            else:
                self._ended = True
                out = self._engine.end()
            if out:
                return out
        return b""


class _Reading(FetchProcessor):
    """What the two that unpack have in common."""

    __slots__ = ("_engine",)
    coding = ""

    def _start(self) -> bool:
        response = self.context.response
        if response.status == 206 or not _is_coded(self.context, self.coding):
            return False
        self.context.stats.n_unpack += 1
        self._engine: Unpacker = UNPACKERS[self.coding]()
        return True

    def _drain(self, limit: int) -> bytes:
        try:
            out = self._engine.drain(limit)
        except CodecError as error:
            raise self.context.error(f"Invalid {self.coding} data: {error}") from None
        if self._engine.junk():
            raise self.context.error(f"Junk after {self.coding} data")
        return out

    def _at_end(self) -> None:
        if not self._engine.ended:
            raise self.context.error(f"{self.coding} data ends too early")


class Unpack(_Reading):
    """Unpacks a body before it is stored."""

    __slots__ = ()

    def open(self) -> bool:
        if not self._start():
            return False
        response = self.context.response
        self.context.flags |= ObjectFlag.CHGCE
        response.unset("content-encoding")
        response.unset("content-length")
        weaken_etag(response)
        return True

    def read(self, limit: int) -> bytes:
        limit = max(limit, 1)
        while True:
            out = self._drain(limit)
            if out:
                return out
            data = self.source.read(params.gzip_buffer)
            if not data:
                self._at_end()
                return b""
            self._engine.feed(data)


class TestUnpack(_Reading):
    """Lets a packed body through unchanged, but makes sure that it can be unpacked."""

    __slots__ = ()
    __test__ = False  # for pytest: this is no test class

    def open(self) -> bool:
        if not self._start():
            return False
        vary_on_encoding(self.context.response)
        return True

    def read(self, limit: int) -> bytes:
        data = self.source.read(limit)
        if not data:
            self._at_end()
            return b""
        self._engine.feed(data)
        while self._drain(params.gzip_buffer):
            pass
        return data


class PackBr(Pack):
    """``br``."""

    __slots__ = ()
    name = "br"
    coding = "br"


class UnpackBr(Unpack):
    """``unbr``."""

    __slots__ = ()
    name = "unbr"
    coding = "br"


class TestUnpackBr(TestUnpack):
    """``testbr``."""

    __slots__ = ()
    name = "testbr"
    coding = "br"


class PackZstd(Pack):
    """``zstd``."""

    __slots__ = ()
    name = "zstd"
    coding = "zstd"


class UnpackZstd(Unpack):
    """``unzstd``."""

    __slots__ = ()
    name = "unzstd"
    coding = "zstd"


class TestUnpackZstd(TestUnpack):
    """``testzstd``."""

    __slots__ = ()
    name = "testzstd"
    coding = "zstd"
