"""WordPress: who shares pages and who does not, and how an editor's change gets out."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")
LOGGED_IN = {"Cookie": "a=b; wordpress_logged_in_5f=anna"}


@pytest.fixture
def blog(vcl):
    return vcl.unit(VCL)


@pytest.mark.parametrize("url", ["/wp-admin/", "/wp-login.php", "/?p=1&preview=true", "/xmlrpc.php"])
def test_the_workshop_is_passed(blog, url):
    assert blog.recv(url=url).action == "pass"


def test_readers_share_pages(blog):
    r = blog.recv(url="/hello-world/", headers={"Cookie": "_ga=1"})
    assert (r.action, "Cookie" in r.req.http) == ("hash", False)
    assert blog.recv(url="/hello-world/", headers=LOGGED_IN).action == "pass"
    assert blog.recv(url="/wp-content/style.css?ver=1", headers=LOGGED_IN).action == "hash"


@pytest.mark.parametrize("method", ["PURGE", "BAN"])
def test_only_wordpress_itself_may_invalidate(blog, method):
    assert blog.recv(method=method, client_ip="203.0.113.1").synth[0] == 405
    assert blog.recv(method=method, url="/x", client_ip="127.0.0.1").action in ("purge", "synth")


def test_bans_name_url_and_host(blog):
    r = blog.recv(method="BAN", url="/category/", client_ip="127.0.0.1", headers={"Host": "blog.example"})
    assert r.bans == ["obj.http.X-Url ~ /category/ && obj.http.X-Host == blog.example"]


def test_times_and_cookies(blog):
    r = blog.backend_response(url="/hello/", response={"Set-Cookie": "a=b", "Cache-Control": "max-age=60"})
    assert (r.beresp.ttl, "Set-Cookie" in r.beresp.http) == (86400, False)
    assert "Set-Cookie" in blog.backend_response(url="/wp-login.php", response={"Set-Cookie": "a=b"}).beresp.http
    assert blog.backend_response(status=302).beresp.ttl == 600
    assert blog.backend_response(status=404).beresp.ttl == 120


def test_a_change_gets_out(varnishpy):
    posts = {"text": "first"}
    cache = varnishpy(VCL, backends={"php": lambda request: posts["text"]})
    assert cache.get("/post/").text == "first"
    posts["text"] = "second"
    cache.get("/post/").assert_hit().assert_no_header("X-Url")
    cache.request("BAN", "/post/").assert_status(200)
    assert cache.get("/post/").text == "second"
