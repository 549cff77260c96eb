"""Packing and unpacking in codings beside gzip: ``br`` (RFC 7932) and ``zstd`` (RFC 8878), by optional packages.

A packer is fed and gives what it has; an unpacker is fed and then drained, piece by piece, so that a small input that
means a large output (a bomb) never lies in memory as a whole.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, Protocol

from varnishpy.params import params


class CodecError(ValueError):
    """The octets are no such coding; the text is the package's."""


class Packer(Protocol):
    """Makes a body smaller."""

    def feed(self, data: bytes, /) -> bytes:
        """What is ready after these octets, maybe nothing."""

    def end(self) -> bytes:
        """The rest."""


class Unpacker(Protocol):
    """Makes a body what it was. Fed again only once `drain` has given nothing."""

    ended: bool

    def feed(self, data: bytes, /) -> None:
        """Take octets in."""

    def drain(self, limit: int, /) -> bytes:
        """About ``limit`` octets of the result, nothing if more is needed. :raises CodecError:"""

    def junk(self) -> bool:
        """Has anything come behind the end?"""


class _BrotliPacker:
    def __init__(self) -> None:
        self._engine = importlib.import_module("brotli").Compressor(quality=params.br_level)

    def feed(self, data: bytes) -> bytes:
        return bytes(self._engine.process(data))

    def end(self) -> bytes:
        return bytes(self._engine.finish())


class _BrotliUnpacker:
    def __init__(self) -> None:
        module = importlib.import_module("brotli")
        self._error: type[Exception] = module.error
        self._engine = module.Decompressor()
        self._fed = b""
        self._junk = False
        self.ended = False

    def feed(self, data: bytes) -> None:
        if self.ended:
            self._junk = True
        else:
            self._fed = data

    def drain(self, limit: int) -> bytes:
        if self.ended:
            return b""
        engine = self._engine
        fed, self._fed = self._fed, b""
        try:
            while True:
                out = bytes(engine.process(fed, output_buffer_limit=limit))
                if out or engine.is_finished() or engine.can_accept_more_data():
                    break
                fed = b""
        except self._error as error:
            raise CodecError(str(error)) from None
        self.ended = bool(engine.is_finished())
        return out

    def junk(self) -> bool:
        return self._junk


class _ZstdPacker:
    def __init__(self) -> None:
        self._engine = importlib.import_module("zstandard").ZstdCompressor(level=params.zstd_level).compressobj()

    def feed(self, data: bytes) -> bytes:
        return bytes(self._engine.compress(data))

    def end(self) -> bytes:
        return bytes(self._engine.flush())


_ZSTD_FEED: Final = 256  # octets at a time: what they can mean at the most is some megabytes
_ZSTD_WINDOW: Final = 8 << 20  # RFC 9659 section 3: no client need take more


class _ZstdUnpacker:
    def __init__(self) -> None:
        module = importlib.import_module("zstandard")
        self._error: type[Exception] = module.ZstdError
        self._engine = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._fed = memoryview(b"")
        self._made = memoryview(b"")
        self._junk = False
        self.ended = False

    def feed(self, data: bytes) -> None:
        if self.ended:
            self._junk = True
        else:
            self._fed = memoryview(data)

    def drain(self, limit: int) -> bytes:
        try:
            while not self._made and self._fed and not self._engine.eof:
                piece, self._fed = self._fed[:_ZSTD_FEED], self._fed[_ZSTD_FEED:]
                self._made = memoryview(self._engine.decompress(bytes(piece)))
        except self._error as error:
            raise CodecError(str(error)) from None
        out, self._made = bytes(self._made[:limit]), self._made[limit:]
        if self._engine.eof and not self._made:
            self.ended = True
            self._junk = self._junk or bool(self._fed) or bool(self._engine.unused_data)
        return out

    def junk(self) -> bool:
        return self._junk


PACKERS: Final[dict[str, Callable[[], Packer]]] = {"br": _BrotliPacker, "zstd": _ZstdPacker}
UNPACKERS: Final[dict[str, Callable[[], Unpacker]]] = {"br": _BrotliUnpacker, "zstd": _ZstdUnpacker}
