from __future__ import annotations

import pytest

from varnishpy.http.message import Message
from varnishpy.http.ranges import (
    ByteRange,
    ContentRange,
    RangeError,
    check_partial,
    content_range,
    parse_content_range,
    parse_range,
    unsatisfied_range,
)


@pytest.mark.parametrize(
    ("value", "length", "low", "high"),
    [
        ("bytes=0-49", 100, 0, 49),
        ("bytes=50-99", 100, 50, 99),
        ("Bytes=50-", 100, 50, 99),
        ("bytes=-50", 100, 50, 99),
        ("bytes=-2000", 100, 0, 99),
        ("bytes=0-0", 100, 0, 0),
        ("bytes=0-", 100, 0, 99),
        ("bytes=5-500", 100, 5, 99),
        ("bytes=2-5", -1, 2, 5),
        ("bytes=2-5 ", 100, 2, 5),
    ],
)
def test_one_range(value: str, length: int, low: int, high: int) -> None:
    assert parse_range(value, length) == ByteRange(low, high)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("bytes=0-1,3-4", 100),  # several: may be ignored
        ("bytes=0-1 , -4,", 100),
        ("lines=0-1", 100),  # a unit we do not know: must be ignored
        ("bytes=5-", -1),
        ("bytes=-5", -1),
        ("bytes=0-", 0),
    ],
)
def test_ignored(value: str, length: int) -> None:
    assert parse_range(value, length) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("200-300", "Missing '='"),
        ("bytes =0-9", "Not Bytes"),
        ("bytes=0", "Missing hyphen"),
        ("bytes= 0-9", "Missing hyphen"),
        ("bytes=-", "Neither high nor low"),
        ("bytes=-0", "No low, high is zero"),
        ("bytes=5-2", "high smaller than low"),
        ("bytes=0-a", "Trailing stuff"),
        ("bytes=0- 9", "Trailing stuff"),
        ("bytes=0-1,x", "Trailing stuff"),
        ("bytes=100-", "low range beyond object"),
        ("bytes=9223372036854775808-", "low range beyond object"),
        (f"bytes={'9' * 5000}-", "low range beyond object"),
    ],
)
def test_refused(value: str, text: str) -> None:
    with pytest.raises(RangeError) as caught:
        parse_range(value, 100)
    assert str(caught.value) == text


def test_headers_of_the_answer() -> None:
    assert content_range(ByteRange(0, 9), 100) == "bytes 0-9/100"
    assert content_range(ByteRange(0, 9), -1) == "bytes 0-9/*"
    assert unsatisfied_range(100) == "bytes */100"
    assert ByteRange(3, 7).length == 5


def test_content_range() -> None:
    assert parse_content_range("bytes 1-2/3") == ContentRange(1, 2, 3)
    assert parse_content_range("bytes 1-2/*") == ContentRange(1, 2, -1)
    assert parse_content_range("bytes */3") == ContentRange(-1, -1, 3)
    assert parse_content_range("lines 1-2/3") is None
    for wrong in ("bytes", "bytes 1-2", "bytes 2-1/3", "bytes 1-3/3", "bytes */*", "bytes 1-2/0", "bytes -/3"):
        with pytest.raises(RangeError):
            parse_content_range(wrong)


def partial(asked: str | None, given: str | None, length: int, status: int = 206) -> str | None:
    bereq, beresp = Message(), Message()
    beresp.status = status
    if asked is not None:
        bereq.add("Range", asked)
    if given is not None:
        beresp.add("Content-Range", given)
    return check_partial(bereq, beresp, length)


def test_an_origin_that_answers_what_was_asked() -> None:
    assert partial("bytes=10-19", "bytes 10-19/100", 10) is None
    assert partial("bytes=10-19", "bytes 10-19/100", -1) is None
    assert partial("bytes=10-", "bytes 10-99/100", 90) is None
    assert partial("bytes=90-119", "bytes */100", 100, status=416) is None
    assert partial("bytes=-10", "bytes 90-99/100", 10) is None
    assert partial("bytes=10-19", None, 10) == "Missing content-range header or unknown range unit"


@pytest.mark.parametrize(
    ("asked", "given", "length", "text"),
    [
        ("bytes=10-19", "bytes 0-49/100", 40, "Expected content length 50, got 40"),
        ("bytes=10-19", "bytes 0-49/100", 50, "Expected low range 0, got 10"),
        ("bytes=10-19", "bytes 10-49/100", 40, "Expected minimum high range 49, got 19"),
        (None, "bytes 0-49/100", 50, "Unexpected content-range header"),
        ("bytes=x", "bytes 0-49/100", 50, "Invalid range header (Missing hyphen)"),
        ("bytes=0-1", "bytes x", 50, "Invalid content-range header"),
    ],
)
def test_an_origin_that_does_not(asked: str | None, given: str, length: int, text: str) -> None:
    with pytest.raises(RangeError) as caught:
        partial(asked, given, length)
    assert str(caught.value) == text
