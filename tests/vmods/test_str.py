"""VMOD str. What is true of strings here is what varnish-modules' module says; tests/vtc/vmod_str.vtc asks both."""

from __future__ import annotations

import pytest

from tests.vmods.vmod_bench import out


@pytest.mark.parametrize(
    ("n", "offset", "result"),
    [
        (-3, 0, "cde"),
        (3, -4, "bcd"),
        (5, -7, "abc"),
        (5, -15, ""),
        (-3, 2, "ab"),
        (-1, 4, "d"),
        (-3, -2, "abc"),
        (3, 10, ""),
        (-2, 6, "e"),
        (-7, 0, "abcde"),
        (0, 2, ""),
        (9, 0, "abcde"),
    ],
)
def test_take(n: int, offset: int, result: str) -> None:
    assert out("str", f'str.take("abcde", {n}, {offset})') == result


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ('str.split("a b  c", 2)', "b"),
        ('str.split("a b  c", -1)', "c"),
        ('str.split("a b  c", 0) + "-"', "-"),
        ('str.split("a b", 3) + "-"', "-"),
        ('str.split("a,b;c", 3, ",;")', "c"),
        ('str.split("]a^b", 2, "]^")', "b"),
        ('str.split("abc", 1, "")', "abc"),
        ('str.split(req.http.none, 1) + "-"', "-"),
        ('str.reverse("abc")', "cba"),
        ('"" + str.count("abc") + str.count(req.http.none)', "3-1"),
        ('str.startswith("abc", "ab") + str.startswith(req.http.none, "")', "truefalse"),
        ('str.endswith("abc", "bc") + str.endswith("abc", "ab")', "truefalse"),
        ('str.contains("abc", "b") + str.contains("abc", req.http.none)', "truefalse"),
        ('str.token_intersect("a, b", "c b")', "true"),
        ('str.token_intersect("a, b", "c")', "false"),
        ('str.token_intersect("a;b", "b;c", ";")', "true"),
        ('str.token_intersect(req.http.none, "")', "false"),
    ],
)
def test_strings(expression: str, result: str) -> None:
    assert out("str", expression) == result
