"""Where in a gzip member the deflate data ends, to the bit (RFC 1951, RFC 1952).

zlib does not tell, and scripts about ESI need bodies that end at a chosen bit (``-gzipresidual``).  Nothing is
decompressed here: codes are only followed.
"""

from __future__ import annotations

_LENGTH_EXTRA = [0] * 8 + [extra for extra in range(1, 6) for _ in range(4)] + [0]
_DISTANCE_EXTRA = [0, 0, 0, 0] + [extra for extra in range(1, 14) for _ in range(2)]
_CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_HEADER = 10

Codes = dict[tuple[int, int], int]


class _Bits:
    __slots__ = ("_data", "at")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def take(self, count: int) -> int:
        value = 0
        for bit in range(count):
            octet = self._data[self.at >> 3]
            value |= (octet >> (self.at & 7) & 1) << bit
            self.at += 1
        return value

    def symbol(self, codes: Codes) -> int:
        code = length = 0
        while True:
            code = code << 1 | self.take(1)
            length += 1
            found = codes.get((length, code))
            if found is not None:
                return found
            if length > 15:
                raise ValueError("not a deflate stream")


def _codes(lengths: list[int]) -> Codes:
    """Canonical Huffman codes by (length, code)."""
    codes: Codes = {}
    code = 0
    for length in range(1, 16):
        for symbol, its in enumerate(lengths):
            if its == length:
                codes[length, code] = symbol
                code += 1
        code <<= 1
    return codes


_FIXED_LITERALS = _codes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8)
_FIXED_DISTANCES = _codes([5] * 30)


def _dynamic(bits: _Bits) -> tuple[Codes, Codes]:
    literals = bits.take(5) + 257
    distances = bits.take(5) + 1
    lengths_of_codes = [0] * 19
    for place in _CODE_ORDER[: bits.take(4) + 4]:
        lengths_of_codes[place] = bits.take(3)
    codes = _codes(lengths_of_codes)
    lengths: list[int] = []
    while len(lengths) < literals + distances:
        symbol = bits.symbol(codes)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            lengths.extend([lengths[-1]] * (bits.take(2) + 3))
        elif symbol == 17:
            lengths.extend([0] * (bits.take(3) + 3))
        else:
            lengths.extend([0] * (bits.take(7) + 11))
    return _codes(lengths[:literals]), _codes(lengths[literals:])


def stop_bit(member: bytes) -> int:
    """The number of the first bit after the last deflate block of a gzip member without optional header fields."""
    bits = _Bits(member, _HEADER * 8)
    final = 0
    while not final:
        final = bits.take(1)
        kind = bits.take(2)
        if kind == 0:
            bits.at = (bits.at + 7) & ~7
            length = bits.take(16)
            bits.at += 16 + 8 * length
            continue
        literals, distances = (_FIXED_LITERALS, _FIXED_DISTANCES) if kind == 1 else _dynamic(bits)
        while True:
            symbol = bits.symbol(literals)
            if symbol == 256:
                break
            if symbol > 256:
                bits.at += _LENGTH_EXTRA[symbol - 257]
                extra = _DISTANCE_EXTRA[bits.symbol(distances)]  # on its own: reading the symbol moves bits.at
                bits.at += extra
    return bits.at
