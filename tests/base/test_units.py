"""Numbers with units."""

from __future__ import annotations

import pytest

from varnishpy.base.units import (
    UnitError,
    format_bytes,
    format_duration,
    parse_bytes,
    parse_decimal,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("5s", 5),
        ("1.5m", 90),
        ("100ms", 0.1),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("1y", 31536000),
        ("10 s", 10),
        ("-1s", -1),
        (".5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5q", "5 s s", "five", "1e3", "9" * 16])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(UnitError):
        parse_duration(text)


def test_duration_that_needs_a_unit() -> None:
    with pytest.raises(UnitError, match="Invalid duration unit"):
        parse_duration("5", need_unit=True)


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0", 0), ("10b", 10), ("64k", 65536), ("0.25G", 1 << 28), ("1.5k", 1536), ("2MB", 2 << 20), ("1 t", 1 << 40)],
)
def test_sizes(text: str, octets: int) -> None:
    assert parse_bytes(text) == octets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid number"),
        ("xx", "Invalid number"),
        ("-1k", "Invalid number"),
        ("1.5b", "Fractional BYTES not allowed"),
        ("1.5", "Fractional BYTES not allowed"),
        ("10x", "Unknown BYTES unit of measurement ([KMGTP][B])"),
        ("10%", "Unknown BYTES unit of measurement ([KMGTP][B])"),
    ],
)
def test_wrong_sizes(text: str, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_bytes(text)
    assert str(caught.value) == message


def test_percent_is_relative() -> None:
    assert parse_bytes("50%", relative_to=1000) == 500


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0b"),
        (255, "255b"),
        (768, "0.75k"),
        (10752, "10.50k"),
        (98304, "96k"),
        (1 << 28, "0.25G"),
        (80 << 20, "80M"),
    ],
)
def test_sizes_as_shown(octets: int, text: str) -> None:
    assert format_bytes(octets) == text
    assert parse_bytes(text) == octets


def test_durations_as_shown() -> None:
    assert format_duration(5) == "5.000"
    assert format_duration(float("inf")) == "never"


def test_decimal() -> None:
    assert parse_decimal("0.9") == 0.9
    with pytest.raises(UnitError):
        parse_decimal("0.9s")
