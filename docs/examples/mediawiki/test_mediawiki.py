"""MediaWiki: readers, editors, purges."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")


@pytest.fixture
def wiki(vcl):
    return vcl.unit(VCL)


@pytest.mark.parametrize(
    ("headers", "url", "left"),
    [
        ({"Accept-Encoding": "br, gzip;q=1.0"}, "/wiki/A", "gzip"),
        ({"Accept-Encoding": "br"}, "/wiki/A", None),
        ({"Accept-Encoding": "gzip"}, "/a.png", None),
        ({"Accept-Encoding": "gzip", "User-Agent": "MSIE 6"}, "/wiki/A", None),
        ({}, "/wiki/A", None),
    ],
)
def test_encodings_are_few(wiki, headers, url, left):
    assert wiki.recv(url=url, headers=headers).req.http.get("Accept-Encoding") == left


def test_editors_are_passed(wiki):
    assert wiki.recv(method="POST").action == "pass"
    assert wiki.recv(headers={"Cookie": "enwikiUserID=5"}).action == "pass"
    assert wiki.recv(headers={"Authorization": "Basic x"}).action == "pass"
    r = wiki.recv(headers={"Cookie": "seen=1"})
    assert (r.action, "Cookie" in r.req.http, r.called("normalise_encoding")) == ("hash", False, True)


def test_the_mobile_site_is_another(wiki):
    assert wiki.recv(headers={"Host": "m.wiki.example"}).req.http["X-Variant"] == "mobile"
    assert wiki.hash(headers={"X-Variant": "mobile"}).hash_parts[0] == "mobile"


def test_purges_come_from_the_wiki(wiki):
    assert wiki.recv(method="PURGE", client_ip="203.0.113.1").synth[0] == 405
    assert wiki.recv(method="PURGE", client_ip="172.21.0.5").action == "purge"


def test_responses(wiki):
    r = wiki.backend_response(response={"Vary": "Accept-Encoding, Cookie"})
    assert r.beresp.http["Vary"] == "Accept-Encoding"
    r = wiki.backend_response(status=503)
    assert (r.beresp.ttl, r.beresp.uncacheable) == (5, True)


def test_revalidation_is_shown(wiki):
    assert wiki.miss(headers={"If-None-Match": '"x"'}).req.http["X-Revalidates"] == "1"
    assert wiki.miss().action == "fetch"
    assert "X-Revalidated" in wiki.deliver(headers={"X-Revalidates": "1"}).resp.http


def test_a_page_changes(varnishpy):
    text = {"A": "old"}
    cache = varnishpy(VCL, backends={"wiki": lambda request: (200, {"Cache-Control": "s-maxage=600"}, text["A"])})
    assert cache.get("/wiki/A").text == "old"
    text["A"] = "new"
    assert cache.get("/wiki/A", headers={"Cookie": "enwikiUserID=5"}).assert_pass().text == "new"
    assert cache.get("/wiki/A").assert_hit().text == "old"
    cache.request("PURGE", "/wiki/A")
    assert cache.get("/wiki/A", http2=True).text == "new"
