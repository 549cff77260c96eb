"""Units: one subroutine at a time, and what a test can read and replace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy.kit import Unit, unit
from varnishpy.kit.program import ProgramError

SHOP = """vcl 4.1;
import std;
import directors;
backend app { .host = "app.internal.example"; .port = "80"; .probe = { .url = "/"; } }
backend legacy { .host = "127.0.0.1"; .port = "8081"; }
acl office { "office.internal.example"; "10.0.0.0"/8; }

sub vcl_init {
    new pool = directors.round_robin();
    pool.add_backend(app);
}
sub normalise {
    if (req.http.User-Agent ~ "iPhone") {
        set req.http.X-Device = "mobile";
    } else {
        set req.http.X-Device = "desktop";
    }
}
sub vcl_recv {
    call normalise;
    set req.backend_hint = pool.backend();
    if (client.ip ~ office) { return (pass); }
    if (!std.healthy(legacy)) { return (synth(503, "legacy down")); }
    if (req.method == "BAN") {
        ban("obj.http.x == " + req.http.X-Ban);
        return (synth(200, "banned"));
    }
    if (req.url ~ "^/now") { set req.http.X-Now = now; }
    std.log("seen " + req.url);
    unset req.http.Cookie;
}
sub vcl_hash { hash_data(req.http.X-Device); }
sub vcl_backend_fetch { set bereq.http.X-Tries = bereq.retries; }
sub vcl_backend_response {
    if (beresp.status == 404) { set beresp.ttl = 10s; }
    set beresp.grace = 1h;
}
sub vcl_hit { if (obj.ttl < 5s) { return (pass); } }
sub vcl_deliver {
    if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; } else { set resp.http.X-Cache = "MISS"; }
    unset resp.http.Via;
}
sub vcl_synth {
    set resp.http.Content-Type = "text/plain";
    synthetic("sorry: " + resp.status);
    return (deliver);
}
sub vcl_backend_error { set beresp.body = "down"; return (deliver); }
"""


@pytest.fixture(scope="module")
def shared() -> Unit:
    return unit(SHOP)


@pytest.fixture
def shop(shared: Unit) -> Iterator[Unit]:
    yield shared
    shared.restore()


def test_recv(shop: Unit) -> None:
    r = shop.recv(url="/x", headers={"User-Agent": "iPhone", "Cookie": "a=b"})
    assert r.action == "hash"
    assert r.req.url == "/x"
    assert r.req.http["x-device"] == "mobile"
    assert "Cookie" not in r.req.http
    assert r.called("normalise")
    assert not r.called("vcl_hash")
    assert r.req.backend_hint == "pool"
    assert r.backend == "app"
    assert r.std_log == ["seen /x"]
    assert ("VCL_call", "RECV") in r.log


def test_what_is_given_counts(shop: Unit) -> None:
    assert shop.recv(client_ip="10.1.2.3").action == "pass"
    assert shop.recv(client_ip="192.0.2.1").action == "hash"
    assert shop.recv(url="/now", now=0.25).req.http["X-Now"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert shop.recv(method="POST").action == "pass"
    assert shop.recv(headers=[("X-A", "1"), ("X-A", "2")]).req.http.getall("x-a") == ["1", "2"]
    assert shop.recv(headers={"Host": "shop.example"}).req.http["host"] == "shop.example"


def test_the_hash(shop: Unit) -> None:
    assert shop.hash(url="/a", headers={"X-Device": "mobile"}).hash_parts == ["mobile", "/a", "example.com"]


def test_responses(shop: Unit) -> None:
    r = shop.backend_response(status=404)
    assert (r.action, r.beresp.ttl, r.beresp.grace) == ("deliver", 10.0, 3600.0)
    r = shop.backend_response(response={"Cache-Control": "max-age=77"})
    assert (r.beresp.ttl, r.beresp.uncacheable) == (77.0, False)
    r = shop.backend_response(response={"Set-Cookie": "a=b"})
    assert r.beresp.uncacheable
    assert shop.backend_fetch(retries=2).bereq.http["X-Tries"] == "2"
    r = shop.backend_error()
    assert (r.action, r.body, r.beresp.status) == ("deliver", b"down", 503)


def test_delivery(shop: Unit) -> None:
    r = shop.deliver(hits=3, response={"Content-Type": "text/html"})
    assert (r.action, r.resp.http["X-Cache"], r.obj.hits) == ("deliver", "HIT", 3)
    assert "Via" not in r.resp.http
    assert shop.deliver().resp.http["X-Cache"] == "MISS"
    assert shop.hit(ttl=1).action == "pass"
    assert shop.hit().action == "deliver"
    r = shop.synth(status=404)
    assert (r.action, r.body, r.resp.status, r.resp.http["content-type"]) == (
        "deliver", b"sorry: 404", 404, "text/plain",
    )  # fmt: skip


def test_the_rest_of_the_client_side(shop: Unit) -> None:
    assert [shop.miss().action, shop.pass_().action, shop.purge().action, shop.pipe().action] == [
        "fetch", "fetch", "synth", "pipe",
    ]  # fmt: skip


def test_health(shop: Unit) -> None:
    shop.health("legacy", False)
    r = shop.recv()
    assert (r.action, r.synth) == ("synth", (503, "legacy down"))
    shop.restore()
    assert shop.recv().action == "hash"
    with pytest.raises(KeyError, match="no backend is named 'lagacy'; there are: app, legacy"):
        shop.health("lagacy", False)


def test_bans_are_noted(shop: Unit) -> None:
    r = shop.recv(method="BAN", headers={"X-Ban": "y"})
    assert (r.synth, r.bans) == ((200, "banned"), ["obj.http.x == y"])
    assert shop.recv().bans == []


def test_mocks_of_functions_objects_and_subs(shop: Unit) -> None:
    with shop.mock("std.healthy", False) as mock:
        assert shop.recv().action == "synth"
        assert len(mock.calls) == 1
    assert shop.recv().action == "hash"
    with shop.mock("std.healthy", lambda backend: backend.vcl_name != "legacy"):
        assert shop.recv().action == "synth"
    with shop.mock("pool.backend", lambda: shop.program.backend("legacy")):
        assert shop.recv().backend == "legacy"
    with shop.mock("normalise", "pass"):
        assert shop.recv().action == "pass"

    def device(messages: object) -> None:
        messages.req.http["X-Device"] = "fridge"  # type: ignore[attr-defined]

    with shop.mock("normalise", device):
        assert shop.recv().req.http["X-Device"] == "fridge"
    for name in ("std.nothing", "nothing", "pool.nothing", "std.tolower"):
        with pytest.raises(KeyError):
            shop.mock(name, None)


def test_failures_are_told() -> None:
    failing = unit('vcl 4.1; backend default none; sub vcl_recv { return (fail("so what")); }')
    r = failing.recv()
    assert (r.action, r.failure) == ("fail", "so what")
    assert ("VCL_Error", "so what") in r.log


def test_mistakes_get_a_hint(shop: Unit) -> None:
    with pytest.raises(TypeError, match="no argument 'ulr'; did you mean 'url'"):
        shop.recv(ulr="/")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match=re.escape("no variable req.backend_hnt; did you mean req.backend_hint?")):
        _ = shop.recv().req.backend_hnt
    with pytest.raises(AttributeError, match=r"beresp\.ttl means nothing in vcl_recv"):
        _ = shop.recv().beresp.ttl
    with pytest.raises(AttributeError, match=r"no beresp\.http in vcl_recv"):
        _ = shop.recv().beresp.http
    with pytest.raises(KeyError, match="did you mean 'normalise'"):
        shop.recv().called("normalize")
    with pytest.raises(KeyError, match="there is no header X-No; there are: Host, X-Device"):
        _ = shop.recv().req.http["X-No"]


def test_programs_that_do_not_compile_or_load(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"Symbol not found"):
        unit("vcl 4.1;\nbackend default none;\nsub vcl_recv { set req.nope = 1; }\n")
    with pytest.raises(ProgramError, match="no more"):
        unit('vcl 4.1;\nbackend default none;\nsub vcl_init { return (fail("no more")); }\n')
    with pytest.raises(FileNotFoundError, match="there is no such VCL file"):
        unit(str(tmp_path / "none.vcl"))


def test_files_and_what_they_include(tmp_path: Path) -> None:
    (tmp_path / "part.vcl").write_text('sub vcl_recv { set req.http.X-Part = "1"; }\n')
    (tmp_path / "main.vcl").write_text('vcl 4.1;\nbackend default none;\ninclude "part.vcl";\n')
    made = unit(tmp_path / "main.vcl")
    assert made.recv().req.http["X-Part"] == "1"
    assert "vcl_recv" in list(made)
    made.discard()


def test_labels() -> None:
    other = unit("vcl 4.1; backend default none; sub vcl_recv { return (pass); }")
    top = unit("vcl 4.1; backend default none; sub vcl_recv { return (vcl(other)); }", labels={"other": other})
    assert top.recv().action == "vcl"


HEADER = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@given(cookie=HEADER, agent=HEADER)
def test_no_cookie_ever_reaches_the_hash(shared: Unit, cookie: str, agent: str) -> None:
    """What a property test of a program looks like."""
    r = shared.recv(headers={"Cookie": f"sid={cookie}", "User-Agent": agent})
    assert r.req.http["X-Device"] in ("mobile", "desktop")
    headers = list(r.req.http.items())
    assert shared.hash(headers=headers).hash_parts == [r.req.http["X-Device"], "/", "example.com"]
