"""The plain path: hit, miss, pass, streaming, restarts, errors."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.request.request_harness import Answer, Body, Cache
from varnishpy.backends.errors import FetchError
from varnishpy.params import table


def test_miss_then_hit(cache: Cache) -> None:
    cache.origin.on("/a", Answer(b"hello", headers={"Cache-Control": "max-age=60"}))
    first = cache.get("/a")
    assert (first.status, first.body) == (200, b"hello")
    assert first.headers["content-length"] == "5"
    assert " " not in first.headers["x-varnish"]
    cache.idle(1)
    second = cache.get("/a")
    assert second.body == b"hello"
    assert second.headers["x-varnish"].split()[1] != first.headers["x-varnish"]
    assert len(second.headers["x-varnish"].split()) == 2
    assert second.headers["age"] == "0"
    assert second.headers["via"] == "1.1 varnishpy (Varnish/7.1)"
    assert second.headers["accept-ranges"] == "bytes"
    assert len(cache.origin.requests) == 1
    cache.idle(1)


def test_head_is_answered_from_the_cached_get(cache: Cache) -> None:
    cache.origin.on("/a", Answer(b"hello"))
    cache.get("/a")
    head = cache.get("/a", method="HEAD")
    assert head.status == 200 and head.body == b""
    assert head.headers["content-length"] == "5"
    assert len(cache.origin.requests) == 1


def test_backend_request_is_filtered(cache: Cache) -> None:
    cache.origin.on("/a", Answer(b"x"))
    headers = {"Connection": "X-Hop", "X-Hop": "1", "Range": "bytes=0-0", "X-Keep": "2", "Cache-Control": "no-cache"}
    client = cache.get("/a", headers=headers)
    sent = cache.origin.requests[0]
    assert client.status == 206
    assert not any(sent.has(name) for name in ("connection", "x-hop", "range", "cache-control"))
    assert sent.get("x-keep") == "2"
    assert sent.get("accept-encoding") == "gzip"
    assert sent.get("x-forwarded-for") == "192.0.2.1"


def test_connection_must_not_drop_known_fields(cache: Cache) -> None:
    client = cache.get("/a", headers={"Connection": "Host"})
    assert client.minimal == [400] and client.doclose == "RX_BAD"


def test_unknown_expectation(cache: Cache) -> None:
    assert cache.get("/a", headers={"Expect": "miracles"}).minimal == [417]


def test_pass_streams_and_keeps_nothing(cache: Cache) -> None:
    cache.origin.on("/p", Answer([b"one", b"two"]))
    client = cache.get("/p", headers={"Cookie": "a=b"})
    assert client.body == b"onetwo"
    cache.idle(0)


def test_post_body_is_passed_on(cache: Cache) -> None:
    cache.origin.on("/p", Answer(b"ok"))
    client = cache.get("/p", method="POST", body=Body([b"abc", b"def"], 6))
    assert client.body == b"ok"
    assert cache.origin.bodies == [b"abcdef"]
    assert client.req is not None and client.req.acct.req_bodybytes == 6
    cache.idle(0)


def test_a_length_of_nothing_keeps_its_place(cache: Cache) -> None:
    cache.origin.on("/p", Answer(b"ok"))
    cache.get("/p", method="POST", headers={"Content-Length": "0", "X-After": "1"})
    cache.get("/p", method="POST", headers={"X-After": "1"})
    said, unsaid = ([header[0] for header in request.headers] for request in cache.origin.requests)
    assert said.index("content-length") < said.index("x-after")
    assert unsaid.index("x-after") < unsaid.index("content-length")


def test_client_reads_while_the_body_arrives(cache: Cache) -> None:
    gate = threading.Event()
    cache.origin.on("/s", Answer([b"early", gate, b"late"]))
    client = cache.start("/s")
    assert client.started.wait(5)
    gate.set()
    assert client.wait().body == b"earlylate"
    cache.idle(1)
    assert cache.get("/s").headers["content-length"] == "9"


def test_concurrent_misses_fetch_once(cache: Cache) -> None:
    gate = threading.Event()
    cache.origin.on("/c", Answer(b"shared", gate=gate))
    clients = [cache.start("/c") for _ in range(20)]
    cache.origin.wait_requests(1)
    gate.set()
    for client in clients:
        assert client.wait().body == b"shared"
    assert len(cache.origin.requests) == 1
    cache.idle(1)


def test_backend_error_becomes_503(cache: Cache, records: Any) -> None:
    cache.origin.on("/e", FetchError("no route"))
    client = cache.get("/e")
    assert client.status == 503 and client.reason == "Backend fetch failed"
    assert b"Guru Meditation" in client.body
    assert "FetchError no route" in records.lines()
    cache.idle(0)


def test_body_that_breaks_off_while_streaming(cache: Cache) -> None:
    gate = threading.Event()
    cache.origin.on("/b", Answer([b"some", gate, FetchError("connection reset")]))
    client = cache.start("/b")
    assert client.started.wait(5)
    gate.set()
    client.wait()
    assert client.body == b"some" and client.error is not None
    assert client.doclose == "TX_ERROR"
    cache.idle(0)


def test_body_that_breaks_off_before_streaming(cache: Cache) -> None:
    cache.vcl("sub vcl_backend_response { set beresp.do_stream = false; }")
    cache.origin.on("/b", Answer([b"some", FetchError("connection reset")]))
    assert cache.get("/b").status == 503
    cache.idle(0)


def test_restart(cache: Cache, records: Any) -> None:
    cache.vcl(
        """
        sub vcl_recv { if (req.restarts == 1) { set req.url = "/two"; } return (hash); }
        sub vcl_deliver { if (req.restarts == 0) { return (restart); } }
        """
    )
    cache.origin.on("/one", Answer(b"1"))
    cache.origin.on("/two", Answer(b"2"))
    client = cache.get("/one")
    assert client.body == b"2"
    assert any(line.startswith("Begin req") and line.endswith("restart") for line in records.lines())
    cache.idle(2)


def test_too_many_restarts(cache: Cache) -> None:
    cache.vcl("sub vcl_recv { return (restart); }")
    client = cache.get("/")
    assert client.status == 503 and client.reason == "Service Unavailable"


def test_synth(cache: Cache) -> None:
    cache.vcl(
        'sub vcl_recv { return (synth(700, "Hello")); } sub vcl_synth { set resp.body = "body"; return (deliver); }'
    )
    client = cache.get("/")
    assert (client.status, client.reason, client.body) == (700, "Hello", b"body")
    assert client.headers["content-length"] == "4"
    assert client.headers["server"] == "Varnish"


def test_vcl_failure_is_503(cache: Cache) -> None:
    cache.vcl("sub vcl_recv { return (fail); }")
    client = cache.get("/")
    assert (client.status, client.reason, client.doclose) == (503, "VCL failed", "VCL_FAILURE")


def test_failure_in_synth_is_a_bare_500(cache: Cache) -> None:
    cache.vcl("sub vcl_recv { return (synth(200)); } sub vcl_synth { return (fail); }")
    client = cache.get("/")
    assert client.minimal == [500] and client.doclose == "VCL_FAILURE"


def test_purge(cache: Cache) -> None:
    cache.vcl('sub vcl_recv { if (req.method == "PURGE") { return (purge); } }')
    cache.origin.on("/a", Answer(b"1"), Answer(b"2"))
    assert cache.get("/a").body == b"1"
    assert cache.get("/a", method="PURGE").reason == "Purged"
    assert cache.get("/a").body == b"2"


def test_hit_for_miss_does_not_serialize(cache: Cache) -> None:
    cache.origin.on("/u", Answer(b"u", headers={"Cache-Control": "private"}))
    cache.get("/u")
    gate = threading.Event()
    cache.origin.on("/u", Answer(b"v", headers={"Cache-Control": "private"}, gate=gate))
    clients = [cache.start("/u") for _ in range(3)]
    cache.origin.wait_requests(4)
    gate.set()
    assert [client.wait().body for client in clients] == [b"v"] * 3


def test_hit_for_pass(cache: Cache, records: Any) -> None:
    cache.vcl("sub vcl_backend_response { return (pass(60s)); }")
    cache.origin.on("/h", Answer(b"h"))
    cache.get("/h")
    cache.get("/h")
    assert "VCL_call PASS" in records.lines()
    assert any(line.startswith("HitPass ") for line in records.lines())


def test_grace_hit_refreshes_in_the_background(cache: Cache) -> None:
    cache.vcl("sub vcl_backend_response { set beresp.ttl = 0.001s; set beresp.grace = 1h; }")
    gate = threading.Event()
    cache.origin.on("/g", Answer(b"old"), Answer(b"new", gate=gate))
    assert cache.get("/g").body == b"old"
    threading.Event().wait(0.01)
    assert cache.get("/g").body == b"old"
    cache.origin.wait_requests(2)
    gate.set()
    cache.idle(1)
    assert cache.get("/g").body == b"new"


def test_conditional_refetch_merges_a_304(cache: Cache) -> None:
    cache.vcl(
        "sub vcl_backend_response { if (!beresp.was_304) { set beresp.ttl = 0.001s; }"
        " set beresp.grace = 0s; set beresp.keep = 1h; }"
    )
    cache.origin.on(
        "/c", Answer(b"body", headers={"ETag": '"1"', "X-Old": "o"}), Answer(status=304, headers={"X-New": "n"})
    )
    cache.get("/c")
    threading.Event().wait(0.01)
    client = cache.get("/c")
    assert cache.origin.requests[1].get("if-none-match") == '"1"'
    assert client.status == 200 and client.body == b"body"
    assert (client.headers["x-old"], client.headers["x-new"]) == ("o", "n")
    cache.idle(1)


def test_conditional_delivery(cache: Cache) -> None:
    cache.origin.on("/a", Answer(b"body", headers={"ETag": '"1"'}))
    cache.get("/a")
    client = cache.get("/a", headers={"If-None-Match": 'W/"1"'})
    assert client.status == 304 and client.body == b"" and "content-length" not in client.headers


def test_retry(cache: Cache) -> None:
    cache.vcl("sub vcl_backend_response { if (beresp.status == 500) { return (retry); } }")
    cache.origin.on("/r", Answer(b"bad", status=500), Answer(b"good"))
    assert cache.get("/r").body == b"good"
    assert cache.origin.closed[0] == "RESP_CLOSE"


def test_label_switches_vcl(cache: Cache) -> None:
    cache.vcl("sub vcl_recv { return (synth(201)); }", label="lab")
    cache.vcl("sub vcl_recv { return (vcl(lab)); }")
    assert cache.get("/").status == 201


def test_client_gone_stops_vcl(cache: Cache, records: Any) -> None:
    client, req = cache.request("/")
    client.gone = True
    client.send(req).wait()
    assert client.minimal == [408] or client.status == 408
    assert any(line.startswith("Timestamp Reset:") for line in records.lines())


def test_cached_request_body_survives_restart_and_retry(cache: Cache) -> None:
    cache.vcl(
        """
        import std;
        sub vcl_recv { std.cache_req_body(1KB); return (pass); }
        sub vcl_deliver { if (req.restarts == 0) { return (restart); } }
        """
    )
    cache.origin.on("/p", Answer(b"ok"))
    assert cache.get("/p", method="POST", body=Body([b"abc"], 3)).body == b"ok"
    assert cache.origin.bodies == [b"abc", b"abc"]


@pytest.mark.parametrize("taking", [False, True])
def test_pass_abandoned_by_its_client_ends(cache: Cache, taking: bool) -> None:
    gate = threading.Event()
    cache.origin.on("/p", Answer([b"x" * 100, gate, b"y" * 100]))
    client, req = cache.request("/p", headers={"Cookie": "a=b"}, taking=taking)
    client.close_early = True
    client.send(req).wait()
    gate.set()
    cache.idle(0)


def test_transit_buffer_bounds_a_pass(cache: Cache) -> None:
    table.set("transit_buffer", "4k")
    try:
        hold = threading.Event()
        cache.origin.on("/p", Answer([b"x" * 4096] * 100))
        client, req = cache.request("/p", headers={"Cookie": "a=b"})
        client.hold = hold
        client.send(req)
        assert client.started.wait(5)
        hold.set()
        assert len(client.wait().body) == 409600
    finally:
        table.reset("transit_buffer")
    cache.idle(0)


def test_contained_defect(cache: Cache, monkeypatch: pytest.MonkeyPatch, records: Any) -> None:
    from varnishpy.request import client as module

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setitem(module._STEPS, "miss", broken)
    client = cache.get("/")
    assert client.status == 503 and client.reason == "Internal error"
    assert any("ZeroDivisionError: a defect" in line for line in records.lines())
