"""CRC-32 of joined data from the CRC-32 of its parts, which zlib's Python binding does not offer.

A CRC is the remainder of the data, read as a polynomial over GF(2), divided by a fixed polynomial ``P``. Appending
``n`` octets multiplies what came before by x^(8n). So: multiply the first CRC by x^(8n) modulo ``P`` and add (xor)
the second. Polynomials stand here with the lowest power in the highest bit, as CRC-32 has them.
"""

from __future__ import annotations

from typing import Final

_P: Final = 0xEDB88320
_ONE: Final = 1 << 31


def _multiply(a: int, b: int) -> int:
    """a * b modulo P."""
    product = 0
    bit = _ONE
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ _P if b & 1 else b >> 1
        bit >>= 1
    return product


def _squares() -> list[int]:
    """x^(8 * 2^k) modulo P for k = 0, 1, 2, ..."""
    power = _ONE >> 8  # x^8
    found = []
    for _ in range(64):
        found.append(power)
        power = _multiply(power, power)
    return found


_POWERS: Final = _squares()


def crc32_combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of A+B.

    :param first: CRC-32 of A
    :param second: CRC-32 of B
    :param length: octets of B
    """
    if length == 0:
        return first
    factor = _ONE
    k = 0
    while length:
        if length & 1:
            factor = _multiply(_POWERS[k], factor)
        length >>= 1
        k += 1
    return _multiply(factor, first) ^ second
