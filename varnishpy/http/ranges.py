"""Byte ranges (RFC 9110 section 14): what a client asks for, and whether an origin's 206 answers what we asked.

One range is served. Several at once are legal and may be ignored by a server (section 14.2): the whole body is sent
then. A unit that is not ``bytes`` must be ignored likewise. A range that is malformed, or lies beyond the body, is
refused with 416.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from varnishpy.http.message import Message

_LIMIT: Final = (1 << 63) - 1  # no body is longer
_BEYOND: Final = _LIMIT + 1
_DIGITS: Final = "0123456789"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SEVERAL: Final = re.compile(r"[ \t]*([0-9]+-[0-9]*|-[0-9]+)?[ \t]*(,[ \t]*([0-9]+-[0-9]*|-[0-9]+)?[ \t]*)+")


class RangeError(ValueError):
    """The Range header cannot be satisfied; the text is logged as ``RANGE_FAIL``."""


@dataclass(slots=True, frozen=True)
class ByteRange:
    """First and last octet, both inclusive; either is -1 where it is open and the body's length is not known."""

    low: int
    high: int

    @property
    def length(self) -> int:
        return self.high - self.low + 1


def _number(text: str, at: int) -> tuple[int, int]:
    """Digits from ``at``: their value, -1 when there are none, and where they end.

    However many there are, they are a number (RFC 9110 section 14.1.2); more than 19 mean one beyond any body.
    """
    end = at
    while end < len(text) and text[end] in _DIGITS:
        end += 1
    if end == at:
        return -1, at
    digits = text[at:end].lstrip("0")
    return (_BEYOND if len(digits) > 19 else int(digits or "0")), end


def parse_ranges(value: str, length: int) -> list[ByteRange]:
    """The ranges of a ``Range`` header that asks for several: those that the body has, cut to it.

    :param length: octets of the body
    :return: nothing when the header does not ask for several ranges of octets in valid form
    :raises RangeError: answer 416: the body has none of them
    """
    unit, _, spec = value.partition("=")
    if unit.lower() != "bytes" or "," not in spec or not _SEVERAL.fullmatch(spec):
        return []
    found: list[ByteRange] = []
    members = [member.strip(" \t") for member in spec.split(",")]
    for member in members:
        if not member:
            continue
        try:
            wanted = parse_range(f"bytes={member}", length)
        except RangeError:
            continue  # an unsatisfiable one is left out (section 15.3.7.2)
        if wanted is not None:
            found.append(wanted)
    if not found:
        raise RangeError("none of the ranges lies within the object")
    return found


def parse_range(value: str, length: int) -> ByteRange | None:
    """The range a ``Range`` header asks for.

    :param length: octets of the body, -1 when it is not known yet
    :return: the range, cut to the body; ``None`` when the header is to be ignored and the whole body sent
    :raises RangeError: answer 416
    """
    unit, equals, spec = value.partition("=")
    if not equals:
        raise RangeError("Missing '='")
    if unit.lower() != "bytes":
        if _TOKEN.fullmatch(unit):
            return None
        raise RangeError("Not Bytes")
    if "," in spec and _SEVERAL.fullmatch(spec):
        return None
    low, at = _number(spec, 0)
    if at >= len(spec) or spec[at] != "-":
        raise RangeError("Missing hyphen")
    high, at = _number(spec, at + 1)
    if low < 0 and high < 0:
        raise RangeError("Neither high nor low")
    if low < 0 and high == 0:
        raise RangeError("No low, high is zero")
    if 0 <= high < low:
        raise RangeError("high smaller than low")
    if spec[at:].strip(" \t\r\n"):
        raise RangeError("Trailing stuff")
    if low < 0:
        if length < 0:
            return None  # the last octets of a body whose end is not known
        low = max(0, length - high)
        high = length - 1
    elif length >= 0 and (high < 0 or high >= length):
        high = length - 1
    if length == 0:
        return None
    if length > 0 and low >= length:
        raise RangeError("low range beyond object")
    if high < 0:
        return None  # "n-" of a body of unknown length: nothing to put into Content-Range
    return ByteRange(low, high)


def content_range(wanted: ByteRange, length: int) -> str:
    """The value of ``Content-Range`` for a 206."""
    return f"bytes {wanted.low}-{wanted.high}/{length if length >= 0 else '*'}"


def unsatisfied_range(length: int) -> str:
    """The value of ``Content-Range`` for a 416."""
    return f"bytes */{length}"


_CONTENT_RANGE: Final = re.compile(r"(?:([0-9]+)-([0-9]+)|\*)/(?:([0-9]+)|\*)[ \t\r\n]*")


@dataclass(slots=True, frozen=True)
class ContentRange:
    """A ``Content-Range`` received: -1 stands for what it leaves open."""

    low: int
    high: int
    length: int


def parse_content_range(value: str) -> ContentRange | None:
    """Read a ``Content-Range`` header; ``None`` for a unit that is not ``bytes``.

    :raises RangeError: malformed
    """
    unit, space, spec = value.partition(" ")
    if not space:
        raise RangeError("Invalid content-range header")
    if unit.lower() != "bytes":
        return None
    found = _CONTENT_RANGE.fullmatch(spec)
    if found is None:
        raise RangeError("Invalid content-range header")
    low = int(found[1]) if found[1] else -1
    high = int(found[2]) if found[2] else -1
    length = int(found[3]) if found[3] else -1
    if max(low, high, length) > _LIMIT or low > high or length == 0 or (low < 0 and length < 0):
        raise RangeError("Invalid content-range header")
    if 0 <= length <= high:
        raise RangeError("Invalid content-range header")
    return ContentRange(low, high, length)


def check_partial(bereq: Message, beresp: Message, content_length: int) -> str | None:
    """Does an origin's answer fit the range we passed on? A response that does not must not reach the client.

    :param content_length: as announced by the origin, -1 when it is not
    :return: a remark for the log when there is nothing to check, else ``None``
    :raises RangeError: the fetch fails with this text
    """
    asked = bereq.get("range")
    low = high = -1
    if asked is not None:
        try:
            wanted = _bounds(asked)
        except RangeError as exc:
            raise RangeError(f"Invalid range header ({exc})") from None
        if wanted is not None:
            low, high = wanted
    given = beresp.get("content-range")
    got = parse_content_range(given) if given is not None else None
    if got is None:
        return "Missing content-range header or unknown range unit"
    if asked is None:
        raise RangeError("Unexpected content-range header")
    if low < 0 and high < 0:
        return None  # several ranges, or the last n octets: nothing that can be compared
    first, last = got.low, got.high
    if first < 0:
        if beresp.status == 416:
            return None
        first, last = 0, got.length - 1
    span = last - first + 1
    if content_length >= 0 and content_length != span:
        raise RangeError(f"Expected content length {span}, got {content_length}")
    if low < 0:
        return None
    if low != first:
        raise RangeError(f"Expected low range {first}, got {low}")
    if 0 <= high < last:
        raise RangeError(f"Expected minimum high range {last}, got {high}")
    return None


def _bounds(value: str) -> tuple[int, int] | None:
    """The numbers of a single range as they stand, -1 for an open end; ``None`` where there is not exactly one."""
    parsed = parse_range(value, -1)
    if parsed is not None:
        return parsed.low, parsed.high
    unit, _, spec = value.partition("=")
    if unit.lower() == "bytes" and "," not in spec and not spec.startswith("-"):
        return int(spec.partition("-")[0]), -1
    return None
