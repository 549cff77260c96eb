"""A shop: units for the rules, a cache for what follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")


@pytest.fixture
def shop(vcl):
    return vcl.unit(VCL)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/shoes?utm_source=mail&color=red", "/shoes?color=red"),
        ("/shoes?b=2&a=1&gclid=x", "/shoes?a=1&b=2"),
        ("/shoes?fbclid=x", "/shoes"),
        ("/shoes", "/shoes"),
    ],
)
def test_campaigns_make_no_other_page(shop, url, wanted):
    assert shop.recv(url=url).req.url == wanted


@pytest.mark.parametrize("url", ["/cart", "/cart/add?item=1", "/checkout", "/account/orders"])
def test_private_pages_are_passed_with_their_cookies(shop, url):
    r = shop.recv(url=url, headers={"Cookie": "session=1"})
    assert r.action == "pass"
    assert r.req.http["Cookie"] == "session=1"


def test_only_the_language_of_a_cookie_counts(shop):
    r = shop.recv(headers={"Cookie": "session=1; language=de; theme=dark"})
    assert r.req.http["X-Language"] == "de"
    assert "Cookie" not in r.req.http
    assert shop.hash(headers={"X-Language": "de"}).hash_parts == ["de", "/", "example.com"]
    assert "X-Language" not in shop.recv(headers={"Cookie": "session=1"}).req.http


def test_strangers_cannot_purge(shop):
    assert shop.recv(method="PURGE", client_ip="203.0.113.9").synth == (403, "Not for you")
    assert shop.recv(method="PURGE", client_ip="10.1.2.3").action == "purge"


def test_errors_do_not_replace_pages(shop):
    assert shop.backend_response(status=404).beresp.ttl == 30
    assert shop.backend_response(status=200).beresp.grace == 3600
    with shop.mock("xkey.softpurge", 3) as purge:
        assert shop.recv(method="PURGE", client_ip="10.0.0.1", headers={"xkey-purge": "shoes"}).synth[1] == "Purged 3"
    assert purge.calls == [("shoes",)]


def test_tags_and_the_way_to_the_origin(varnishpy):
    answers = []

    def app(request):
        answers.append(request.url)
        return 500 if len(answers) == 2 else (200, {"xkey": "shoes", "Cache-Control": "max-age=60"}, "page")

    cache = varnishpy(VCL, backends={"app": app})
    cache.get("/shoes").assert_miss().assert_no_header("xkey").assert_header("X-Cache", "miss")
    cache.get("/shoes").assert_hit().assert_header("X-Cache", "hit")
    cache.request("PURGE", headers={"xkey-purge": "shoes"}).assert_status(200)
    # stale now: it is served while the cache asks anew, gets an error, and keeps what it has
    assert cache.get("/shoes").text == "page"
    cache.wait_counter("MAIN.bgfetch_no_thread", 0)
    assert cache.get("/shoes").status == 200
    cache.travel(7200)
    cache.get("/shoes").assert_miss()
