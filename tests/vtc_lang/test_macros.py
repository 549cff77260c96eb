"""Macros, macro functions, and where their results say they stand."""

import re

import pytest

from varnishpy.vtc.errors import MacroError
from varnishpy.vtc.macros import Macros
from varnishpy.vtc.text import Source, Text


def test_values_and_functions() -> None:
    macros = Macros({"a": "1", "b": "two"})
    assert macros.expand_string("x${a}y${b}") == "x1ytwo"
    assert macros.expand_string("${string,repeat,3,ab}") == "ababab"
    assert macros.expand_string('${string,repeat,2,"a b"}') == "a ba b"
    assert macros.expand_string("${string,repeat,0,ab}") == ""
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", macros.expand_string("${date}"))


def test_what_a_macro_yields_is_not_expanded_again() -> None:
    assert Macros({"a": "${b}", "b": "x"}).expand_string("${a}") == "${b}"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("${none}", "not found"),
        ("${a,1}", "does not take arguments"),
        ("${date,x}", "does not take arguments"),
        ("${string}", "missing action"),
        ("${string,rot13,x}", "unknown action"),
        ("${string,repeat,3}", "takes 2 arguments"),
        ("${string,repeat,-1,x}", "invalid number"),
        ('${"a}', "parsing failed"),
    ],
)
def test_errors(text: str, word: str) -> None:
    with pytest.raises(MacroError, match=word):
        Macros({"a": "1"}).expand_string(text)


def test_unknown_ones_may_be_allowed() -> None:
    macros = Macros({"a": "1"})
    macros.ignore_unknown = True
    assert macros.expand_string("${nope}${a}${nope}") == "${nope}1${nope}"


def test_text_after_a_macro_keeps_its_place() -> None:
    text = Text.whole(Source("f", "ab ${long} cd"))
    expanded = Macros({"long": "x" * 40}).expand(text)
    assert expanded.locate(5).column == 4
    assert expanded.locate(len(expanded) - 1).column == 13
