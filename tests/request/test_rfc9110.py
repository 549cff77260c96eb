"""What RFC 9110 demands of conditions, ranges and methods, through the state machines."""

from __future__ import annotations

import gzip
import socket
import threading
from typing import Any

import pytest

from tests.conftest import Setting
from tests.request.request_harness import Answer, Body, Cache
from varnishpy.backends.conn_pool import ConnPool, Endpoint
from varnishpy.backends.connection import Connection
from varnishpy.request.transport import BodyError

ETAG = {"ETag": '"b"', "Cache-Control": "max-age=100"}
KEEP = "sub vcl_backend_response { set beresp.ttl = 100s; return (deliver); }"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("If-None-Match", '"a", "b"')], 304),
        ([("If-None-Match", '"a"'), ("If-None-Match", '"b"')], 304),
        ([("If-None-Match", 'W/"b"')], 304),
        ([("If-None-Match", '"x,y" , "b"')], 304),
        ([("If-None-Match", '"b, c"')], 200),
        ([("If-None-Match", "*")], 304),
        ([("If-None-Match", '"a"'), ("If-None-Match", '"c"')], 200),
        ([("If-None-Match", '"*"')], 200),
        ([("If-None-Match", "b")], 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_is_a_list(cache: Cache, headers: list[tuple[str, str]], status: int, method: str) -> None:
    """Section 13.1.2: false when any listed tag matches by the weak comparison, or for ``*`` when there is anything."""
    cache.origin.on("/c", Answer(b"body", headers=ETAG))
    cache.get("/c")
    client = cache.get("/c", method=method, headers=headers)
    assert client.status == status
    assert client.body == (b"body" if status == 200 and method == "GET" else b"")


def test_the_last_octet_asked_for_may_be_any_number(cache: Cache) -> None:
    """Section 14.1.2: what lies beyond the end means up to the end, however many digits it has."""
    cache.origin.on("/big", Answer(b"0123456789", headers=ETAG))
    for value in ("bytes=7-99999999999999999999999", f"bytes=7-{'9' * 5000}", "bytes=-0003", f"bytes=7-{2**63}"):
        client = cache.get("/big", headers={"Range": value})
        assert (client.status, client.body) == (206, b"789"), value
    assert cache.get("/big", headers={"Range": f"bytes=-{'9' * 30}"}).body == b"0123456789"
    assert cache.get("/big", headers={"Range": f"bytes={'9' * 30}-"}).status == 416


@pytest.mark.parametrize("control", [['content="ESI/1.0"', "no-store"], ['content="max-age=5"', "No-Store;edge"]])
def test_all_lines_of_surrogate_control_count(cache: Cache, control: list[str]) -> None:
    fields = [*[("Surrogate-Control", line) for line in control], ("Cache-Control", "max-age=100")]
    cache.origin.on("/s", Answer(b"body", headers=fields))
    cache.get("/s")
    cache.get("/s")
    assert len(cache.origin.requests) == 2


def test_a_star_matches_what_has_no_tag(cache: Cache) -> None:
    cache.origin.on("/n", Answer(b"body", headers={"Cache-Control": "max-age=100"}))
    cache.get("/n")
    assert cache.get("/n", headers={"If-None-Match": "*"}).status == 304
    assert cache.get("/n", headers={"If-None-Match": '"b"'}).status == 200


def test_tags_are_compared_weakly_in_ranges_too(cache: Cache, setting: Setting) -> None:
    """Section 13.1.2; with ``feature=+cache_compat`` strongly, as Varnish does."""
    cache.origin.on("/w", Answer(b"body", headers={**ETAG, "ETag": 'W/"b"'}))
    cache.get("/w")
    asked = {"If-None-Match": 'W/"b"', "Range": "bytes=0-1"}
    assert cache.get("/w", headers=asked).status == 304
    setting("feature", "+cache_compat")
    assert cache.get("/w", headers=asked).status == 206


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_conditions_are_for_get_and_head(cache: Cache, method: str) -> None:
    """Sections 13.2.1 and 13.1.3: the origin has acted on the request; its answer must not be turned into a 304."""
    date = "Thu, 26 Nov 2020 13:46:59 GMT"
    cache.origin.on("/p", Answer(b"done", headers={**ETAG, "Last-Modified": date}))
    for headers in ({"If-None-Match": '"b"'}, {"If-Modified-Since": date}):
        client = cache.get("/p", method=method, headers=headers)
        assert (client.status, client.body) == (200, b"done")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("wanted", ["bytes=900-", "bytes=0-1"])
def test_ranges_are_for_get(cache: Cache, method: str, wanted: str) -> None:
    """Section 14.2: a server MUST ignore a Range header field received with another method than GET."""
    cache.origin.on("/r", Answer(b"done"))
    client = cache.get("/r", method=method, headers={"Range": wanted})
    assert (client.status, client.body) == (200, b"done")


def test_a_head_ignores_ranges(cache: Cache) -> None:
    cache.origin.on("/h", Answer(b"0123456789", headers=ETAG))
    cache.get("/h")
    client = cache.get("/h", method="HEAD", headers={"Range": "bytes=0-1"})
    assert (client.status, client.headers["content-length"]) == (200, "10")
    assert "content-range" not in client.headers


def test_a_purge_ignores_ranges(cache: Cache) -> None:
    cache.vcl('sub vcl_recv { if (req.method == "PURGE") { return (purge); } }')
    client = cache.get("/h", method="PURGE", headers={"Range": "bytes=90000-"})
    assert client.status == 200


@pytest.mark.parametrize("way", ["gunzip", "esi"])
def test_head_announces_what_get_would_send(cache: Cache, way: str) -> None:
    """Section 9.3.2: the same fields as for GET; Content-Length may be left out, but not be another one."""
    plain = b"<p>" + b"x" * 1000 + b"</p><esi:remove>y</esi:remove>"
    if way == "esi":
        cache.vcl("sub vcl_backend_response { set beresp.do_esi = true; }")
        cache.origin.on("/x", Answer(plain, headers=ETAG))
    else:
        cache.origin.on("/x", Answer(gzip.compress(plain), headers={**ETAG, "Content-Encoding": "gzip"}))
    cache.get("/x")
    got = cache.get("/x")
    head = cache.get("/x", method="HEAD")
    assert head.body == b""
    assert head.headers.get("content-length") == got.headers.get("content-length")
    assert head.headers.get("content-length") == (None if way == "esi" else str(len(plain)))


def test_a_passed_head_keeps_what_the_origin_said(cache: Cache) -> None:
    cache.vcl("sub vcl_recv { return (pass); }")
    cache.origin.on("/x", Answer(b"x" * 37, headers={"Content-Encoding": "gzip"}))
    head = cache.get("/x", method="HEAD", headers={"Accept-Encoding": "gzip"})
    assert (head.headers["content-length"], head.headers["content-encoding"]) == ("37", "gzip")


@pytest.mark.parametrize("taking", [False, True], ids=["pulling", "pushing"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_gzip_stream_without_its_end_is_no_complete_body(cache: Cache, taking: bool, pieces: int) -> None:
    """Section 6.1: a message is complete when all octets of its framing are received; so the last must not be sent."""
    whole = gzip.compress(b"".join(str(n).encode() for n in range(3000)))[:-4]
    size = len(whole) // pieces + 1
    parts: list[Any] = [whole[at : at + size] for at in range(0, len(whole), size)]
    gate = threading.Event()
    answer = Answer([gate, *parts], headers={"Content-Encoding": "gzip"}, kind="length", length=len(whole))
    cache.origin.on("/g", answer)
    client, req = cache.request("/g", headers={"Accept-Encoding": "gzip"}, taking=taking)
    client.send(req)
    assert client.started.wait(4)  # it is told the length before anybody can know
    gate.set()
    client.wait()
    assert client.headers["content-length"] == str(len(whole))
    assert client.error is not None
    assert len(client.body) < len(whole)


def test_two_lines_of_content_encoding_are_a_list(cache: Cache) -> None:
    """Section 5.3: ``gzip`` twice was packed twice, whether in one line or in two; nobody unpacks it here."""
    packed = gzip.compress(gzip.compress(b"x"))
    cache.origin.on("/t", Answer(packed, headers=[("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]))
    client = cache.get("/t")
    assert client.body == packed
    assert client.headers["content-encoding"] == "gzip"


def test_proxy_connection_is_for_this_hop(cache: Cache) -> None:
    """Section 7.6.1."""
    cache.origin.on("/pc", Answer(b"x", headers={"Proxy-Connection": "keep-alive"}))
    client = cache.get("/pc", headers={"Proxy-Connection": "keep-alive"})
    assert not cache.origin.requests[-1].has("proxy-connection")
    assert "proxy-connection" not in client.headers


@pytest.mark.parametrize(
    ("surrogate", "cached"),
    [("content=\"ESI/1.0\"", False), ("max-age=5", True), ("no-store", False), ("no-store, max-age=5", False)],
)  # fmt: skip
def test_a_surrogate_control_that_says_nothing_of_storing(cache: Cache, surrogate: str, cached: bool) -> None:
    """RFC 9111 section 5.2.2.7: a shared cache must not store what is private."""
    cache.origin.on("/s", Answer(b"x", headers={"Surrogate-Control": surrogate, "Cache-Control": "private, max-age=9"}))
    for _ in range(2):
        cache.get("/s")
    assert len(cache.origin.requests) == (1 if cached else 2)


@pytest.mark.parametrize("value", ["Foo, *", "*", "*,*"])
def test_a_star_among_vary_is_shared_with_nobody(cache: Cache, value: str) -> None:
    """RFC 9111 section 4.1, whatever VCL makes of it."""
    cache.vcl(KEEP)
    cache.origin.on("/v", Answer(b"x", headers={"Vary": value, "Cache-Control": "max-age=9"}))
    for _ in range(2):
        assert cache.get("/v").body == b"x"
    assert len(cache.origin.requests) == 2


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    ("left", "sent"), [("0", None), ("000", None), ("1", "0"), ("10", "9"), ("x", "x"), ("9" * 40, "999999999")]
)
def test_max_forwards(cache: Cache, method: str, left: str, sent: str | None) -> None:
    """Section 7.6.2: at 0 it MUST NOT be forwarded, else it MUST be counted down."""
    cache.origin.on("/m", Answer(b"there"))
    client = cache.get("/m", method=method, headers={"Max-Forwards": left})
    if sent is None:
        assert not cache.origin.requests
        assert client.status == (204 if method == "OPTIONS" else 501)
    else:
        assert cache.origin.requests[-1].get("max-forwards") == sent
        assert client.body == b"there"


def test_max_forwards_means_nothing_to_other_methods(cache: Cache) -> None:
    cache.origin.on("/m", Answer(b"there"))
    assert cache.get("/m", headers={"Max-Forwards": "0"}).body == b"there"
    assert cache.origin.requests[-1].get("max-forwards") == "0"


def test_via_names_the_version_received(cache: Cache) -> None:
    """Section 7.6.3."""
    cache.origin.on("/v", Answer(b"x", proto="HTTP/1.0"))
    for proto, version in (("HTTP/1.0", "1.0"), ("HTTP/1.1", "1.1"), ("HTTP/2.0", "2")):
        client = cache.get("/v", proto=proto, method="POST")
        assert cache.origin.requests[-1].get("via") == f"{version} varnishpy (Varnish/7.1)"
        assert client.headers["via"] == "1.0 varnishpy (Varnish/7.1)"


def test_a_304_describes_no_content(cache: Cache) -> None:
    """Section 15.4.5."""
    about = {"Content-Type": "text/plain", "Content-Language": "en", "Last-Modified": "Thu, 26 Nov 2020 13:46:59 GMT"}
    cache.origin.on("/d", Answer(b"x", headers={**ETAG, **about}))
    cache.get("/d")
    client = cache.get("/d", headers={"If-None-Match": '"b"'})
    assert client.status == 304
    assert "content-type" not in client.headers and "content-language" not in client.headers
    assert {"etag", "last-modified", "cache-control", "date"} <= set(client.headers)


def test_a_pipe_that_breaks_gives_its_connection_back(cache: Cache) -> None:
    ours, theirs = socket.socketpair()
    cache.origin.upstream = Connection(ours, ConnPool(Endpoint(path="/nowhere"), cache.env.waiter))
    ours.close()  # whoever uses it now finds a defect
    theirs.close()
    cache.vcl("sub vcl_recv { return (pipe); }")
    client = cache.get("/")
    assert cache.origin.closed == ["TX_ERROR"]
    assert client.status == 503


@pytest.mark.parametrize("said", ["announced", "found"])
def test_a_body_too_large_to_keep_is_answered_by_vcl(cache: Cache, said: str) -> None:
    cache.vcl(
        """import std;
        sub vcl_recv { if (!std.cache_req_body(1KB)) { return (synth(413, "Too much")); } return (pass); }"""
    )
    body = Body([b"x" * 1000] * 3, 3000 if said == "announced" else -1)
    client = cache.get("/", method="POST", body=body)
    assert (client.status, client.reason) == (413, "Too much")
    assert client.doclose == "RX_BODY"
    assert client.minimal == []


def test_a_body_that_cannot_be_read_is_a_400(cache: Cache) -> None:
    cache.vcl("import std; sub vcl_recv { std.cache_req_body(1KB); return (pass); }")
    client = cache.get("/", method="POST", body=Body([b"x", BodyError("broken off")], 3000))
    assert client.minimal == [400]
