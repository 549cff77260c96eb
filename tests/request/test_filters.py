"""gzip, ranges, ESI: on the way in and on the way out."""

from __future__ import annotations

import gzip
import threading
import zlib
from typing import Any

import pytest

from tests.request.request_harness import Answer, Cache
from varnishpy.backends.errors import FetchError
from varnishpy.params import table
from varnishpy.request.crc import crc32_combine

TEXT = b"All work and no play makes Jack a dull boy. " * 2000
GZIP = {"Accept-Encoding": "gzip"}


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


BOTH = pytest.mark.parametrize("taking", [False, True])


@BOTH
def test_gzip_object_for_both_kinds_of_clients(cache: Cache, taking: bool) -> None:
    cache.origin.on("/z", Answer(gz(TEXT), headers={"Content-Encoding": "gzip", "ETag": '"1"'}))
    packed = cache.get("/z", headers=GZIP, taking=taking)
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == TEXT
    assert packed.headers["vary"] == "Accept-Encoding"
    cache.idle(1)
    plain = cache.get("/z", taking=taking)
    assert plain.body == TEXT and "content-encoding" not in plain.headers
    assert plain.headers["content-length"] == str(len(TEXT))
    assert plain.headers["etag"] == 'W/"1"'
    assert len(cache.origin.requests) == 1
    cache.idle(1)


def test_do_gzip(cache: Cache) -> None:
    cache.vcl("sub vcl_backend_response { set beresp.do_gzip = true; }")
    cache.origin.on("/z", Answer(TEXT, headers={"ETag": '"1"'}))
    assert cache.get("/z").body == TEXT
    cache.idle(1)
    packed = cache.get("/z", headers=GZIP)
    assert gzip.decompress(packed.body) == TEXT and packed.headers["etag"] == 'W/"1"'


def test_do_gunzip(cache: Cache) -> None:
    cache.vcl("sub vcl_backend_response { set beresp.do_gunzip = true; }")
    cache.origin.on("/z", Answer(gz(TEXT), headers={"Content-Encoding": "gzip"}))
    client = cache.get("/z", headers=GZIP)
    assert client.body == TEXT and "content-encoding" not in client.headers


@pytest.mark.parametrize("damage", [b"no gzip at all", gz(TEXT)[:-20], gz(TEXT) + b"junk"])
def test_bad_gzip_is_not_stored(cache: Cache, damage: bytes, records: Any) -> None:
    cache.vcl("sub vcl_backend_response { set beresp.do_stream = false; }")
    cache.origin.on("/z", Answer(damage, headers={"Content-Encoding": "gzip"}))
    assert cache.get("/z", headers=GZIP).status == 503
    cache.idle(0)  # the fetch's log comes after its response
    assert any(line.startswith("FetchError ") for line in records.lines())


def test_unknown_filter(cache: Cache, records: Any) -> None:
    cache.vcl('sub vcl_backend_response { set beresp.filters = "gzip nonsense"; }')
    cache.origin.on("/z", Answer(b"x"))
    assert cache.get("/z").status == 503
    cache.idle(0)
    assert "FetchError Filter '...nonsense' not found" in records.lines()


@pytest.mark.parametrize(
    ("wanted", "status", "body", "range_"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-100", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_range_of_a_hit(cache: Cache, wanted: str, status: int, body: bytes, range_: str | None) -> None:
    cache.origin.on("/r", Answer(b"0123456789"))
    cache.get("/r")
    cache.idle(1)
    client = cache.get("/r", headers={"Range": wanted})
    assert (client.status, client.body, client.headers.get("content-range")) == (status, body, range_)
    assert client.headers["content-length"] == str(len(body))


@BOTH
def test_range_of_an_unpacked_object(cache: Cache, taking: bool) -> None:
    cache.origin.on("/z", Answer(gz(TEXT), headers={"Content-Encoding": "gzip"}))
    cache.get("/z")
    cache.idle(1)
    client = cache.get("/z", headers={"Range": "bytes=100-199"}, taking=taking)
    assert (client.status, client.body) == (206, TEXT[100:200])
    cache.idle(1)


def test_range_with_wrong_if_range(cache: Cache) -> None:
    cache.origin.on("/r", Answer(b"0123456789", headers={"ETag": '"1"'}))
    cache.get("/r")
    assert cache.get("/r", headers={"Range": "bytes=0-3", "If-Range": '"2"'}).status == 200
    assert cache.get("/r", headers={"Range": "bytes=0-3", "If-Range": '"1"'}).status == 206


def test_range_while_the_body_arrives(cache: Cache) -> None:
    gate = threading.Event()
    cache.origin.on("/r", Answer([b"01234", gate, b"56789"], kind="length", length=10, headers={}))
    client = cache.start("/r", headers={"Range": "bytes=4-5"})
    gate.set()
    assert client.wait().body == b"45"
    cache.idle(1)


# -- ESI ---------------------------------------------------------------------------------------------------------------

ESI = "sub vcl_backend_response { set beresp.do_esi = true; }"
PAGE = b"<html><!-- c --><esi:include src='/in?a=1&amp;b=2'/>mid<esi:remove>gone</esi:remove><!--esi shown-->end</html>"
RESULT = b"<html><!-- c -->[included]mid shownend</html>"


@BOTH
@pytest.mark.parametrize("packed_page", [False, True])
@pytest.mark.parametrize("packed_part", [False, True])
@pytest.mark.parametrize("headers", [{}, GZIP])
def test_esi(cache: Cache, taking: bool, packed_page: bool, packed_part: bool, headers: dict[str, str]) -> None:
    cache.vcl(ESI)
    coding = {"Content-Encoding": "gzip"}
    part = b"[included]"
    cache.origin.on("/page", Answer(gz(PAGE) if packed_page else PAGE, headers=coding if packed_page else {}))
    cache.origin.on("/in?a=1&b=2", Answer(gz(part) if packed_part else part, headers=coding if packed_part else {}))
    for _ in range(2):
        client = cache.get("/page", headers=headers, taking=taking)
        if packed_page and headers:
            assert client.headers["content-encoding"] == "gzip"
            assert gzip.decompress(client.body) == RESULT
        else:
            assert client.body == RESULT
        assert client.error is None and "content-length" not in client.headers
        cache.idle(2)
    assert len(cache.origin.requests) == 2


def test_esi_nested_in_gzip(cache: Cache) -> None:
    cache.vcl(ESI)
    coding = {"Content-Encoding": "gzip"}
    cache.origin.on("/1", Answer(gz(b"<a><esi:include src='/2'/></a>"), headers=coding))
    cache.origin.on("/2", Answer(gz(b"<b><esi:include src='/3'/></b>"), headers=coding))
    cache.origin.on("/3", Answer(gz(TEXT), headers=coding))
    client = cache.get("/1", headers=GZIP)
    assert gzip.decompress(client.body) == b"<a><b>" + TEXT + b"</b></a>"
    assert cache.get("/1").body == b"<a><b>" + TEXT + b"</b></a>"


def test_esi_depth_is_limited(cache: Cache, records: Any) -> None:
    cache.vcl(ESI)
    cache.origin.on("/", Answer(b"<x><esi:include src='/'/></x>"))
    client = cache.get("/")
    depth = 5
    assert client.body == b"<x>" * (depth + 1) + b"</x>" * (depth + 1)
    assert "VCL_Error ESI depth limit reached (param max_esi_depth = 5)" in records.lines()


def test_esi_switched_off_delivers_the_document(cache: Cache) -> None:
    cache.vcl(ESI + "sub vcl_deliver { set resp.do_esi = false; }")
    cache.origin.on("/page", Answer(gz(PAGE), headers={"Content-Encoding": "gzip"}))
    assert cache.get("/page").body == PAGE


def test_esi_include_waits_for_a_busy_object(cache: Cache) -> None:
    cache.vcl('sub vcl_backend_response { if (bereq.url == "/page") { set beresp.do_esi = true; } }')
    gate = threading.Event()
    cache.origin.on("/page", Answer(b"<x><esi:include src='/slow'/></x>"))
    cache.origin.on("/slow", Answer(b"slow", gate=gate))
    first = cache.start("/slow")
    cache.origin.wait_requests(1)
    page = cache.start("/page")
    cache.origin.wait_requests(2)
    gate.set()
    assert first.wait().body == b"slow" and page.wait().body == b"<x>slow</x>"


def test_esi_onerror(cache: Cache) -> None:
    cache.vcl(ESI)
    cache.origin.on("/stop", Answer(b"<x>1<esi:include src='/bad'/>2</x>"))
    cache.origin.on("/go", Answer(b"<x>1<esi:include src='/bad' onerror='continue'/>2</x>"))
    cache.origin.on("/bad", FetchError("nope"))
    table.set("feature", "+esi_include_onerror")
    try:
        assert cache.get("/go").body == b"<x>12</x>"
        stopped = cache.get("/stop")
        assert stopped.body == b"<x>1" and stopped.error is not None and stopped.doclose is not None
    finally:
        table.set("feature", "-esi_include_onerror")


def test_crc_of_joined_data() -> None:
    for size in (0, 1, 100, 70000):
        other = TEXT[:size]
        assert crc32_combine(zlib.crc32(TEXT), zlib.crc32(other), size) == zlib.crc32(TEXT + other)
