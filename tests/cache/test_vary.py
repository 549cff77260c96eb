from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.cache.vary import NeverMatches, VaryError, build, encode, entries, match, predict
from varnishpy.http.message import Message


def message(**headers: str) -> Message:
    made = Message()
    for name, value in headers.items():
        made.add(name.replace("_", "-"), value)
    return made


def test_the_spec_has_varnishs_form() -> None:
    spec = build(message(Vary="Foo, bar"), message(Foo="x y "))
    assert spec == b"\x00\x03\x04Foo:\x00x y" + b"\xff\xff\x04bar:\x00" + b"\xff\xff\x00"


def test_no_vary_no_spec() -> None:
    assert build(message(), message()) is None
    assert build(message(Vary=""), message()) is None
    assert build(message(Vary=" , ,"), message()) is None


def test_several_lines_and_empty_elements() -> None:
    beresp = message(Vary="a,,b")
    beresp.add("Vary", ", c ,")
    spec = build(beresp, message(b="1"))
    assert spec is not None
    assert entries(spec) == (("a", None), ("b", "1"), ("c", None))


def test_matching() -> None:
    spec = build(message(Vary="Foo, Bar"), message(Foo="1"))
    assert spec is not None
    assert match(spec, message(foo="1"))
    assert match(spec, message(foo="1 \t"))
    assert not match(spec, message(foo="2"))
    assert not match(spec, message())
    assert not match(spec, message(foo="1", bar=""))  # present and empty is not absent


@pytest.mark.parametrize("lines", [("*",), ("Foo, *",), ("*, Foo",), ("Foo", "*"), (", *",), ("*", "*")])
def test_star_never_matches(lines: tuple[str, ...]) -> None:
    """RFC 9111 section 4.1: a stored response with a Vary field value containing a member "*" always fails to match."""
    beresp = message()
    for line in lines:
        beresp.add("Vary", line)
    with pytest.raises(NeverMatches):
        build(beresp, message(Foo="1"))


def test_all_lines_of_a_field_are_compared() -> None:
    """RFC 9111 section 4.1: fields match when they can be made the same by combining their lines."""
    one = message(Foo="a")
    one.add("Foo", "b")
    other = message(Foo="a")
    other.add("Foo", "c")
    spec = build(message(Vary="Foo"), one)
    assert spec is not None
    assert match(spec, one)
    assert match(spec, message(Foo="a, b"))
    assert not match(spec, other)
    assert not match(spec, message(Foo="a"))
    assert predict(entries(spec), other) == (("foo", "a, c"),)


def test_star_can_be_a_header_nobody_sends() -> None:
    """As in Varnish, with ``feature=+cache_compat``."""
    spec = build(message(Vary="*"), message(), star_matches=True)
    assert spec is not None
    assert match(spec, message(anything="1"))


@pytest.mark.parametrize(
    ("vary", "text"),
    [
        ("x" * 128, "Vary header name length exceeded"),
        ("foo bar", "Malformed Vary header"),
        ("Huge", "Vary header maximum length exceeded"),
    ],
)
def test_limits(vary: str, text: str) -> None:
    with pytest.raises(VaryError) as caught:
        build(message(Vary=vary), message(Huge="x" * 0xFFFF))
    assert str(caught.value) == text


def test_prediction_follows_the_stored_order() -> None:
    spec = build(message(Vary="A, B"), message(A="1", B="2"))
    assert spec is not None
    mine = message(B="3")
    assert predict(entries(spec), mine) == (("a", None), ("b", "3"))
    assert match(encode(predict(entries(spec), mine)), mine)


names = st.text("abcXYZ-", min_size=1, max_size=20)
values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=50).map(lambda text: text.strip())


@given(st.dictionaries(names, st.none() | values, min_size=1, max_size=6))
def test_a_request_matches_the_spec_made_from_it(headers: dict[str, str | None]) -> None:
    bereq = Message()
    for name, value in headers.items():
        if value is not None:
            bereq.add(name, value)
    spec = build(message(Vary=",".join(headers)), bereq)
    assert spec is not None
    assert match(spec, bereq, gzip_support=False)
    assert encode(entries(spec)).lower() == spec.lower()
