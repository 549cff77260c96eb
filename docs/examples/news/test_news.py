"""A news site: fragments, and what happens when the newsroom's server is down."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")
HTML = {"Content-Type": "text/html", "Cache-Control": "max-age=60"}


@pytest.fixture
def news(vcl):
    return vcl.unit(VCL)


def test_images_have_a_backend_of_their_own(news):
    r = news.recv(url="/img/a.png", headers={"Cookie": "a=b"})
    assert (r.action, r.backend, "Cookie" in r.req.http) == ("hash", "images", False)


def test_fragments_are_no_pages(news):
    assert news.recv(url="/esi/teaser").synth[0] == 404
    assert news.recv(url="/esi/teaser", esi_level=1).action == "hash"
    assert news.recv(url="/esi/greeting", esi_level=1, headers={"Cookie": "subscriber=1"}).action == "pass"


def test_grace_depends_on_the_health_of_the_newsroom(news):
    assert news.recv().req.grace == 30
    news.health("cms", False)
    assert news.recv().req.grace != 30


def test_times(news):
    assert news.backend_response(url="/breaking/1", response=HTML).beresp.ttl == 5
    assert news.backend_response(url="/x", response={"Cache-Control": "max-age=1"}).beresp.ttl == 60
    r = news.backend_response(url="/x", response=HTML)
    assert (r.beresp.do_esi, r.beresp.do_gzip, r.beresp.grace) == (True, True, 86400)


def test_a_page_outlives_its_fragments(news):
    r = news.backend_error(url="/esi/teaser")
    assert (r.beresp.status, r.body) == (200, b"<!-- not available -->")
    assert news.backend_error(url="/page").beresp.status == 503


def test_stale_pages_say_so(news):
    assert "Warning" in news.deliver(age=120).resp.http
    assert "Warning" not in news.deliver(age=10).resp.http


def test_a_page_is_put_together(varnishpy):
    pages = {
        "/": (200, HTML, '<h1>News</h1><esi:include src="/esi/teaser"/><esi:include src="/esi/gone"/>'),
        "/esi/teaser": (200, HTML, "<p>Teaser</p>"),
        "/esi/gone": (503, {"Content-Type": "text/html"}, "oops"),
    }
    cache = varnishpy(VCL, backends={"cms": lambda request: pages[request.path], "images": lambda request: b"png"})
    cache.healthy("cms")
    assert cache.get("/").text == "<h1>News</h1><p>Teaser</p>oops"
    assert cache.get("/").hit
    cache.sick("cms")
    cache.travel(3600)
    assert "<p>Teaser</p>" in cache.get("/").assert_header("Warning").text
