"""VMOD digest: hashes, authentication codes and base64, with the functions of libvmod-digest.

Strings end at their first NUL, and null is an empty string. Hashes that neither Python nor its OpenSSL has fail the
VCL.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from varnishpy.log.tag_numbers import VCL_ERROR
from varnishpy.vmods.api import STRING, Ctx, VclFailure

_STANDARD: Final = b"+/"
_URL: Final = b"-_"


def _octets(text: STRING) -> bytes:
    return (text or "").partition("\0")[0].encode("latin-1")


def _hmac(ctx: Ctx, key: STRING, text: STRING, algorithm: str) -> STRING:
    if key is None:
        return None
    return ctx.account("0x" + hmac.new(_octets(key), _octets(text), algorithm).hexdigest())


def hmac_sha256(ctx: Ctx, key: STRING, msg: STRING, /) -> STRING:
    """HMAC-SHA256, in hexadecimal digits after ``0x``; null of a null key."""
    return _hmac(ctx, key, msg, "sha256")


def hmac_sha1(ctx: Ctx, key: STRING, msg: STRING, /) -> STRING:
    """HMAC-SHA1, in hexadecimal digits after ``0x``; null of a null key."""
    return _hmac(ctx, key, msg, "sha1")


def hmac_md5(ctx: Ctx, key: STRING, msg: STRING, /) -> STRING:
    """HMAC-MD5, in hexadecimal digits after ``0x``; null of a null key."""
    return _hmac(ctx, key, msg, "md5")


# -- base64 ------------------------------------------------------------------------------------------------------------


def _of_hex(text: STRING) -> bytes:
    """Octets of hexadecimal digits: without ``0x`` before and an odd digit behind; what is no digit counts as 0."""
    digits = (text or "").partition("\0")[0]
    if digits[:2] in ("0x", "0X"):
        digits = digits[2:]
    digits = "".join(char if char in "0123456789abcdefABCDEF" else "0" for char in digits)
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def _encoded(ctx: Ctx, data: bytes, url: bool = False, padded: bool = True) -> STRING:
    text = (urlsafe_b64encode if url else b64encode)(data).decode("ascii")
    return ctx.account(text if padded else text.rstrip("="))


def _decoded(ctx: Ctx, text: STRING, alphabet: bytes) -> STRING:
    octets = _octets(text)
    if set(octets) - _PLAIN - set(alphabet) - {ord("=")}:
        ctx.log(VCL_ERROR, "digest: Base64 input contains invalid characters")
        return ""
    body = octets.partition(b"=")[0]
    if len(body) % 4 == 1:
        body += b"A"  # what is left of six bits makes an octet in the C module
    data = urlsafe_b64decode(body.replace(b"+", b"-").replace(b"/", b"_") + b"=" * (-len(body) % 4))
    return ctx.account(data.partition(b"\0")[0].decode("latin-1"))


_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def base64(ctx: Ctx, s: STRING, /) -> STRING:
    """A string in base64 (RFC 4648 section 4)."""
    return _encoded(ctx, _octets(s))


def base64_hex(ctx: Ctx, s: STRING, /) -> STRING:
    """The octets that hexadecimal digits stand for, in base64."""
    return _encoded(ctx, _of_hex(s))


def base64_decode(ctx: Ctx, s: STRING, /) -> STRING:
    """What base64 stands for; padding may be missing. Empty, and a VCL_Error in the log, if it is none."""
    return _decoded(ctx, s, _STANDARD)


def base64url(ctx: Ctx, s: STRING, /) -> STRING:
    """A string in base64url (RFC 4648 section 5), padded."""
    return _encoded(ctx, _octets(s), url=True)


def base64url_hex(ctx: Ctx, s: STRING, /) -> STRING:
    """The octets that hexadecimal digits stand for, in base64url, padded."""
    return _encoded(ctx, _of_hex(s), url=True)


def base64url_decode(ctx: Ctx, s: STRING, /) -> STRING:
    """As `base64_decode`, for base64url."""
    return _decoded(ctx, s, _URL)


def base64url_nopad(ctx: Ctx, s: STRING, /) -> STRING:
    """A string in base64url without padding."""
    return _encoded(ctx, _octets(s), url=True, padded=False)


def base64url_nopad_hex(ctx: Ctx, s: STRING, /) -> STRING:
    """The octets that hexadecimal digits stand for, in base64url without padding."""
    return _encoded(ctx, _of_hex(s), url=True, padded=False)


def base64url_nopad_decode(ctx: Ctx, s: STRING, /) -> STRING:
    """As `base64_decode`, for base64url."""
    return _decoded(ctx, s, _URL)


# -- hashes ------------------------------------------------------------------------------------------------------------


def _hash(ctx: Ctx, text: STRING, algorithm: str) -> STRING:
    try:
        # not for security: a policy that forbids old algorithms for that shall not break a cache key
        return ctx.account(hashlib.new(algorithm, _octets(text), usedforsecurity=False).hexdigest())
    except ValueError:
        raise VclFailure(
            f"digest.hash_{algorithm}(): neither Python nor its OpenSSL has the algorithm {algorithm}; "
            "sha1, sha224, sha256, sha384, sha512, md5, crc32, crc32b and adler32 are always there"
        ) from None


def hash_sha1(ctx: Ctx, s: STRING, /) -> STRING:
    """SHA-1, in hexadecimal digits."""
    return _hash(ctx, s, "sha1")


def hash_sha224(ctx: Ctx, s: STRING, /) -> STRING:
    """SHA-224, in hexadecimal digits."""
    return _hash(ctx, s, "sha224")


def hash_sha256(ctx: Ctx, s: STRING, /) -> STRING:
    """SHA-256, in hexadecimal digits."""
    return _hash(ctx, s, "sha256")


def hash_sha384(ctx: Ctx, s: STRING, /) -> STRING:
    """SHA-384, in hexadecimal digits."""
    return _hash(ctx, s, "sha384")


def hash_sha512(ctx: Ctx, s: STRING, /) -> STRING:
    """SHA-512, in hexadecimal digits."""
    return _hash(ctx, s, "sha512")


def hash_md5(ctx: Ctx, s: STRING, /) -> STRING:
    """MD5, in hexadecimal digits."""
    return _hash(ctx, s, "md5")


def hash_ripemd160(ctx: Ctx, s: STRING, /) -> STRING:
    """RIPEMD-160, in hexadecimal digits; fails the VCL where OpenSSL lacks it."""
    return _hash(ctx, s, "ripemd160")


def _crc32_of_bzip2(data: bytes) -> int:
    """CRC-32 with the polynomial 04C11DB7, the highest bit first."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = (crc << 8) & 0xFFFFFFFF ^ _CRC_TABLE[crc >> 24 ^ octet]
    return crc ^ 0xFFFFFFFF


def _crc_row(octet: int) -> int:
    crc = octet << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


_CRC_TABLE: Final = tuple(_crc_row(octet) for octet in range(256))


def hash_crc32(ctx: Ctx, s: STRING, /) -> STRING:
    """The CRC-32 of bzip2, its lowest octet first, in hexadecimal digits."""
    return ctx.account(_crc32_of_bzip2(_octets(s)).to_bytes(4, "little").hex())


def hash_crc32b(ctx: Ctx, s: STRING, /) -> STRING:
    """The CRC-32 of zip, its lowest octet first, in hexadecimal digits."""
    return ctx.account(zlib.crc32(_octets(s)).to_bytes(4, "little").hex())


def hash_adler32(ctx: Ctx, s: STRING, /) -> STRING:
    """Adler-32, its lowest octet first, in hexadecimal digits."""
    return ctx.account(zlib.adler32(_octets(s)).to_bytes(4, "little").hex())


def _missing(algorithm: str) -> Callable[[Ctx, STRING], STRING]:
    def function(ctx: Ctx, s: STRING, /) -> STRING:
        return _hash(ctx, s, algorithm)

    function.__name__ = function.__qualname__ = f"hash_{algorithm}"
    function.__doc__ = f"{algorithm}: fails the VCL, as neither Python nor a usual OpenSSL has it."
    return function


hash_gost = _missing("gost")
hash_md2 = _missing("md2")
hash_md4 = _missing("md4")
hash_haval128 = _missing("haval128")
hash_haval160 = _missing("haval160")
hash_haval192 = _missing("haval192")
hash_haval224 = _missing("haval224")
hash_haval256 = _missing("haval256")
hash_ripemd128 = _missing("ripemd128")
hash_ripemd256 = _missing("ripemd256")
hash_ripemd320 = _missing("ripemd320")
hash_snefru128 = _missing("snefru128")
hash_snefru256 = _missing("snefru256")
hash_tiger = _missing("tiger")
hash_tiger128 = _missing("tiger128")
hash_tiger160 = _missing("tiger160")
hash_whirlpool = _missing("whirlpool")


def version(ctx: Ctx) -> STRING:
    """Which implementation this is."""
    return "varnishpy digest 1.0"
