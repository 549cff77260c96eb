"""docs/not-cached.md: each reason leaves the records that the page says it leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS
from varnishpy.kit.origins import Request

PAGE = (DOCS / "not-cached.md").read_text()
VCL = 'vcl 4.1;\nbackend app { .host = "127.0.0.1"; .port = "8080"; }\n'
Headers = dict[str, str]

KEPT_OUT = "TTL +VCL .* uncacheable"
# what the client sends, what the origin answers, which words of the page lead to it, which records there are
REASONS: list[tuple[Headers, Headers, str, list[str]]] = [
    ({"Cookie": "a=b"}, {}, "`ReqHeader Cookie: ...`", ["ReqHeader +Cookie: a=b", "VCL_call +PASS"]),
    ({"Authorization": "x"}, {}, "`ReqHeader Authorization: ...`", ["ReqHeader +Authorization:", "VCL_call +PASS"]),
    ({}, {"Set-Cookie": "a=b"}, "`BerespHeader Set-Cookie: ...`", ["BerespHeader +Set-Cookie", KEPT_OUT]),
    ({}, {"Cache-Control": "private"}, "`BerespHeader Cache-Control: private`", [KEPT_OUT]),
    ({}, {"Cache-Control": "no-store"}, "`no-store`", ["BerespHeader +Cache-Control", KEPT_OUT]),
    ({}, {"Cache-Control": "no-cache"}, "`no-cache`", ["BerespHeader +Cache-Control", KEPT_OUT]),
    ({}, {"Vary": "*"}, "`BerespHeader Vary: *`", ["BerespHeader +Vary: \\*", KEPT_OUT]),
    ({}, {"Cache-Control": "max-age=0"}, "`TTL RFC 0 ...`", ["TTL +RFC 0 "]),
    ({}, {"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, "an `Expires` in the past", ["TTL +RFC 0 "]),
    ({}, {"Cache-Control": "max-age=60", "Age": "90"}, "an `Age` beyond `max-age`", ["BerespHeader +Age", KEPT_OUT]),
    ({}, {":status": "500"}, "`BerespStatus 500`", ["BerespStatus +500", "TTL +RFC (0|-1) "]),
]


def test_reasons(varnishpy: Any, tmp_path: Path) -> None:
    fields: list[Headers] = []

    def app(request: Request) -> tuple[int, Headers, str]:
        answer = dict(fields[-1])
        return int(answer.pop(":status", "200")), answer, "page"

    path = tmp_path / "default.vcl"
    path.write_text(VCL)
    cache = varnishpy(path, backends={"app": app})
    for number, (sent, answered, words, records) in enumerate(REASONS):
        assert words in PAGE, words
        fields.append(answered)
        log = ""
        for _ in range(2):
            answer = cache.get(f"/{number}", headers=sent)
            assert not answer.hit, words
            log += answer.log
        for record in records:
            assert re.search(record, log), (words, record, log)
        if "uncacheable" in records[-1]:
            assert "HitMiss" in log, words


def test_without_any_of_these_headers_it_is_kept(varnishpy: Any, tmp_path: Path) -> None:
    path = tmp_path / "default.vcl"
    path.write_text(VCL)
    cache = varnishpy(path, backends={"app": lambda request: (200, {"Vary": "Accept-Encoding"}, "page")})
    cache.get("/").assert_miss()
    cache.travel(119)
    cache.get("/").assert_hit()
    assert "`default_ttl` (120 s)" in PAGE
    assert cache.get("/?utm_source=a").miss


@pytest.mark.parametrize("name", re.findall(r"`(MAIN\.\w+)`", PAGE))
def test_counters_exist(name: str) -> None:
    assert f"| `{name}` |" in (DOCS / "counters.md").read_text()
