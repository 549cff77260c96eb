"""``No-Vary-Search``: what it means, and which URLs it makes one."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.http.message import Message
from varnishpy.http.search_variance import SearchVariance, search_variance


def said(text: str | None) -> SearchVariance | None:
    message = Message()
    if text is not None:
        message.add("No-Vary-Search", text)
    return search_variance(message)


def rule(*ignored: str, all_but: bool = False, any_order: bool = False) -> SearchVariance:
    return SearchVariance(frozenset(ignored), all_but, any_order)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("params", rule(all_but=True)),
        ("params=?1", rule(all_but=True)),
        ('params, except=("id")', rule("id", all_but=True)),
        ('params=("utm_source" "utm_medium")', rule("utm_source", "utm_medium")),
        ("key-order", rule(any_order=True)),
        ('key-order, params=("a")', rule("a", any_order=True)),
        ('params=("a+b" "%C3%A9")', rule("a b", "é")),
        ("params, except=()", rule(all_but=True)),
        # what means nothing, and what is not valid: every difference counts
        (None, None),
        ("", None),
        ("params=?0", None),
        ("params=()", None),
        ("key-order=?0", None),
        ('except=("a")', None),
        ('params=?0, except=("a")', None),
        ('params=("a"), except=("b")', None),
        ("params=(a)", None),
        ("params=1", None),
        ('params="a"', None),
        ('params=("a" 1)', None),
        ("params, except", None),
        ("params, key-order=1", None),
        ("params, key-order=(1)", None),
        ("params=(", None),
        ("PARAMS", None),
    ],
)
def test_meanings(text: str | None, meaning: SearchVariance | None) -> None:
    assert said(text) == meaning


@pytest.mark.parametrize(
    ("made", "one", "other", "same"),
    [
        (rule("a"), "/x?a=1&b=2", "/x?b=2", True),
        (rule("a"), "/x?a=1", "/x", True),
        (rule("a"), "/x?a=1&b=2", "/x?b=3", False),
        (rule("a"), "/x?b=2", "/y?b=2", False),
        (rule("a"), "/x?b=2&c=3", "/x?c=3&b=2", False),
        (rule(any_order=True), "/x?b=2&c=3", "/x?c=3&b=2", True),
        (rule(any_order=True), "/x?b=2&b=3", "/x?b=3&b=2", False),  # the order of one name's values counts
        (rule(all_but=True), "/x?b=2&c=3", "/x", True),
        (rule("id", all_but=True), "/x?id=2&c=3", "/x?d&id=2", True),
        (rule("id", all_but=True), "/x?id=2", "/x?id=3", False),
        (rule("a b"), "/x?a+b=1", "/x?a%20b=2", True),
        (rule("a"), "/x?b=%41", "/x?b=A", True),
        (rule("a"), "/x?b", "/x?b=", True),
    ],
)
def test_urls(made: SearchVariance, one: str, other: str, same: bool) -> None:
    assert (made.key(one) == made.key(other)) is same


WORDS = st.text("ab&=%+ é\0", max_size=3)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=4), st.frozensets(WORDS, max_size=2), st.booleans(), st.booleans())
def test_a_key_is_no_url_and_tells_rules_apart(
    pairs: list[tuple[str, str]], names: frozenset[str], all_but: bool, any_order: bool
) -> None:
    made = SearchVariance(names, all_but, any_order)
    url = "/x?" + urlencode(pairs)
    kept = [pair for pair in pairs if (pair[0] in names) == all_but]
    assert made.key(url) == made.key("/x?" + urlencode(kept))
    assert "\0" in made.key(url)
    others = {SearchVariance(names, all_but, not any_order), SearchVariance(names, not all_but, any_order)}
    assert all(other.key(url) != made.key(url) for other in others)
