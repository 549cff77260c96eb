"""Delivery processor for several ranges in one answer: ``multipart/byteranges`` (RFC 9110 sections 14.6 and 15.3.7.2).

With ``feature=+multi_range``, and only for bodies whose length is known; otherwise the whole body is sent, as the RFC
allows. Ranges that overlap or stand near each other are joined, and whoever asks for many small ones, which is what an
attack looks like (section 17.15), gets the whole body.
"""

from __future__ import annotations

import os
from typing import Final

from varnishpy.http.ranges import ByteRange, content_range
from varnishpy.request.growing import Pieces

MOST: Final = 16  # parts of one answer
_NEAR: Final = 80  # octets between two ranges that cost less than a part's head


def join(ranges: list[ByteRange]) -> list[ByteRange]:
    """The ranges in order, those that overlap or nearly touch joined."""
    joined: list[ByteRange] = []
    for wanted in sorted(ranges, key=lambda each: each.low):
        if joined and wanted.low <= joined[-1].high + _NEAR:
            joined[-1] = ByteRange(joined[-1].low, max(joined[-1].high, wanted.high))
        else:
            joined.append(wanted)
    return joined


class Parts:
    """Several ranges of one body, ready to be written.

    :param ranges: in order, and apart from each other
    :param length: octets of the whole body
    :param content_type: of the body, repeated in each part
    """

    __slots__ = ("_boundary", "_heads", "_ranges", "_tail", "content_type", "length")

    def __init__(self, ranges: list[ByteRange], length: int, content_type: str | None) -> None:
        self._ranges = ranges
        self._boundary = os.urandom(16).hex()
        begin = f"\r\n--{self._boundary}\r\n" + (f"Content-Type: {content_type}\r\n" if content_type else "")
        self._heads = [
            f"{begin}Content-Range: {content_range(each, length)}\r\n\r\n".encode("latin-1") for each in ranges
        ]
        self._tail = f"\r\n--{self._boundary}--\r\n".encode("ascii")
        self.content_type = f"multipart/byteranges; boundary={self._boundary}"
        self.length = sum(map(len, self._heads)) + sum(each.length for each in ranges) + len(self._tail)

    def cut(self, pieces: Pieces) -> Pieces:
        """The body cut up; ends when the last range is complete, or when the body ends."""
        at = 0
        left = list(zip(self._ranges, self._heads, strict=True))
        begun = False
        for piece in pieces:
            view = memoryview(piece)
            start, at = at, at + len(view)
            if start == at:
                yield piece
            while left and left[0][0].low < at:
                wanted, head = left[0]
                if not begun:
                    yield head
                    begun = True
                yield view[max(0, wanted.low - start) : wanted.high + 1 - start]
                if wanted.high >= at:
                    break
                del left[0]
                begun = False
            if not left:
                yield self._tail
                return
