"""VMOD blob: binary data, its encodings and decodings (vmod_blob(3))."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Literal

from varnishpy.vmods.api import BLOB, BOOL, BYTES, INT, PIECES, STRING, Ctx, VclFailure

Encoding = Literal["IDENTITY", "BASE64", "BASE64URL", "BASE64URLNOPAD", "BASE64CF", "HEX", "URL"]
Case = Literal["LOWER", "UPPER", "DEFAULT"]

# the two characters above 61, and padding
_ALPHABETS = {
    "BASE64": ("+/", "="),
    "BASE64URL": ("-_", "="),
    "BASE64URLNOPAD": ("-_", ""),
    "BASE64CF": ("-~", "_"),
}


def _base64_form(above: str, pad: str) -> re.Pattern[str]:
    """Groups of four digits. The last may have two or three, and be filled up with padding, wholly, in part or not."""
    digit = f"[A-Za-z0-9{re.escape(above)}]"
    two, three = (f"{pad}{{0,2}}", f"{pad}?") if pad else ("", "")
    return re.compile(f"(?:{digit}{{4}})*(?:{digit}{{2}}{two}|{digit}{{3}}{three})?")


def _too_short(encoding: str, text: str) -> bool:
    """One character of base64 has room for no octet: where the reference measures first, it does not look at it."""
    return encoding in _ALPHABETS and len(text) == 1


_BASE64 = {encoding: _base64_form(*alphabet) for encoding, alphabet in _ALPHABETS.items()}
_WITH_CASE = frozenset(("HEX", "URL"))  # encodings with hexadecimal digits
_UNRESERVED = re.compile(rb"[^A-Za-z0-9._~-]")
_PERCENT = re.compile(r"%(..?)?", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]*")


class _Illegal(Exception):
    """Text that is not in the encoding."""


def _begins(pieces: tuple[str | None, ...]) -> str:
    """How a message quotes a text that was put together of *pieces*."""
    return "(null)" if pieces[0] is None else pieces[0]


def _joined(pieces: tuple[str | None, ...]) -> str:
    return "".join(piece for piece in pieces if piece)


def _decode(encoding: str, text: str, length: int = 0) -> bytes:
    """The octets behind *text*, or behind its first *length* characters if that is more than 0."""
    if encoding == "HEX" and _HEX.fullmatch(text) is None:  # what lies beyond the length must be digits, too
        raise _Illegal
    if length > 0:
        text = text[:length]
    if encoding == "IDENTITY":
        return text.encode("latin-1")
    if encoding == "HEX":
        return bytes.fromhex("0" * (len(text) % 2) + text)
    if encoding == "URL":
        return _PERCENT.sub(_percent, text).encode("latin-1")
    if _BASE64[encoding].fullmatch(text) is None:
        raise _Illegal
    above, pad = _ALPHABETS[encoding]
    digits = text.rstrip(pad) if pad else text
    return b64decode(digits + "=" * (-len(digits) % 4), altchars=above.encode("ascii"))


def _percent(found: re.Match[str]) -> str:
    digits = found.group(1) or ""
    if len(digits) != 2 or _HEX.fullmatch(digits) is None:
        raise _Illegal
    return chr(int(digits, 16))


def _check_case(encoding: str, case: str) -> None:
    if case != "DEFAULT" and encoding not in _WITH_CASE:
        raise VclFailure(f"vmod blob error: case {case} is illegal with encoding {encoding}")


def _encode(encoding: str, case: str, data: bytes) -> str:
    if encoding == "IDENTITY":
        return data.partition(b"\0")[0].decode("latin-1")  # a string of VCL ends at the first NUL
    if encoding == "HEX":
        return data.hex().upper() if case == "UPPER" else data.hex()
    if encoding == "URL":
        form = b"%%%02X" if case == "UPPER" else b"%%%02x"
        return _UNRESERVED.sub(lambda found: form % found.group()[0], data).decode("latin-1")
    above, pad = _ALPHABETS[encoding]
    return b64encode(data, above.encode("ascii")).decode("ascii").replace("=", pad)


def decode(ctx: Ctx, decoding: Encoding = "IDENTITY", length: INT = 0, encoded: PIECES = ("",)) -> BLOB:
    """The octets that text in an encoding stands for; *length*: only so many characters of it.

    Text that is not in the encoding fails the VCL. What is in base64 may lack its padding, or a part of it; padding
    stands only at the end.
    """
    try:
        return _decode(decoding, _joined(encoded), length)
    except _Illegal:
        said = f'vmod blob error: cannot decode, illegal encoding beginning with "{_begins(encoded)}"'
        raise VclFailure(said) from None


def encode(ctx: Ctx, encoding: Encoding = "IDENTITY", case: Case = "DEFAULT", blob: BLOB = None) -> STRING:
    """Octets in an encoding. A *case* for an encoding that knows none fails the VCL."""
    _check_case(encoding, case)
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
    encoded: PIECES = ("",),
) -> STRING:
    """From one encoding into another; fails as `decode` and `encode` do.

    A whole text that is in the wanted encoding already stays as it is, unless its digits could change their case. A
    single character of base64 becomes nothing.
    """
    _check_case(encoding, case)
    text = _joined(encoded)
    if _too_short(decoding, text):
        return ""
    data = decode(ctx, decoding, length, encoded)
    if encoding == decoding and length <= 0 and encoding not in _WITH_CASE:
        return ctx.account(text)
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

    def __init__(self, ctx: Ctx, vcl_name: str, decoding: Encoding = "IDENTITY", encoded: PIECES = ("",)) -> None:
        self._encoded: dict[tuple[str, str], str] = {}
        try:
            text = _joined(encoded)
            self._data = b"" if _too_short(decoding, text) else _decode(decoding, text)
        except _Illegal:
            raise VclFailure(
                f'vmod blob error: cannot create blob {vcl_name}, illegal encoding beginning with "{_begins(encoded)}"'
            ) from None

    def get(self, ctx: Ctx) -> BLOB:
        return self._data

    def encode(self, ctx: Ctx, encoding: Encoding = "IDENTITY", case: Case = "DEFAULT") -> STRING:
        _check_case(encoding, case)
        known = self._encoded.get((encoding, case))
        if known is None:
            known = self._encoded[(encoding, case)] = _encode(encoding, case, self._data)
        return known
