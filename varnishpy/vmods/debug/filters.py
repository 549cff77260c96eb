"""Filters: rot13 both ways, slow ones, and some that check what passes through them."""

from __future__ import annotations

import hashlib
import time
import zlib
from typing import Final, Literal, NamedTuple

from varnishpy.base.panic import panic
from varnishpy.log.tag_numbers import DEBUG
from varnishpy.storage.source import Piece
from varnishpy.vcl import runtime
from varnishpy.vcl.loader import Maker
from varnishpy.vmods._filters import DeliveryFilter, FetchFilter, Pieces
from varnishpy.vmods.api import BLOB, BYTES, HTTP, INT, Ctx, VclFailure

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TURNED: Final = _ALPHABET[13:] + _ALPHABET[:13]
_ROT13: Final = bytes.maketrans(_ALPHABET + _ALPHABET.lower(), _TURNED + _TURNED.lower())
_FRAGMENT: Final = 8  # octets; on purpose, so that what follows sees many small pieces
_STATE_ROOM: Final = 8  # octets of workspace_client, for those who count them
_PRIVATE: Final = "debug.checks"

Mode = Literal["log", "panic", "panic_unless_error"]


class Wanted(NamedTuple):
    """What VCL expects of a body, and what is done about another one."""

    value: int | bytes
    mode: Mode


class Rot13Fetch(FetchFilter):
    name = "rot13"

    def read(self, limit: int) -> bytes:
        return super().read(limit).translate(_ROT13)


class SlowFetch(FetchFilter):
    name = "debug.slow"

    def read(self, limit: int) -> bytes:
        time.sleep(1.0)
        return super().read(limit)


class Rot13Delivery(DeliveryFilter):
    name = "rot13"

    def run(self, pieces: Pieces) -> Pieces:
        for piece in pieces:
            turned = bytes(piece).translate(_ROT13)
            if not turned:
                yield turned
            for start in range(0, len(turned), _FRAGMENT):
                yield turned[start : start + _FRAGMENT]


class SlowDelivery(DeliveryFilter):
    name = "debug.slow"

    def run(self, pieces: Pieces) -> Pieces:
        for piece in pieces:
            with self.context.wrk.blocking():
                time.sleep(1.0)
            yield piece


class Chunked(DeliveryFilter):
    """Has the body sent in chunks: takes its length away."""

    name = "debug.chunked"

    def open(self) -> bool:
        self.context.response.unset("content-length")
        self.context.length = -1
        return False


class Pedantic(DeliveryFilter):
    """Sees to it that it is opened, run and closed once, in this order."""

    name = "debug.pedantic"

    def __init__(self) -> None:
        super().__init__()
        self._state = "new"

    def _to(self, state: str, *before: str) -> None:
        if self._state not in before:
            panic(f"debug.pedantic: {state} after {self._state}")
        self._state = state

    def open(self) -> bool:
        if not self.context.task.ws.account(_STATE_ROOM):
            raise VclFailure("Out of workspace for VDP_STATE_MAGIC")
        self._to("open", "new")
        return True

    def run(self, pieces: Pieces) -> Pieces:
        self._to("running", "open")
        yield from pieces
        self._to("ended", "running")

    def close(self) -> None:
        self._to("closed", "open", "running", "ended")


class _Check(DeliveryFilter):
    """Holds something about the body against what VCL expects of it."""

    what = ""

    def __init__(self) -> None:
        super().__init__()
        self._expected: int | bytes = 0
        self._mode = ""
        self._calls = 0
        self._whole = False

    def open(self) -> bool:
        privates = self.context.task.privs or {}
        for key, data in privates.items():
            wanted = data.find(self.name, Wanted)
            if isinstance(key, tuple) and key[1] == _PRIVATE and wanted is not None:
                self._expected, self._mode = wanted
                return True
        raise VclFailure(f"{self.name}: nothing to expect")

    def run(self, pieces: Pieces) -> Pieces:
        for piece in pieces:
            self._calls += 1
            self.update(piece)
            yield piece
        self._whole = True

    def update(self, piece: Piece) -> None:
        raise NotImplementedError

    def found(self) -> int | bytes:
        raise NotImplementedError

    def show(self, value: int | bytes) -> str:
        return str(value)

    def close(self) -> None:
        found = self.found()
        if found == self._expected:
            return
        if self._mode == "panic" or (self._mode == "panic_unless_error" and self._calls and self._whole):
            panic(f"Wrong turn: body {self.what}")
        log = self.context.log
        log.put(DEBUG, f"{self.what} mismatch")
        log.put(DEBUG, f"got: {self.show(found)}")
        log.put(DEBUG, f"exp: {self.show(self._expected)}")


class CheckSha256(_Check):
    name = "debug.chksha256"
    what = "sha256 checksum"

    def __init__(self) -> None:
        super().__init__()
        self._hash = hashlib.sha256()

    def update(self, piece: Piece) -> None:
        self._hash.update(piece)

    def found(self) -> bytes:
        return self._hash.digest()

    def show(self, value: int | bytes) -> str:
        return f"0x{value.hex()}" if isinstance(value, bytes) else super().show(value)


class CheckCrc32(_Check):
    name = "debug.chkcrc32"
    what = "crc32 checksum"

    def __init__(self) -> None:
        super().__init__()
        self._crc = 0

    def update(self, piece: Piece) -> None:
        self._crc = zlib.crc32(piece, self._crc)

    def found(self) -> int:
        return self._crc

    def show(self, value: int | bytes) -> str:
        return f"{value:08x}" if isinstance(value, int) else super().show(value)


class CheckLength(_Check):
    name = "debug.chklen"
    what = "length"

    def __init__(self) -> None:
        super().__init__()
        self._octets = 0

    def update(self, piece: Piece) -> None:
        self._octets += len(piece)

    def found(self) -> int:
        return self._octets


class ThreadWorkspaceHog(DeliveryFilter):
    """Leaves nothing of the worker's workspace to those that come behind."""

    name = "debug.awshog"

    def open(self) -> bool:
        aws = self.context.wrk.aws
        aws.account(aws.free)
        return False


FETCH: Final[dict[str, Maker]] = {cls.name: cls for cls in (Rot13Fetch, SlowFetch)}
DELIVERY: Final[dict[str, Maker]] = {
    cls.name: cls
    for cls in (
        Rot13Delivery,
        SlowDelivery,
        Chunked,
        Pedantic,
        CheckSha256,
        CheckCrc32,
        CheckLength,
        ThreadWorkspaceHog,
    )
}


# -- functions ---------------------------------------------------------------------------------------------------------


def rot104(ctx: Ctx) -> None:
    """Registers the filter once more: that fails."""
    ctx.vcl.host.add_filters(ctx.vcl, {Rot13Fetch.name: Rot13Fetch}, {Rot13Delivery.name: Rot13Delivery})


def rot52(ctx: Ctx, hdr: HTTP) -> None:
    """Four times rot13."""
    hdr.add("Encrypted", "ROT52")


def _expect(ctx: Ctx, name: str, expected: int | bytes, mode: Mode) -> None:
    runtime.priv_task(ctx, _PRIVATE)[name] = Wanted(expected, mode)


def chksha256(ctx: Ctx, expected: BLOB, mode: Mode) -> None:
    _expect(ctx, CheckSha256.name, (expected or b"")[:32].ljust(32, b"\0"), mode)


def chkcrc32(ctx: Ctx, expected: INT, mode: Mode) -> None:
    _expect(ctx, CheckCrc32.name, max(0, expected) & 0xFFFFFFFF, mode)


def chklen(ctx: Ctx, expected: BYTES, mode: Mode) -> None:
    _expect(ctx, CheckLength.name, int(expected), mode)
