"""Which directives are in force, and the structured fields they may be written in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.http.control import Control, in_force, names_in, understood
from varnishpy.http.message import Message
from varnishpy.http.structured import Boolean, StructuredError, parse_dictionary

CDN = ("cdn-cache-control",)


def message(**fields: str) -> Message:
    made = Message()
    for name, value in fields.items():
        made.add(name.replace("_", "-"), value)
    return made


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", {}),
        ("a", {"a": Boolean.TRUE}),
        ("a=1, b=-2.5;x=1,\tc", {"a": 1, "b": -2.5, "c": Boolean.TRUE}),
        ('a="x\\"y\\\\"', {"a": 'x"y\\'}),
        ("a=b/c:d", {"a": "b/c:d"}),
        ("a=:aGk=:", {"a": b"hi"}),
        ("a=?1, b=?0", {"a": Boolean.TRUE, "b": Boolean.FALSE}),
        ('a=("x" y;q=1 2);z', {"a": ["x", "y", 2]}),
        ("a=1, a=2", {"a": 2}),
        ("a;x;y=2", {"a": Boolean.TRUE}),
        ("  a=1  ", {"a": 1}),
    ],
)
def test_dictionaries(text: str, members: dict[str, Any]) -> None:
    """RFC 9651 section 3.2."""
    assert parse_dictionary(text) == members


@pytest.mark.parametrize(
    "text",
    ["A=1", "a=", "a=1,", "a 1", "a=1 b", "a=&", 'a="x', "a=1.", "a=1.2345", "a=1234567890123456", "a=1234567890123.1",
     "a=(1", "a=(1,2)", "a=?2", "a=:x", "a=:a:", ",a", "a=\xe4", 'a="\\x"', "a=(1 2"],
)  # fmt: skip
def test_what_is_no_dictionary(text: str) -> None:
    with pytest.raises(StructuredError):
        parse_dictionary(text)


@given(st.text(st.sampled_from('a=1,;"()?: \\*-.~b\t')))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_dictionary(text)
    except StructuredError:
        pass


@pytest.mark.parametrize(
    ("targeted", "text"),
    [
        ("max-age=60", "max-age=60"),
        ("max-age=60, no-store, must-revalidate", "max-age=60, no-store, must-revalidate"),
        ('private="x"', 'private="x"'),
        ("max-age=60;x=1", "max-age=60"),
        ("no-store=?0, max-age=1", "max-age=1"),
    ],
)
def test_a_targeted_field_goes_first(targeted: str, text: str) -> None:
    """RFC 9213 section 2.2: Cache-Control and Expires MUST be ignored."""
    msg = message(Cache_Control="max-age=1", CDN_Cache_Control=targeted)
    assert in_force(msg, CDN) == Control(text, True)
    assert in_force(msg) == Control("max-age=1", False)


@pytest.mark.parametrize("targeted", ["", "max-age=60, &&&", 'max-age="60"', "max-age=60.5", "max-age", "Max-Age=60"])
def test_an_invalid_targeted_field_is_not_there(targeted: str) -> None:
    """Section 2.2: one with an empty or invalid value is ignored."""
    assert in_force(message(Cache_Control="no-store", CDN_Cache_Control=targeted), CDN) == Control("no-store", False)


def test_the_most_specific_field_counts() -> None:
    msg = message(CDN_Cache_Control="max-age=1", Our_Cache_Control="max-age=2")
    assert in_force(msg, ("our-cache-control", *CDN)).text == "max-age=2"


def test_must_understand() -> None:
    """RFC 9111 section 5.2.2.3."""
    control = Control("no-store, must-understand, max-age=5", False)
    assert names_in(understood(control, True)) == {"max-age"}
    assert "no-store" in names_in(understood(control, False))
    assert understood(Control("no-store", False), True) == "no-store"
