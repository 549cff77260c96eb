"""Drupal: tags, sessions, two web servers."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")


@pytest.fixture
def site(vcl):
    return vcl.unit(VCL)


def test_the_second_server_takes_over(site):
    assert site.recv().backend == "web1"
    site.health("web1", False)
    assert site.recv().backend == "web2"


def test_bans(site):
    assert site.recv(method="BAN", client_ip="203.0.113.1").synth[0] == 403
    assert site.recv(method="BAN", client_ip="10.10.3.4").synth == (400, "Cache-Tags missing")
    r = site.recv(method="BAN", client_ip="10.10.3.4", headers={"Cache-Tags": "node:5"})
    assert r.bans == [r"obj.http.Cache-Tags ~ (^|\s)node:5(\s|$)"]


@pytest.mark.parametrize("url", ["/user/login", "/admin", "/node/add?type=page"])
def test_the_back_office_is_passed(site, url):
    assert site.recv(url=url).action == "pass"


@pytest.mark.parametrize(
    ("cookie", "action", "left"),
    [
        ("_ga=1; theme=dark", "hash", None),
        ("_ga=1; SSESSab12=x; theme=dark", "pass", "SSESSab12=x"),
        ("SESS9=y; has_js=1", "pass", "SESS9=y"),
        ("NO_CACHE=1", "pass", "NO_CACHE=1"),
    ],
)
def test_only_sessions_are_kept_of_a_cookie(site, cookie, action, left):
    r = site.recv(headers={"Cookie": cookie})
    assert (r.action, r.req.http.get("Cookie")) == (action, left)


def test_errors(site):
    assert site.backend_response(status=502).action == "retry"
    assert site.backend_response(status=502, retries=1).action == "deliver"
    assert site.backend_fetch(retries=1).backend == "web2"
    assert site.backend_fetch().backend == "web1"
    r = site.backend_error()
    assert (r.body, r.beresp.http["Retry-After"]) == (b"<h1>We will be back in a moment</h1>", "5")


def test_a_broken_server_is_not_seen(varnishpy):
    good = (200, {"Cache-Tags": "node:1"}, "ok")
    cache = varnishpy(VCL, backends={"web1": lambda request: 500, "web2": lambda request: good})
    assert cache.get("/").assert_no_header("Cache-Tags").text == "ok"
    cache.get("/").assert_hit()
    cache.request("BAN", headers={"Cache-Tags": "node:1"})
    cache.get("/").assert_miss()
