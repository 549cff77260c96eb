"""Device detection: browsers, hints, choices; and that no client can choose a page by a header."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.kit import unit

VCL = Path(__file__).with_name("default.vcl")
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148"
IPAD = "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X)"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/120 Mobile Safari/537.36"
PIXEL_TABLET = "Mozilla/5.0 (Linux; Android 14; Pixel Tablet) Chrome/120 Safari/537.36"
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64) Firefox/121.0"


@pytest.fixture
def site(vcl):
    return vcl.unit(VCL)


@pytest.mark.parametrize(
    ("headers", "device"),
    [
        ({"User-Agent": IPHONE}, "phone"),
        ({"User-Agent": IPAD}, "tablet"),
        ({"User-Agent": PIXEL}, "phone"),
        ({"User-Agent": PIXEL_TABLET}, "tablet"),
        ({"User-Agent": LAPTOP}, "desktop"),
        ({"User-Agent": LAPTOP, "Sec-CH-UA-Mobile": "?1"}, "phone"),
        ({"User-Agent": IPHONE, "Cookie": "a=b; device=desktop"}, "desktop"),
        ({"User-Agent": IPHONE, "Cookie": "device=fridge"}, "phone"),
        ({"X-Device": "tablet"}, "desktop"),
    ],
)
def test_devices(site, headers, device):
    r = site.recv(headers=headers)
    assert (r.req.http["X-Device"], "Cookie" in r.req.http) == (device, False)


def test_pages_differ_and_assets_do_not(site):
    assert site.hash(url="/", headers={"X-Device": "phone"}).hash_parts[0] == "phone"
    assert site.hash(url="/assets/a.js", headers={"X-Device": "phone"}).hash_parts[0] == "/assets/a.js"
    assert site.deliver(url="/").resp.http["Vary"] == "User-Agent, Cookie"
    assert "Vary" not in site.deliver(url="/assets/a.js").resp.http


def test_visitors_choose(site):
    assert site.recv(url="/switch?to=desktop").synth == (302, "desktop")
    r = site.synth(status=302, reason="desktop")
    assert (r.resp.http["Set-Cookie"], r.resp.reason) == ("device=desktop; Path=/; Max-Age=31536000", "Found")
    assert "Location" not in site.synth(status=404).resp.http


UNIT = unit(VCL)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@given(agent=TEXT, forged=TEXT, cookie=TEXT)
def test_whatever_is_sent_there_are_three_kinds_of_pages(agent, forged, cookie):
    r = UNIT.recv(headers={"User-Agent": agent, "X-Device": forged, "Cookie": cookie})
    assert r.req.http["X-Device"] in ("phone", "tablet", "desktop")


def test_two_phones_share_a_page(varnishpy):
    cache = varnishpy(VCL, backends={"web": lambda request: request.header("x-device") or "none"})
    assert cache.get("/", {"User-Agent": IPHONE}).assert_miss().text == "phone"
    assert cache.get("/", {"User-Agent": PIXEL}).assert_hit().text == "phone"
    assert cache.get("/", {"User-Agent": LAPTOP}).assert_miss().text == "desktop"
