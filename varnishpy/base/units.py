"""Numbers with units, as parameters, VCL and the command line write them.

Durations: ``ms s m h d w y``. Sizes: ``b k m g t p`` (powers of 1024, an extra ``b`` allowed, any case) and ``%`` where
a size is relative to something. The texts of the errors are those an operator knows from varnishd.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[ \t]*(-?)([0-9]*)(?:(\.)([0-9]*))?[ \t]*")
_MAX_DIGITS = 15  # RFC 8941 section 3.3.1: an integer has at most 15 digits
_MAX_DECIMAL = 999_999_999_999.999  # RFC 8941 section 3.3.2

DURATION_UNITS: dict[str, float] = {
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
    "y": 365 * 86400.0,
}
SIZE_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


class UnitError(ValueError):
    """The text is no number, or its unit is unknown."""


def _number(text: str, strict: bool) -> tuple[float, str]:
    """A leading decimal number (RFC 8941 sections 3.3.1 and 3.3.2) and what follows it."""
    match = _NUMBER.match(text)
    assert match is not None  # every part of the pattern is optional
    sign, whole, dot, fraction = match.groups()
    if len(whole) > _MAX_DIGITS:
        raise UnitError("Too many digits")
    if not whole and (strict or not fraction):
        raise UnitError("Invalid number")
    if dot and strict and (not fraction or len(fraction) > 3):
        raise UnitError("Invalid number" if not fraction else "Too many digits")
    value = float(f"{whole or '0'}.{(fraction or '0')[:3]}")
    return (-value if sign else value), text[match.end() :]


def parse_decimal(text: str) -> float:
    """A plain number. :raises UnitError:"""
    value, rest = _number(text, False)
    if rest:
        raise UnitError("Invalid number")
    if abs(value) > _MAX_DECIMAL:
        raise UnitError("Too many digits")
    return value


def parse_duration(text: str, need_unit: bool = False) -> float:
    """Seconds from ``5s``, ``1.5m``, ``100ms``; without a unit the number is seconds unless one is needed.

    :raises UnitError:
    """
    value, rest = _number(text, False)
    if abs(value) > _MAX_DECIMAL:
        raise UnitError("Too many digits")
    unit = rest.strip(" \t")
    if not unit and not need_unit:
        return value
    scale = DURATION_UNITS.get(unit)
    if scale is None:
        raise UnitError("Invalid duration unit")
    return value * scale


def parse_bytes(text: str, relative_to: int = 0) -> int:
    """Octets from ``64k``, ``1.5m``, ``10b`` or a bare number; ``%`` is allowed where ``relative_to`` is given.

    :raises UnitError:
    """
    if not text:
        raise UnitError("Invalid number")
    value, rest = _number(text, True)
    if value < 0:
        raise UnitError("Invalid number")
    unit = rest.strip(" \t").lower()
    if unit == "%" and relative_to:
        return int(value * relative_to * 0.01)
    if len(unit) == 2 and unit[1] == "b":
        unit = unit[0]
    if unit in ("", "b") and not value.is_integer():
        raise UnitError("Fractional BYTES not allowed")
    scale = SIZE_UNITS.get(unit or "b")
    if scale is None:
        raise UnitError("Unknown BYTES unit of measurement ([KMGTP][B])")
    return int(value * scale)


def format_bytes(n: int) -> str:
    """``16k``, ``0.25G``, ``255b``: the largest unit that shows the value exactly, or to two decimals of it."""
    if n == 0 or n & 0xFF:
        return f"{n}b"
    for unit in "kMGTPEZY":
        if n & 0x300:
            return f"{n / 1024:.2f}{unit}"
        n >>= 10
        if n & 0xFF:
            return f"{n}{unit}"
    return "(bogus number)"


def format_duration(seconds: float) -> str:
    """``5.000``, or ``never`` for an infinite timeout."""
    if seconds == float("inf"):
        return "never"
    return f"{seconds:.3f}"
