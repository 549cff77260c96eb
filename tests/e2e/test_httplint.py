"""Responses of every kind under httplint, which knows what the RFCs say of each field and of a message as a whole."""

from __future__ import annotations

import time

import pytest
from httplint import HttpResponseLinter
from httplint.note import levels

from varnishpy.kit.origins import Request, Response
from varnishpy.vtc.fixtures import Varnishpy

PAGE = b"<!doctype html><title>x</title>" + b"hello world " * 200
FIELDS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "max-age=60"),
    ("ETag", '"one"'),
    ("Last-Modified", "Mon, 01 Jun 2026 10:00:00 GMT"),
]

PROGRAM = """
vcl 4.1;
backend app { .host = "app.internal"; }
sub vcl_recv {
    if (req.url == "/synth") { return (synth(403)); }
    if (req.url == "/moved") { return (synth(301, "https://example.com/")); }
    if (req.url == "/pass") { return (pass); }
    if (req.method == "PURGE") { return (purge); }
}
sub vcl_synth {
    set resp.http.Cache-Control = "no-store";
    if (resp.status == 301) { set resp.http.Location = resp.reason; set resp.reason = "Moved Permanently"; }
}
sub vcl_backend_response {
    if (bereq.url == "/esi") { set beresp.do_esi = true; }
    if (bereq.url == "/gzip") { set beresp.do_gzip = true; }
}
"""


def origin(request: Request) -> Response:
    if request.url == "/error":
        return Response(500, [("Content-Type", "text/plain; charset=utf-8")], b"no")
    if request.url == "/broken":
        return Response(200, [("Content-Length", "junk")], b"no")
    body = b'<!doctype html><esi:include src="/part"/>' if request.url == "/esi" else PAGE
    return Response(200, FIELDS, body)


REQUESTS = {
    "miss": ("GET", "/a", {}, 200),
    "hit": ("GET", "/a", {}, 200),
    "head": ("HEAD", "/a", {}, 200),
    "not modified": ("GET", "/a", {"If-None-Match": '"one"'}, 304),
    "range": ("GET", "/a", {"Range": "bytes=0-99"}, 206),
    "no such range": ("GET", "/a", {"Range": "bytes=99999-"}, 416),
    "several ranges": ("GET", "/a", {"Range": "bytes=0-9,20-29"}, 0),
    "pass": ("GET", "/pass", {}, 200),
    "gzip": ("GET", "/gzip", {"Accept-Encoding": "gzip"}, 200),
    "gunzip": ("GET", "/gzip", {}, 200),
    "esi": ("GET", "/esi", {}, 200),
    "error of the origin": ("GET", "/error", {}, 500),
    "no answer that can be used": ("GET", "/broken", {}, 503),
    "synth": ("GET", "/synth", {}, 403),
    "moved": ("GET", "/moved", {}, 301),
    "purge": ("PURGE", "/a", {}, 200),
    "post": ("POST", "/a", {"Content-Length": "0"}, 200),
}


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("feature", ["", "+rfc9111,+multi_range,+cache_status"], ids=["default", "rfc9111"])
def test_no_warning(varnishpy: Varnishpy, feature: str, http2: bool) -> None:
    cache = varnishpy(PROGRAM, backends={"app": origin}, parameters={"feature": feature} if feature else {})
    found = []
    for name, (method, url, fields, status) in REQUESTS.items():
        answer = cache.request(method, url, fields, http2=http2)
        # several ranges are an opt-in
        assert answer.status == (status or (206 if "+multi_range" in feature else 200)), name
        linter = HttpResponseLinter(start_time=time.time(), no_content=status == 304)
        linter.is_head_response = method == "HEAD"
        linter.base_uri = f"http://example.com{url}"
        version = b"2" if http2 else b"1.1"
        linter.process_response_topline(version, str(answer.status).encode(), answer.reason.encode())
        linter.process_headers([(n.encode(), v.encode("latin-1")) for n, v in answer.fields])
        linter.feed_content(answer.body)
        linter.finish_content(True)
        found += [
            f"{name}: {note.level.value}: {note.summary}"
            for note in linter.notes
            if note.level in (levels.WARN, levels.BAD)
        ]
    assert found == []
