"""VMOD blob: binary data, its encodings and decodings (vmod_blob(3))."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Literal

from varnishpy.vmods.api import BLOB, BOOL, BYTES, INT, STRANDS, STRING, Ctx, VclFailure

Encoding = Literal["IDENTITY", "BASE64", "BASE64URL", "BASE64URLNOPAD", "BASE64CF", "HEX", "URL"]
Case = Literal["LOWER", "UPPER", "DEFAULT"]

# the two characters above 61, and padding
_ALPHABETS = {
    "BASE64": (b"+/", "="),
    "BASE64URL": (b"-_", "="),
    "BASE64URLNOPAD": (b"-_", ""),
    "BASE64CF": (b"-~", "_"),
}
_UNRESERVED = re.compile(rb"[^A-Za-z0-9._~-]")
_PERCENT = re.compile(r"%(..?)?", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]*")


class _Illegal(Exception):
    """Text that is not in the encoding."""


def _decode(encoding: str, text: str) -> bytes:
    if encoding == "IDENTITY":
        return text.encode("latin-1")
    if encoding == "HEX":
        if _HEX.fullmatch(text) is None:
            raise _Illegal
        return bytes.fromhex("0" * (len(text) % 2) + text)
    if encoding == "URL":
        return _PERCENT.sub(_percent, text).encode("latin-1")
    altchars, pad = _ALPHABETS[encoding]
    body = text.rstrip(pad) if pad else text
    padding = len(text) - len(body)
    if len(body) % 4 == 1 or padding > 2 or (padding and len(text) % 4) or (pad and len(text) % 4):
        raise _Illegal
    try:
        return b64decode(body + "=" * (-len(body) % 4), altchars=altchars, validate=True)
    except (binascii.Error, ValueError):
        raise _Illegal from None


def _percent(found: re.Match[str]) -> str:
    digits = found.group(1) or ""
    if len(digits) != 2 or _HEX.fullmatch(digits) is None:
        raise _Illegal
    return chr(int(digits, 16))


def _encode(encoding: str, case: str, data: bytes) -> str:
    if case != "DEFAULT" and encoding not in ("HEX", "URL"):
        raise VclFailure(f"vmod blob error: case {case} is illegal with encoding {encoding}")
    if encoding == "IDENTITY":
        return data.decode("latin-1")
    if encoding == "HEX":
        return data.hex().upper() if case == "UPPER" else data.hex()
    if encoding == "URL":
        form = b"%%%02X" if case == "UPPER" else b"%%%02x"
        return _UNRESERVED.sub(lambda found: form % found.group()[0], data).decode("latin-1")
    altchars, pad = _ALPHABETS[encoding]
    return b64encode(data, altchars).decode("ascii").replace("=", pad)


def _cut(text: str, length: int) -> str:
    return text[:length] if length > 0 else text


def decode(ctx: Ctx, decoding: Encoding = "IDENTITY", length: INT = 0, encoded: STRANDS = "") -> BLOB:
    """The octets that text in an encoding stands for; *length*: only so many characters of it.

    Text that is not in the encoding fails the VCL.
    """
    try:
        return _decode(decoding, _cut(encoded, length))
    except _Illegal:
        raise VclFailure(f'vmod blob error: cannot decode, illegal encoding beginning with "{encoded}"') from None


def encode(ctx: Ctx, encoding: Encoding = "IDENTITY", case: Case = "DEFAULT", blob: BLOB = None) -> STRING:
    """Octets in an encoding. A *case* for an encoding that knows none fails the VCL."""
    return None if blob is None else _charged(ctx, _encode(encoding, case, blob))


def _charged(ctx: Ctx, text: str) -> str:
    """Charge what was encoded to the workspace."""
    if ctx.ws is not None and not ctx.ws.account(len(text) + 1):
        raise VclFailure("vmod blob error: cannot encode, out of space")
    return text


def transcode(
    ctx: Ctx,
    decoding: Encoding = "IDENTITY",
    encoding: Encoding = "IDENTITY",
    case: Case = "DEFAULT",
    length: INT = 0,
    encoded: STRANDS = "",
) -> STRING:
    """From one encoding into another; fails as `decode` and `encode` do."""
    data = decode(ctx, decoding, length, encoded)
    return ctx.account(_encode(encoding, case, data or b""))


def same(ctx: Ctx, b1: BLOB, b2: BLOB, /) -> BOOL:
    """The same object; empty ones are all the same."""
    return b1 is b2 or (not b1 and not b2)


def equal(ctx: Ctx, b1: BLOB, b2: BLOB, /) -> BOOL:
    """Have they the same content?"""
    return (b1 or b"") == (b2 or b"")


def length(ctx: Ctx, blob: BLOB, /) -> INT:
    """How many octets."""
    return len(blob or b"")


def sub(ctx: Ctx, blob: BLOB, /, length: BYTES, offset: BYTES = 0) -> BLOB:
    """A part. One that is not within fails the VCL."""
    if not blob:
        raise VclFailure("vmod blob error: blob is empty in blob.sub()")
    if length < 0 or offset < 0:
        raise VclFailure("vmod blob error: size or offset negative in blob.sub()")
    if length + offset > len(blob):
        raise VclFailure(
            f"vmod blob error: size {length} from offset {offset} requires more bytes than "
            f"blob length {len(blob)} in blob.sub()"
        )
    return blob[offset : offset + length]


class blob:
    """A blob made once, when the VCL is loaded."""

    def __init__(self, ctx: Ctx, vcl_name: str, decoding: Encoding = "IDENTITY", encoded: STRANDS = "") -> None:
        self._encoded: dict[tuple[str, str], str] = {}
        try:
            self._data = _decode(decoding, encoded)
        except _Illegal:
            raise VclFailure(
                f'vmod blob error: cannot create blob {vcl_name}, illegal encoding beginning with "{encoded}"'
            ) from None

    def get(self, ctx: Ctx) -> BLOB:
        return self._data

    def encode(self, ctx: Ctx, encoding: Encoding = "IDENTITY", case: Case = "DEFAULT") -> STRING:
        known = self._encoded.get((encoding, case))
        if known is None:
            known = self._encoded[(encoding, case)] = _encode(encoding, case, self._data)
        return known
