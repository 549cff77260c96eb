"""A panic amid traffic: its last words show the request or fetch it happened in, and all that belongs to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.waiting import wait_for

VCL = """
vcl 4.1;
import vtc;
import std;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    if (req.http.panic == "recv") {
        vtc.panic("on purpose");
    }
}
sub vcl_backend_response {
    if (bereq.http.panic == "fetch") {
        vtc.panic("while fetching " + bereq.url);
    }
}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    origin = Origin()
    origin.pages["/"] = lambda exchange: exchange.answer(b"x" * 100)

    @origin.page("/slow")
    def slow(exchange: Exchange) -> None:
        wait_for(lambda: origin.hits["/over"], "the end of the test")

    directory = tmp_path_factory.mktemp("panic")
    (directory / "v.vcl").write_text(VCL % origin.port)
    with running(
        directory / "v", "-f", str(directory / "v.vcl"), "-p", "feature=+http2,+no_coredump", status=0x40
    ) as made:
        yield made
        origin.hits["/over"] = 1
    origin.close()


def last_words(cache: Cache, child: int) -> str:
    """The dump, when the next child serves; the list of panics is clear again afterwards."""

    def show() -> str:
        status, text = cache.cli_result("panic.show")
        return text if status == 200 else ""

    text = str(wait_for(show, "the panic"))
    cache.cli("panic.clear")
    wait_for(lambda: cache.cli("status") == "Child in state running" and cache.child_pid != child, "the next child")
    return text


def block(text: str, title: str) -> str:
    """The inside of ``title = 0x... {``, or of ``title {``."""
    found = re.search(rf"^( *){re.escape(title)}(?: = 0x[0-9a-f]+)? {{\n(.*?)^\1}},$", text, re.M | re.S)
    assert found, (title, text)
    return found[2]


def test_panic_in_an_http2_request(cache: Cache) -> None:
    child = cache.child_pid
    client = H2Client(cache.port)
    client.request("/slow")
    wait_for(lambda: len(json.loads(cache.stats_page("/scoreboard"))["tasks"]) >= 2, "the first request")
    client.request("/boom?a=1", panic="recv", cookie="a=b")
    text = last_words(cache, child)
    lines = text.splitlines()
    assert re.match(r"Child \(\d+\) Panic at: \w{3}, ", lines[0])
    assert lines[1:3] == ["Panic from VCL:", "  PANIC:on purpose"]
    for pattern in (
        r"^version = varnishpy-\S+, ", r"^ident = Linux,", r"^now = \d+\.\d+ \(mono\), \d+\.\d+ \(real\)$",
        r"^Backtrace:$", r"^  .*vtc\.py", r'^  \[\d+\] = "-n",$', r"^thread\.name = \(worker-\d+-\d+\)$",
        r"^thr\.busyobj = NULL$",
        r'^vmods = {\n  vtc = {path=".*", version=".*", vcl = boot},\n  std = {path=".*", version=".*", vcl = boot},',
        r"^pools = {\n  pool = 0 {\n    nidle = \d+,\n    nthr = \d+,\n    lqueue = \d+,$",
    ):  # fmt: skip
        assert re.search(pattern, text, re.M), (pattern, text)

    request = block(text, "thr.req")
    assert re.search(r"^  vxid = \d+, transport = HTTP/2,\n  step = Req Step recv,$", request, re.M)
    assert "req_body = none," in request
    assert "restarts = 0, esi_level = 0," in request
    headers = block(request, "http[req]")
    for line in ('"GET",', '"/boom?a=1",', '"HTTP/2.0",', '"panic: recv",', '"cookie: a=b",', '"host: test",'):
        assert line in headers.lower() or line in headers
    assert 'name = "boot",' in block(request, "vcl[vcl]")
    assert "cli_name = boot.default," in block(request, "director_hint")
    assert "waiting = 0," in block(request, "worker")
    assert 'id = "req"' in request
    assert re.search(r"^  flags = {[a-z0-9_, ]*},$", request, re.M)

    session = block(request, "sess")
    assert re.search(r"fd = \d+, vxid = \d+,", session)
    assert 'id = "ses"' in session
    assert re.search(r"client = 127\.0\.0\.1 \d+ 127\.0\.0\.1:\d+,\n", session)
    assert re.search(r"remote\.ip = 127\.0\.0\.1:\d+,\n +server\.ip = 127\.0\.0\.1:\d+,\n", session)

    h2 = block(session, "transport = HTTP/2")
    assert re.search(r"refcnt = \d+, bogosity = 0, error = \(null\)", h2)
    assert re.search(r"open_streams = 2, highest_stream = 3,", h2)
    assert re.search(r"local_settings = {0x1000, 0x1, ", h2)
    assert re.search(r"remote_settings = {0x1000, 0x1, ", h2)
    assert re.search(r"{rxf_len, rxf_type, rxf_flags, rxf_stream} = {\d+, \d+, 0x[0-9a-f]+, \d+}", h2)
    assert re.search(r"id = 1, state = .*\n +scheduled = 1,", h2)
    assert re.search(r"id = 3, state = ", h2)
    client.sock.close()


def test_panic_in_a_fetch(cache: Cache) -> None:
    child = cache.child_pid
    with cache.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: fetch.example\r\nPanic: fetch\r\n\r\n")
        text = last_words(cache, child)
    assert text.splitlines()[1:3] == ["Panic from VCL:", "  PANIC:while fetching /"]
    assert "\nthr.req = NULL\n" in text
    fetch = block(text, "thr.busyobj")
    assert re.search(r"^  vxid = \d+, step = judge, retries = 0,$", fetch, re.M)
    assert '"Host: fetch.example",' in block(fetch, "http[bereq]")
    assert '"200",' in block(fetch, "http[beresp]")
    assert re.search(r"flags = {.*busy", block(fetch, "objcore[fetch]"))
    assert "state = " in block(fetch, "boc")
    assert "cli_name = boot.default," in block(fetch, "director_req")
    assert "requests = 1," in block(fetch, "transport = HTTP/1")


def test_panic_outside_of_traffic(cache: Cache) -> None:
    child = cache.child_pid
    assert cache.cli_result("debug.panic.worker")[0] == 400
    text = last_words(cache, child)
    assert re.search(
        r"^Assert error in debug_panic\(\), child/commands\.py line \d+(, or compiled code called there)?:$",
        text.splitlines()[1],
    )
    assert text.splitlines()[2] == "  Condition(You asked for it) not true."
    assert "\nthr.req = NULL\nthr.busyobj = NULL\nthr.worker = NULL\n" in text


def test_short_panic(cache: Cache) -> None:
    child = cache.child_pid
    cache.cli("param.set feature +short_panic")
    with cache.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nPanic: recv\r\n\r\n")
        text = last_words(cache, child)
    assert "Feature short_panic left the details out." in text
    assert "thr.req" not in text
    cache.cli("param.set feature -short_panic")
    assert cache.get("/").status == 200
