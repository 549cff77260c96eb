"""Cache-Status (RFC 9211): one member that says what was done."""

from __future__ import annotations

import threading

import http_sf
import pytest

from tests.conftest import Setting
from tests.request.request_harness import Answer, Cache
from tests.request.test_rfc9111 import grow_old

KEPT = {"Cache-Control": "max-age=100"}


@pytest.fixture(autouse=True)
def turned_on(setting: Setting) -> None:
    setting("feature", "+cache_status")


def told(cache: Cache, url: str = "/s", **more: object) -> str:
    text = cache.get(url, **more).headers["cache-status"]
    http_sf.parse(text.encode("latin-1"), tltype="list")  # it is a valid structured field
    name, _, rest = text.partition("; ")
    assert name == "varnishpy"
    return rest


def test_miss_and_hit(cache: Cache) -> None:
    cache.origin.on("/s", Answer(b"x", headers=KEPT))
    assert told(cache) in (
        "fwd=uri-miss; fwd-status=200; stored; ttl=100",
        "fwd=uri-miss; fwd-status=200; stored; ttl=99",
    )
    assert told(cache).startswith("hit; ttl=9")


def test_another_variant(cache: Cache) -> None:
    cache.origin.on("/s", Answer(b"x", headers={**KEPT, "Vary": "A"}))
    told(cache, headers={"A": "1"})
    assert told(cache, headers={"A": "2"}).startswith("fwd=vary-miss; fwd-status=200; stored")


def test_pass(cache: Cache) -> None:
    cache.origin.on("/s", Answer(b"x", status=201))
    assert told(cache, headers={"Cookie": "a=b"}) == "fwd=bypass; fwd-status=201"
    assert told(cache, method="POST") == "fwd=method; fwd-status=201"


def test_uncacheable(cache: Cache) -> None:
    cache.origin.on("/s", Answer(b"x", headers={"Cache-Control": "private"}))
    assert told(cache) == "fwd=uri-miss; fwd-status=200"
    assert told(cache) == "fwd=uri-miss; fwd-status=200; detail=hit-for-miss"


def test_stale(cache: Cache) -> None:
    gate = threading.Event()
    cache.origin.on("/s", Answer(b"x", headers=KEPT), Answer(b"x", headers=KEPT, gate=gate))
    told(cache)
    grow_old(cache, 105)
    assert told(cache).startswith("hit; ttl=-")
    gate.set()
    cache.vcl("sub vcl_recv { set req.grace = 0s; }")
    cache.origin.on("/t", Answer(b"x", headers={**KEPT, "ETag": '"b"'}), Answer(status=304, headers=KEPT))
    told(cache, "/t")
    grow_old(cache, 105)
    assert told(cache, "/t").startswith("fwd=stale; stored; ttl=")


def test_caches_before_us_stay_in_front(cache: Cache) -> None:
    cache.origin.on("/s", Answer(b"x", headers={**KEPT, "Cache-Status": "Shield; hit"}))
    assert cache.get("/s").headers["cache-status"].startswith("Shield; hit, varnishpy; fwd=uri-miss")


def test_vcl_may_take_it_away(cache: Cache) -> None:
    cache.vcl("sub vcl_deliver { unset resp.http.Cache-Status; }")
    cache.origin.on("/s", Answer(b"x"))
    assert "cache-status" not in cache.get("/s").headers
