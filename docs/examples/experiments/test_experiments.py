"""A/B tests: who gets which arm, and that an arm stays with its visitor."""

from __future__ import annotations

from pathlib import Path

import pytest

VCL = Path(__file__).with_name("default.vcl")


@pytest.fixture
def site(vcl):
    return vcl.unit(VCL)


@pytest.mark.parametrize("arm", ["a", "b", "control"])
def test_an_arm_stays(site, arm):
    r = site.recv(headers={"Cookie": f"x=y; arm={arm}"})
    assert (r.req.http["X-Arm"], "X-New-Arm" in r.req.http, "Cookie" in r.req.http) == (arm, False, False)


@pytest.mark.parametrize(("dice", "arm"), [([10.0], "control"), ([60.0, 10.0], "a"), ([60.0, 90.0], "b")])
def test_a_new_visitor_is_given_one(site, dice, arm):
    rolls = iter(dice)
    with site.mock("std.random", lambda low, high: next(rolls)):
        r = site.recv(headers={"Cookie": "arm=forged", "X-Arm": "forged"})
    assert (r.req.http["X-Arm"], r.req.http["X-New-Arm"]) == (arm, "1")


def test_static_files_have_no_arm(site):
    r = site.recv(url="/static/a.css", headers={"Cookie": "arm=a"})
    assert (r.action, "X-Arm" in r.req.http) == ("hash", False)
    assert site.hash(url="/static/a.css").hash_parts == ["/static/a.css", "example.com"]
    assert site.hash(headers={"X-Arm": "b"}).hash_parts[0] == "b"


def test_pages_of_an_arm_set_no_cookies(site):
    assert "Set-Cookie" not in site.backend_response(headers={"X-Arm": "a"}, response={"Set-Cookie": "s=1"}).beresp.http
    assert "Set-Cookie" in site.backend_response(response={"Set-Cookie": "s=1"}).beresp.http


def test_the_visitor_is_told_once(site):
    r = site.deliver(headers={"X-Arm": "a", "X-New-Arm": "1"})
    assert r.resp.http["Set-Cookie"].startswith("arm=a;")
    assert "Set-Cookie" not in site.deliver(headers={"X-Arm": "a"}).resp.http


def test_visitors_of_an_arm_share_its_page(varnishpy):
    cache = varnishpy(VCL, backends={"web": lambda request: f"page of {request.header('x-arm')}"})
    for arm in ("a", "b"):
        assert cache.get("/", {"Cookie": f"arm={arm}; session=1"}).assert_miss().text == f"page of {arm}"
        assert cache.get("/", {"Cookie": f"arm={arm}; session=2"}).assert_hit().text == f"page of {arm}"
    first = cache.get("/")
    arm = first.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    assert first.text == f"page of {arm}"
