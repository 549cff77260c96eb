from __future__ import annotations

from dataclasses import dataclass

import pytest

from varnishpy.http.control import directive
from varnishpy.http.dates import format_date
from varnishpy.http.freshness import Freshness, Policy, compute, parse_seconds
from varnishpy.http.message import Message

NOW = 1606398419.0


@dataclass
class Defaults:
    default_ttl: float = 120.0
    default_grace: float = 10.0
    default_keep: float = 0.0
    clock_skew: float = 10.0


def fresh(status: int = 200, private: bool = False, uncacheable: bool = False, **headers: str) -> Freshness:
    message = Message()
    message.status = status
    for name, value in headers.items():
        message.add(name.replace("_", "-"), value)
    return compute(message, NOW, Defaults(), private=private, uncacheable=uncacheable)


def test_defaults_and_their_record() -> None:
    found = fresh()
    assert (found.t_origin, found.ttl, found.grace, found.keep) == (NOW, 120.0, 10.0, 0.0)
    assert found.record == "RFC 120 10 0 1606398419 1606398419 0 0 0 cacheable"


def test_record_shows_date_expires_and_max_age() -> None:
    date = format_date(NOW)
    found = fresh(Date=date, Expires=date, Cache_Control="max-age=7", uncacheable=True)
    assert found.record == "RFC 7 10 0 1606398419 1606398419 1606398419 1606398419 7 uncacheable"


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 304, 404, 410, 414])
def test_kept_without_being_told(status: int) -> None:
    assert fresh(status).ttl == 120.0


@pytest.mark.parametrize("status", [302, 307])
def test_redirects_are_kept_only_when_told(status: int) -> None:
    assert fresh(status).ttl == -1.0
    assert fresh(status, Cache_Control="max-age=5").ttl == 5.0
    assert fresh(status, Expires=format_date(NOW + 60)).ttl == 60.0


@pytest.mark.parametrize("status", [206, 416, 500, 503])
def test_other_statuses_are_not_kept(status: int) -> None:
    assert fresh(status, Cache_Control="max-age=5").ttl == -1.0


@pytest.mark.parametrize("status", [201, 299, 303, 308, 400, 403, 405])
def test_any_status_but_errors_is_kept_when_told(status: int) -> None:
    """RFC 9111 section 3."""
    assert fresh(status).ttl == -1.0
    assert fresh(status, Cache_Control="max-age=5").ttl == 5.0


def test_s_maxage_beats_max_age_beats_expires() -> None:
    expires = format_date(NOW + 99)
    assert fresh(Cache_Control="max-age=5, s-maxage=3", Expires=expires).ttl == 3.0
    assert fresh(Cache_Control="public, Max-Age=5", Expires=expires).ttl == 5.0
    assert fresh(Cache_Control="public", Expires=expires).ttl == 99.0
    assert fresh(Cache_Control="max-age").ttl == 120.0


def test_several_cache_control_lines_count_as_one() -> None:
    message = Message()
    message.status = 200
    message.add("Cache-Control", "public")
    message.add("Cache-Control", "max-age=9")
    assert compute(message, NOW, Defaults()).ttl == 9.0


def test_expires_with_clocks() -> None:
    assert fresh(Expires=format_date(NOW - 1)).ttl == 0.0
    assert fresh(Expires=format_date(NOW + 60), Date=format_date(NOW + 61)).ttl == 0.0
    near = fresh(Expires=format_date(NOW + 65), Date=format_date(NOW + 5))
    assert near.ttl == 65.0  # our clock
    far = fresh(Expires=format_date(NOW + 5060), Date=format_date(NOW + 5000))
    assert far.ttl == 60.0  # the origin's


@pytest.mark.parametrize("text", ["0", "-1", "", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 18 Aug 2050 02:01:18 UTC"])
def test_an_expires_that_is_no_date_has_passed(text: str) -> None:
    """RFC 9111 section 5.3: invalid date formats, "0" in particular, represent a time in the past."""
    assert fresh(Expires=text).ttl == 0.0
    assert fresh(Expires=text, Cache_Control="max-age=5").ttl == 5.0


def test_words_of_a_date_are_the_same_in_any_case() -> None:
    """RFC 9111 section 4.2; and nobody is served by a weekday that is looked at too closely."""
    date = format_date(NOW + 60)
    for text in (date.lower(), date.upper(), date.replace(date[:3], "Mon" if date[:3] != "Mon" else "Tue")):
        assert fresh(Expires=text).ttl == 60.0
        assert compute_compat(text) == 0.0


def compute_compat(expires: str) -> float:
    message = Message()
    message.status = 200
    message.add("Expires", expires)
    return compute(message, NOW, Defaults(), policy=Policy(compat=True)).ttl


def test_age_moves_the_origin() -> None:
    found = fresh(Age="100", Cache_Control="max-age=150")
    assert (found.t_origin, found.ttl) == (NOW - 100, 150.0)
    assert fresh(Age="200.5").t_origin == NOW  # section 5.1: no non-negative integer, to be ignored


def test_stale_while_revalidate_is_the_grace() -> None:
    assert fresh(Cache_Control="max-age=1, stale-while-revalidate=33").grace == 33.0
    assert fresh(500, Cache_Control="stale-while-revalidate=33").grace == 10.0


def test_a_pass_has_an_age_only() -> None:
    found = fresh(private=True, Age="7", Cache_Control="max-age=99")
    assert found == Freshness(NOW - 7, -1.0, 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), (" 7 ", 7), ("1.9", 0), ("1, public", 1), ("-1", 0), ("x", 0), ("", 0), ("5s", 0),
        ("4294967296", 4294967295), ("9" * 40, 4294967295), ("0" * 40 + "3", 3),
    ],
)  # fmt: skip
def test_parse_seconds(text: str, value: int) -> None:
    assert parse_seconds(text) == value


def test_directive() -> None:
    assert directive('no-cache="x", max-age = 3', "max-age") == "3"
    assert directive("private", "private") is None
    assert directive("x-max-age=3", "max-age") is None
    assert directive('max-age="3"', "max-age") == "3"  # RFC 9111 section 5.2: both forms
    assert directive('x="a, max-age=3", max-age=4', "max-age") == "4"
    assert directive('x="a\\", max-age=3", max-age=4', "max-age") == "4"
