"""Both engines must agree wherever the fast one is used."""

from __future__ import annotations

import pcre2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varnishpy.base.regex import Regex, RegexError, RegexMatchError, for_re, set_limits

FAST = [
    "abc",
    "^/x",
    "a|b",
    "(?i)GET",
    "[a-z]+$",
    r"\.css$",
    "^/(a|b)/",
    "[^/]*",
    "a{2,3}b",
    "[[:upper:]]",
    r"\d+",
    "(?:x)?y",
    "(?i:no-cache|no-store)",
]
SLOW = [
    "(a+)+",
    r"\bfoo",
    "a*b*c*d*",
    "(?=x)",
    r"(?<n>a)",
    r"\R",
    "a++",
    r"\x41",
    "(a)*",
    "[[:punct:]]",
    "é",
    r"(?s)a.b",
    "a{,3}",
    r"\Qa\E",
]


@pytest.mark.parametrize("pattern", FAST)
def test_plain_patterns_are_fast(pattern: str) -> None:
    assert for_re(pattern) is not None


@pytest.mark.parametrize("pattern", SLOW)
def test_others_are_left_to_pcre2(pattern: str) -> None:
    assert for_re(pattern) is None


_atom = st.sampled_from(
    ["a", "b", "A", "-", r"\.", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\w", r"\s", "[[:lower:]]", r"[\d-]", "^", "$"]
)
_quantifier = st.sampled_from(["", "", "", "?", "*", "+", "{1,2}", "*?"])


@st.composite
def _patterns(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        atom = draw(_atom)
        wrap = draw(st.sampled_from(["{}", "{}", "({})", "(?:{}|b)"]))
        parts.append(wrap.format(atom) + draw(_quantifier))
    return draw(st.sampled_from(["", "(?i)"])) + "".join(parts) + draw(st.sampled_from(["", "|a", "$"]))


@settings(max_examples=300, deadline=None)
@given(_patterns(), st.text(alphabet="abAB-.1_ \n\xe9\xc0", max_size=12))
def test_engines_agree(pattern: str, subject: str) -> None:
    try:
        regex = Regex(pattern)
    except RegexError:
        return
    if for_re(pattern) is None:
        return
    theirs = pcre2.compile(pattern.encode("latin-1")).search(subject.encode("latin-1"))
    ours = regex.groups(subject)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert ours[0] == theirs.span()
        assert [group or "" for group in ours[1]] == [
            (group or b"").decode("latin-1") for group in (theirs.group(0), *theirs.groups())
        ]


@pytest.mark.parametrize(
    ("pattern", "subject", "replacement", "every", "result"),
    [
        ("a(.)", "xabac", r"<\1>", True, "x<b><c>"),
        ("a(.)", "xabac", r"<\1>", False, "x<b>ac"),
        ("(a)|(b)", "b", r"[\1][\2][\9]", False, "[][b][]"),
        ("x", "abc", "y", True, None),
        ("x*", "abxc", "-", True, "-ab-c"),  # only the first match may be empty
        ("a", "a", r"\\n\&", False, r"\n&"),
        (r"(?<!x)a", "axa", "b", True, "bxa"),
        ("^a", "aaa", "b", True, "baa"),
    ],
)
def test_substitution(pattern: str, subject: str, replacement: str, every: bool, result: str | None) -> None:
    assert Regex(pattern).sub(subject, replacement, every) == result


def test_errors_have_pcre2s_words() -> None:
    with pytest.raises(RegexError, match=r"^missing closing parenthesis$"):
        Regex("(")


def test_match_limit() -> None:
    regex = Regex("(a+)+$")
    with pytest.raises(RegexMatchError, match="match limit exceeded"):
        regex.search("a" * 64 + "b")
    try:
        set_limits(100_000_000, 100_000)
        assert regex.search("a" * 12 + "b") is None
    finally:
        set_limits(10000, 20000)


def test_without_jit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = pcre2.compile

    def compile(pattern: bytes, jit: bool) -> object:
        asked.append(jit)
        return real(pattern, jit=jit)

    monkeypatch.setattr(pcre2, "compile", compile)
    regex = Regex(r"(a)\1")
    try:
        set_limits(10000, 20000, jit=False)
        assert regex.search("xaa")
        assert regex.search("xab") is None
    finally:
        set_limits(10000, 20000)
    assert asked == [True, False], "compiled anew, once"


def test_caseless() -> None:
    assert Regex("abc", caseless=True).search("xABCx")
