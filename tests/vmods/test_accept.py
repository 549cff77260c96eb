"""VMOD accept."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench

TEXT = """
import accept;
sub vcl_init {
    new lang = accept.rule("en");
    lang.add("fr"); lang.add("DE"); lang.add("it"); lang.add("de"); lang.remove("IT");
}
sub vcl_recv { set req.http.out = lang.filter(req.http.lang); }
"""


@pytest.mark.parametrize(
    ("header", "result"),
    [
        ("fr", "fr"),
        ("De", "DE"),
        ("it", "en"),
        ("xx, fr;q=0.3, de;q=0.8", "DE"),
        ("fr;q=0.5,de;q=0.5", "fr"),
        ("fr;q=0", "en"),
        ("fr ; level=1 ; q=0.7, de;q=0.6", "fr"),
        ('fr;x="a,b";q=0.1, de;q=0.2', "DE"),
        ("fr;q=2", "en"),
        ("fr;q=.5", "en"),
        ("fr, de;;", "en"),
        ("*, fr", "fr"),
        ("", "en"),
    ],
)
def test_filter(header: str, result: str) -> None:
    assert Bench(TEXT).recv(lang=header).http.get("out") == result


def test_no_header_gives_the_fallback() -> None:
    assert Bench(TEXT).recv().http.get("out") == "en"
