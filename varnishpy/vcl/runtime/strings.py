"""Strings and numbers: how values become text, comparisons, patterns, and the arithmetic that may fail."""

from __future__ import annotations

import base64
import math

from varnishpy.backends.director import Director
from varnishpy.base.ipaddr import packed
from varnishpy.base.regex import Regex, RegexMatchError
from varnishpy.http.dates import format_date
from varnishpy.vcl.context import Ctx, VclFailure
from varnishpy.vcl.specs import ProbeSpec
from varnishpy.vcl.values import SockAddr

_INT_LIMIT = 999_999_999_999_999  # RFC 8941 section 3.3.1
_REAL_LIMIT = 999_999_999_999.999
_UPPER = {number: number - 32 for number in range(ord("a"), ord("z") + 1)}
_LOWER = {number: number + 32 for number in range(ord("A"), ord("Z") + 1)}


def int_string(value: int) -> str:
    if not -_INT_LIMIT <= value <= _INT_LIMIT:
        raise VclFailure(f"INT overflow converting to string (0x{value & 0xFFFFFFFFFFFFFFFF:x})")
    return str(value)


def real_string(value: float) -> str:
    if not -_REAL_LIMIT <= value <= _REAL_LIMIT:
        raise VclFailure(f"REAL overflow converting to string ({value:e})")
    return f"{value:.3f}"


def time_string(value: float) -> str:
    try:
        return format_date(value)
    except (ValueError, OverflowError, OSError):
        raise VclFailure("Unformattable VCL_TIME") from None


def same_ip(one: SockAddr | None, other: SockAddr | None) -> bool:
    """``==`` of two addresses: their ports do not count."""
    if one is None or other is None:
        raise VclFailure("VRT_ipcmp: Illegal IP")
    return one.ip == other.ip or packed(one.ip) == packed(other.ip)


def ip_string(value: SockAddr | None) -> str:
    if value is None:
        raise VclFailure("VRT_IP_string: Illegal IP")
    return value.ip


def blob_string(value: bytes | None) -> str | None:
    """A blob as VCL writes it: base64 between colons."""
    return None if value is None else f":{base64.b64encode(value).decode('ascii')}:"


def name_of(value: Director | ProbeSpec | None) -> str | None:
    """The name of a backend, director or probe."""
    return None if value is None else value.vcl_name


def or_null(value: str | None) -> str:
    """``synthetic()`` shows what is missing."""
    return "(null)" if value is None else value


def upper(ctx: Ctx, value: str | None) -> str | None:
    """ASCII letters only: other octets have no case on the wire."""
    return None if value is None else ctx.account(value.upper() if value.isascii() else value.translate(_UPPER))


def lower(ctx: Ctx, value: str | None) -> str | None:
    return None if value is None else ctx.account(value.lower() if value.isascii() else value.translate(_LOWER))


def compare(left: str | None, operator: str, right: str | None) -> bool:
    """Compare where either may be null: that is unequal to everything and greater than everything."""
    order = 1 if left is None or right is None else (left > right) - (left < right)
    return {
        "==": order == 0,
        "!=": order != 0,
        "<": order < 0,
        ">": order > 0,
        "<=": order <= 0,
        ">=": order >= 0,
    }[operator]


def search(pattern: Regex | None, subject: str) -> bool:
    if pattern is None:
        raise VclFailure("Regexp matching failed: no pattern")
    return bool(pattern.search(subject))


def regsub(ctx: Ctx, subject: str, pattern: Regex, replacement: str, every: bool) -> str:
    try:
        result = pattern.sub(subject, replacement, every)
    except RegexMatchError as error:
        raise VclFailure(f"regsub: Regexp matching failed: {error}") from None
    if result is None:
        return subject
    if ctx.ws is not None and not ctx.ws.account(len(result) + 1):
        raise VclFailure("regsub: Out of workspace")
    return result


def int_div(left: int, right: int) -> int:
    """Division that rounds towards zero."""
    if right == 0:
        raise VclFailure("Division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def int_mod(left: int, right: int) -> int:
    return left - right * int_div(left, right)


def real_div(left: float, right: float) -> float:
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return left / right
