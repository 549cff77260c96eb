"""Numbers as C reads them, and the operators of expect."""

import math

import pytest

from varnishpy.vtc import numbers
from varnishpy.vtc.compare import RegexError, compare


@pytest.mark.parametrize(
    ("text", "value", "used"),
    [("12x", 12, 2), ("0x1F ", 31, 4), ("010", 8, 3), ("08", 0, 1), ("-1", (1 << 64) - 1, 2), ("x", 0, 0), ("", 0, 0)],
)
def test_unsigned(text: str, value: int, used: int) -> None:
    assert numbers.prefix_unsigned(text) == (value, used)


def test_hexadecimal_base() -> None:
    assert numbers.prefix_unsigned("ff\r\n", 16) == (255, 2)
    assert numbers.prefix_unsigned("0x10", 16) == (16, 4)
    assert numbers.prefix_unsigned("zz", 16) == (0, 0)


@pytest.mark.parametrize(("text", "value"), [("1.5", 1.5), ("1000", 1000.0), (".5", 0.5), ("-2", -2.0)])
def test_number(text: str, value: float) -> None:
    assert numbers.number(text) == value


@pytest.mark.parametrize("text", ["", "x", "1x", "1.2.3", "1e3", "+1"])
def test_no_number(text: str) -> None:
    assert math.isnan(numbers.number(text))


def test_sizes_and_hex() -> None:
    assert (numbers.size("10k"), numbers.size("1M"), numbers.size("5")) == (10240, 1 << 20, 5)
    assert numbers.hex_bytes("0F EE\na5    3df2") == bytes.fromhex("0feea53df2")
    with pytest.raises(ValueError, match="hex"):
        numbers.hex_bytes("0g")
    with pytest.raises(ValueError, match="number of bytes"):
        numbers.size("10 parsecs")


@pytest.mark.parametrize(
    ("left", "operator", "right", "wanted"),
    [
        ("a", "==", "a", True),
        (None, "==", "<undef>", True),
        ("a", "!=", "b", True),
        ("abc", "~", "^a.c$", True),
        ("abc", "!~", "x", True),
        ("10", "<", "9", False),
        ("1.5", ">=", "1.5", True),
        (None, "<", "5", False),
        ("x", ">", "5", False),
        ("0x10", "-eq", "16", True),
        ("010", "-lt", "9", True),
        ("5", "-ne", "5", False),
        ("7", "-ge", "7", True),
        ("7", "-le", "6", False),
        ("7", "-gt", "6", True),
    ],
)
def test_compare(left: str | None, operator: str, right: str, wanted: bool) -> None:
    assert compare(left, operator, right) is wanted


def test_what_cannot_be_compared() -> None:
    with pytest.raises(KeyError):
        compare("a", "=", "a")
    with pytest.raises(RegexError):
        compare("a", "~", "(")
