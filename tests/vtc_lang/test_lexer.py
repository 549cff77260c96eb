"""Lines, tokens, escapes, and the way back from a token to its place in the file."""

import pytest

from varnishpy.vtc.errors import ScriptError
from varnishpy.vtc.lexer import comma_arguments, lines
from varnishpy.vtc.text import Source, Text


def read(text: str) -> list[list[str]]:
    return [[str(token) for token in line.tokens] for line in lines(Text.whole(Source("f.vtc", text)))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a b\tc\n d", [["a", "b", "c"], ["d"]]),
        ("# comment\n  # another\nx # not one", [["x", "#", "not", "one"]]),
        ("a \\\n  b\nc", [["a", "b"], ["c"]]),
        ('say "two words" end', [["say", "two words", "end"]]),
        (r'say "a\nb\t\"q\"\\ \x41\101"', [["say", 'a\nb\t"q"\\ AA']]),
        ("s {a {b} c\nd} -x", [["s", "a {b} c\nd", "-x"]]),
        ('x"y"z', [['x"y"z']]),
        ('"a""b"', [["a", "b"]]),
        ("{}", [[""]]),
        ("", []),
        ("# only a comment", []),
        ("a\n\\\n \nb", [["a"], ["b"]]),
        ("\\\n", []),
    ],
)
def test_tokens(text: str, wanted: list[list[str]]) -> None:
    assert read(text) == wanted


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ('ok\n  bad "no end\n', 2, 7, "unterminated"),
        ("ok\nserver s1 {\n  rxreq {\n}\n", 2, 11, "unbalanced"),
        (r'x "a\q"', 1, 5, "escape"),
    ],
)
def test_errors_have_a_place(text: str, line: int, column: int, word: str) -> None:
    with pytest.raises(ScriptError, match=word) as caught:
        read(text)
    assert (caught.value.position.line, caught.value.position.column) == (line, column)


def test_tokens_inside_tokens_know_their_place() -> None:
    outer = list(lines(Text.whole(Source("f.vtc", "server s1 {\n\trxreq\n\texpect a == b\n} -start\n"))))
    inner = list(lines(outer[0].tokens[2]))
    assert [line.tokens[0].locate()[1:] for line in inner] == [(2, 2), (3, 2)]
    assert inner[1].tokens[2].locate()[1:] == (3, 11)


def test_escapes_do_not_shift_places() -> None:
    (line,) = lines(Text.whole(Source("f.vtc", r'x "\x41\x42c" y')))
    assert line.tokens[1].locate(2).column == 12
    assert line.tokens[2].locate().column == 15


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name", ["name"]),
        ("string,repeat,3,ab", ["string", "repeat", "3", "ab"]),
        ('a , "b c", d', ["a", "b c", "d"]),
        ("a,,b", ["a", "", "b"]),
        ("a,", ["a", ""]),
        (r"a,\x2c", ["a", ","]),
    ],
)
def test_macro_arguments(text: str, wanted: list[str]) -> None:
    assert comma_arguments(text) == wanted


@pytest.mark.parametrize("text", ['"a', 'a"b', r"\q", '"a""b"'])
def test_macro_arguments_that_are_wrong(text: str) -> None:
    with pytest.raises(ValueError, match=r"Missing|Invalid"):
        comma_arguments(text)
