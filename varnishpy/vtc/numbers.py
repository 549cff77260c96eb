"""Numbers as the language reads them: what C's strtoul and strtol, and Varnish's VNUM, would make of the text."""

from __future__ import annotations

import math
import re

_UNSIGNED = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(r"\s*-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_WRAP = 1 << 64
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}


def prefix_unsigned(text: str, base: int = 0) -> tuple[int, int]:
    """The number ``text`` begins with and how many characters it took; (0, 0) if it begins with none.

    ``base`` 0 knows hexadecimal (``0x``), octal (``0``) and decimal.  Negative numbers wrap at 64 bits.
    """
    if base == 16:
        match = re.compile(r"\s*([+-]?)(?:0[xX])?([0-9a-fA-F]+)").match(text)
    else:
        match = _UNSIGNED.match(text)
    if match is None:
        return 0, 0
    digits = match.group(2)
    if base == 16:
        value = int(digits, 16)
    elif digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
        if base == 10:
            return 0, match.start(2) + 1
    elif base == 0 and digits[0] == "0" and len(digits) > 1:
        octal = re.match("[0-7]+", digits)
        assert octal is not None
        value = int(octal.group(), 8)
        return (-value % _WRAP if match.group(1) == "-" else value), match.start(2) + octal.end()
    else:
        value = int(digits, 10)
    if match.group(1) == "-":
        value = -value % _WRAP
    return value, match.end()


def unsigned(text: str, base: int = 0) -> int:
    """As strtoul without looking at what follows the number."""
    return prefix_unsigned(text, base)[0]


def integer(text: str) -> int:
    """As atoi: decimal, sign, 0 for anything else."""
    match = re.match(r"\s*([+-]?[0-9]+)", text)
    return int(match.group(1)) if match else 0


def whole_unsigned(text: str) -> int | None:
    """The number that makes up all of ``text``, else None."""
    value, length = prefix_unsigned(text)
    return value if length and length == len(text) else None


def number(text: str) -> float:
    """A decimal number, without exponent, that makes up all of ``text``; NaN if it does not."""
    match = _FLOAT.match(text)
    if match is None or match.end() != len(text.rstrip()):
        return math.nan
    return float(match.group())


def size(text: str) -> int:
    """Bytes with an optional unit (``10k``, ``1M``); raises ValueError."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match.group(2).lower() not in _BYTES:
        raise ValueError(f"{text!r} is not a number of bytes")
    return int(float(match.group(1)) * _BYTES[match.group(2).lower()])


def hex_bytes(text: str) -> bytes:
    """Pairs of hexadecimal digits, blanks and newlines between digits ignored; raises ValueError."""
    digits = "".join(text.split())
    if re.fullmatch("[0-9a-fA-F]*", digits) is None:
        raise ValueError("Illegal hex string")
    if len(digits) % 2:
        digits += "0"
    return bytes.fromhex(digits)
