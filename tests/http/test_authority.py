"""Host and :authority."""

from __future__ import annotations

import pytest

from varnishpy.http.authority import valid_authority

# none of them needs a control character to be wrong
BAD_HOSTS = [
    "a b", "a@b", "a\\b", "a?b", "a#b", "http://h", "a:80:90", "[::1", "::1]", "a:x", "a%zz", "a%2", "[1.2.3.4]", "[]",
    "[::g]", "[1::2::3]", ":80", "a<b", 'a"b', "a|b", "a^b", "a{b}", "\xe4", "[fe80::1%25lo]", "[v1]", "[v1.]",
]  # fmt: skip


@pytest.mark.parametrize("text", [*BAD_HOSTS, "a/b", "a b:80", " a", "a "])
def test_refused(text: str) -> None:
    assert not valid_authority(text)


@pytest.mark.parametrize(
    "text",
    [
        "a", "a:80", "a:", "a_b.example", "192.0.2.1:8080", "[::1]", "[::ffff:192.0.2.1]:80", "[v1.a:b]", "a%20b",
        "x!$&'()*+,;=~",
    ],
)  # fmt: skip
def test_valid(text: str) -> None:
    """RFC 3986 section 3.2.2."""
    assert valid_authority(text)


def test_empty() -> None:
    assert valid_authority("", True)
    assert not valid_authority("")
    assert not valid_authority(":80", True)
