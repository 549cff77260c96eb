"""Several sites: which program a host goes to, and what each does by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture
def shop(vcl):
    return vcl.unit(FOLDER / "shop.vcl")


@pytest.fixture
def blog(vcl):
    return vcl.unit(FOLDER / "blog.vcl")


@pytest.fixture
def top(vcl, shop, blog):
    return vcl.unit(FOLDER / "default.vcl", labels={"site-shop": shop, "site-blog": blog})


@pytest.mark.parametrize(
    ("host", "action"),
    [
        ("shop.example", "vcl"),
        ("WWW.Shop.Example:443", "vcl"),
        ("blog.example", "vcl"),
        ("anna.blog.example", "vcl"),
        ("notblog.example", "synth"),
        ("evil.example", "synth"),
    ],
)
def test_hosts(top, host, action):
    assert top.recv(headers={"Host": host}).action == action


def test_strangers_are_told(top):
    assert top.recv(headers={"Host": "evil.example"}).synth == (421, "Misdirected Request")
    assert b"evil.example" in top.synth(status=421, headers={"Host": "evil.example"}).body


def test_the_shop_has_one_name(shop):
    r = shop.recv(url="/a?b", headers={"Host": "www.shop.example"})
    assert r.synth == (301, "https://shop.example/a?b")
    r = shop.synth(status=301, reason="https://shop.example/")
    assert (r.resp.http["Location"], r.resp.reason) == ("https://shop.example/", "Moved Permanently")
    assert "Location" not in shop.synth(status=404).resp.http
    assert "Cookie" not in shop.recv(headers={"Host": "shop.example", "Cookie": "a=b"}).req.http


def test_the_blog_keeps_its_pages(blog):
    assert blog.backend_response(response={"Cache-Control": "max-age=1"}).beresp.ttl == 600


def test_they_run_side_by_side(varnishpy):
    cache = varnishpy(FOLDER / "shop.vcl", backends={"shop": lambda request: "the shop"}, fresh=True)
    cache.cli("vcl.label", "site-shop", "boot")
    cache.cli("vcl.load", "blog", str(FOLDER / "blog.vcl"))
    cache.cli("vcl.label", "site-blog", "blog")
    cache.cli("vcl.load", "top", str(FOLDER / "default.vcl"))
    cache.cli("vcl.use", "top")
    assert cache.get("/", {"Host": "shop.example"}).text == "the shop"
    assert (
        cache.get("/x", {"Host": "www.shop.example"}).assert_status(301).headers["Location"] == "https://shop.example/x"
    )
    assert cache.get("/", {"Host": "evil.example"}).status == 421
