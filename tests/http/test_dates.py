from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Setting
from varnishpy.http.dates import format_date, parse_date

MOMENT = 784111777.0  # the example of RFC 9110 section 5.6.7


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "1994-11-06T08:49:37",
        "  Sun, 06 Nov 1994 08:49:37 GMT  ",
    ],
)
def test_all_forms_name_the_same_moment(text: str) -> None:
    assert parse_date(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "now",
        "Mon, 06 Nov 1994 08:49:37 GMT",  # it was a Sunday
        "Monday, 06-Nov-94 08:49:37 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nox 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT x",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 00:00:00 GMT",
        "1994-13-06T08:49:37",
    ],
)
def test_what_is_wrong_anywhere_is_no_date(text: str) -> None:
    assert parse_date(text) == 0.0


def test_a_day_of_one_digit_is_taken_where_it_is_allowed(setting: Setting) -> None:
    setting("feature", "+http_date_postel")
    assert parse_date("Sun, 6 Nov 1994 08:49:37 GMT") == 784111777.0
    assert parse_date("Sun, 7 Nov 1994 08:49:37 GMT") == 0.0
    assert parse_date("Sunday, 6-Nov-94 08:49:37 GMT") == 0.0


def test_leap_second_and_leap_day() -> None:
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_date("Sat, 31 Dec 2016 23:59:59 GMT") > 0
    assert parse_date("Thu, 29 Feb 2024 00:00:00 GMT") == 1709164800.0


def test_two_digit_years_turn_in_1969() -> None:
    assert parse_date("Wednesday, 01-Jan-69 00:00:00 GMT") == -31536000.0
    assert parse_date("Sunday, 01-Jan-68 00:00:00 GMT") == 3092601600.0


@given(st.integers(min_value=1, max_value=4102444800))
def test_written_dates_are_read_back(moment: int) -> None:
    text = format_date(moment + 0.5)
    assert text == formatdate(moment, usegmt=True)
    assert parse_date(text) == moment
