"""The fixtures with production programs: backends stood in for, origins of Python, time, and failures that say what."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from varnishpy.kit.answer import Answer
from varnishpy.kit.caches import Cache, Caches, OriginFailed
from varnishpy.kit.instance import InstanceError
from varnishpy.kit.origins import OriginError, Request, Response, handler_of, response_of
from varnishpy.vtc.fixtures import ScriptFailed

SHOP = """vcl 4.1;
import std;
backend app { .host = "app.internal.example"; .port = "8080"; .probe = { .url = "/health"; } }
backend legacy { .host = "legacy.internal.example"; .ssl = 1; }
acl purgers { "office.internal.example"; "127.0.0.1"; }
include "parts/hash.vcl";
sub vcl_recv {
    if (req.url ~ "^/old") { set req.backend_hint = legacy; }
    if (req.method == "PURGE" && client.ip ~ purgers) { return (purge); }
    if (req.url ~ "^/cart") { return (pass); }
}
sub vcl_backend_response {
    set beresp.ttl = 60s;
    set beresp.grace = 0s;
    if (beresp.http.X-Now == "yes") { set beresp.http.X-Time = now; }
}
sub vcl_deliver { set resp.http.X-Hits = obj.hits; unset resp.http.X-Varnish; }
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "parts").mkdir()
    (folder / "parts" / "hash.vcl").write_text("sub vcl_hash { hash_data(req.http.X-Language); }\n")
    (folder / "default.vcl").write_text(SHOP)
    return folder / "default.vcl"


class App:
    """An origin that counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, request: Request) -> Response:
        self.count += 1
        return Response(200, [("X-Path", request.path)], f"{request.method} {request.url} {self.count}".encode())


def test_production_vcl_as_it_is(varnishpy: Callable[..., Any], shop: Path) -> None:
    app, legacy = App(), App()
    cache = varnishpy(shop, backends={"app": app, "legacy": legacy})
    first = cache.get("/x").assert_miss().assert_status(200).assert_header("x-path", "/x")
    assert (first.text, first.age) == ("GET /x 1", 0)
    cache.get("/x").assert_hit().assert_header("X-Hits", "1")
    cache.get("/cart").assert_pass()
    cache.get("/old/page").assert_miss()
    assert (app.count, legacy.count) == (2, 1)
    assert [request.url for request in cache.origin_requests("legacy")] == ["/old/page"]
    cache.request("PURGE", "/x").assert_status(200)
    assert cache.get("/x").miss


def test_each_test_finds_it_new(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": App(), "legacy": App()})
    assert cache.get("/x").text == "GET /x 1"


def test_the_same_instance_serves_the_next_test(varnishpy: Callable[..., Any], shop: Path) -> None:
    one = varnishpy(shop, backends={"app": App(), "legacy": App()})
    other = varnishpy(shop, backends={"app": App(), "legacy": App()})
    assert one.workdir == other.workdir
    assert varnishpy(shop, backends={"app": App()}).workdir != one.workdir


def test_time_travel(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": lambda request: (200, {"X-Now": "yes"}, "hi"), "legacy": App()})
    before = cache.get("/t").headers["x-time"]
    cache.travel(59)
    answer = cache.get("/t").assert_hit()
    assert answer.age >= 59
    cache.travel(2)
    cache.get("/t").assert_miss()
    cache.travel(86400 * 400)
    later = cache.get("/t").assert_miss().headers["x-time"]
    assert int(later.split()[3]) > int(before.split()[3])


def test_http2_and_tls(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": App(), "legacy": App()})
    for tls in (False, True):
        for http2 in (False, True):
            answer = cache.get(f"/p{tls}{http2}", http2=http2, tls=tls)
            assert (answer.status, answer.text[:4]) == (200, "GET ")
            assert answer.miss
            assert ("HTTP/2.0" in answer.records("ReqProtocol")) == http2
    body = b"x" * 200_000
    echo = varnishpy(shop, backends={"app": lambda request: request.body, "legacy": App()})
    for http2 in (False, True):
        assert echo.post("/cart", body, http2=http2).body == body
    assert echo.post("/cart", json_body={"a": 1}).json() == {"a": 1}
    assert echo.head("/cart").body == b""


def test_what_the_log_says(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": App(), "legacy": App()})
    answer = cache.get("/x", headers={"X-Language": "de"})
    assert answer.took_path[:4] == ["RECV hash", "HASH lookup", "MISS fetch", "DELIVER deliver"]
    assert "BACKEND_RESPONSE deliver" in answer.took_path
    assert answer.vxid > 0
    assert "ReqURL         /x" in answer.log
    with pytest.raises(AssertionError, match=r"no hit; the request's log:\n\*  << req \d+ >>"):
        answer.assert_hit()
    with pytest.raises(AssertionError, match="X-Hits is 0, not 7"):
        answer.assert_header("X-Hits", "7")
    assert len(cache.transactions()) == 1


def test_headers_of_many_values(varnishpy: Callable[..., Any], shop: Path) -> None:
    rows = [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
    cache = varnishpy(shop, backends={"app": lambda request: (200, rows), "legacy": App()})
    answer = cache.get("/cart", headers=[("X-A", "1"), ("X-A", "2")])
    assert answer.headers.getall("SET-COOKIE") == ["a=1", "b=2"]
    assert answer.headers["set-cookie"] == "a=1"
    (request,) = cache.origin_requests("app")
    assert request.headers["x-a"] == "1, 2"
    with pytest.raises(KeyError, match="there is no header X-No; there are: "):
        _ = answer.headers["X-No"]


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("201 Made", [("Content-Type", "text/plain")])
    text = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']} {environ.get('HTTP_X_A')} "
    return [text.encode(), environ["wsgi.input"].read()]


async def asgi_app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[..., Any]) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 202, "headers": [(b"x-scope", scope["path"].encode())]})
    await send({"type": "http.response.body", "body": b"got ", "more_body": True})
    await send({"type": "http.response.body", "body": message["body"]})


def test_applications_as_origins(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": wsgi_app, "legacy": asgi_app})
    answer = cache.post("/cart?a=b", b"body", headers={"X-A": "1"})
    assert (answer.status, answer.reason, answer.text) == (201, "Made", "POST /cart?a=b 1 body")
    answer = cache.post("/old/cart", b"body")
    assert (answer.status, answer.headers["X-Scope"], answer.text) == (202, "/old/cart", "got body")


def test_scripts_as_origins(varnishpy: Callable[..., Any], origin: Callable[..., Any], shop: Path) -> None:
    script = origin('rxreq\nexpect req.url == "/x"\ntxresp -body "scripted"')
    cache = varnishpy(shop, backends={"app": script, "legacy": "rxreq\ntxresp -status 404"})
    assert cache.get("/x").text == "scripted"
    assert cache.get("/old").status == 404
    script.wait()


def test_a_script_that_is_used_up_is_told_at_once(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": "rxreq\ntxresp", "legacy": App()})
    cache.get("/one")
    began = time.monotonic()
    with pytest.raises(OriginFailed, match="origin app takes no connection: its script has run to its end"):
        cache.get("/two")
    assert time.monotonic() - began < 20  # and not after the cache's own patience
    for gate in cache._gates.values():
        gate.failures.clear()


def test_an_origin_that_raises_is_told(varnishpy: Callable[..., Any], shop: Path) -> None:
    def broken(request: Request) -> Response:
        raise ValueError(f"no {request.path} here")

    cache = varnishpy(shop, backends={"app": broken, "legacy": lambda request: object()})
    with pytest.raises(OriginFailed, match="ValueError: no /x here"):
        cache.get("/x")
    cache._gates["app"].failures.clear()
    with pytest.raises(OriginFailed, match="origin legacy: an origin answered <object"):
        cache.get("/old")
    cache._gates["legacy"].failures.clear()


def test_health_can_be_set(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": App(), "legacy": App()})
    cache.sick("app")
    assert cache.get("/x").status == 503
    cache.healthy("app")
    assert cache.get("/x").status == 200


def test_backends_without_an_origin_are_not_contacted(varnishpy: Callable[..., Any], shop: Path) -> None:
    cache = varnishpy(shop, backends={"app": App()})
    assert cache.get("/old").status == 503


def test_a_fragment_keeps_its_lines(varnishpy: Callable[..., Any]) -> None:
    cache = varnishpy("sub vcl_recv { return (pass); }", backends={"app": App()})
    cache.get("/").assert_pass()
    with pytest.raises(InstanceError, match=r"test\.vcl' Line 2 Pos 9"):
        varnishpy("sub vcl_recv {\n    set req.nope = 1;\n}", backends={"app": App()})


def test_mistakes_are_told_exactly(varnishpy: Callable[..., Any], origin: Callable[..., Any], shop: Path) -> None:
    with pytest.raises(InstanceError, match="no backend 'ap'; did you mean 'app'"):
        varnishpy(shop, backends={"ap": App()})
    with pytest.raises(InstanceError, match='Unknown parameter "nosuch"'):
        varnishpy(shop, {"nosuch": 1}, backends={"app": App()})
    with pytest.raises(ScriptFailed, match="rxrq"):
        origin("rxrq\ntxresp")
    with pytest.raises(OriginError, match="this takes 0 arguments"):
        varnishpy(shop, backends={"app": lambda: "x", "legacy": App()})


async def _ask(cache: Cache) -> list[Answer]:
    import asyncio

    return list(await asyncio.gather(*(cache.aget(f"/a{number}") for number in range(5)), cache.apost("/cart", b"x")))


def test_async(varnishpy: Callable[..., Any], shop: Path) -> None:
    import asyncio

    cache = varnishpy(shop, backends={"app": App(), "legacy": App()})
    assert [answer.status for answer in asyncio.run(_ask(cache))] == [200] * 6


def test_what_functions_may_return() -> None:
    assert response_of("é").body == "é".encode()
    assert response_of(b"x") == Response(200, [], b"x")
    assert response_of({"a": 1}).body == b'{"a": 1}'
    assert response_of(404) == Response(404)
    assert response_of((302, {"Location": "/"})) == Response(302, [("Location", "/")])
    assert response_of((200, [("Content-Type", "x")], "t")).fields == [("Content-Type", "x")]
    with pytest.raises(OriginError):
        handler_of(3)  # type: ignore[arg-type]
    request = Request("GET", "/a?b=1&b=2&c=", [("X-A", "1")])
    assert (request.path, request.query, request.header("x-a")) == ("/a", {"b": ["1", "2"], "c": [""]}, "1")


SUITE = """
import pytest
from pathlib import Path

@pytest.mark.parametrize("n", range(100))
def test_many(varnishpy, n):
    cache = varnishpy(Path("default.vcl"), backends={"app": lambda request: f"{n}", "legacy": lambda request: "x"})
    assert cache.get("/same").text == str(n)
"""


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[Caches]:
    number = iter(range(100))

    def directory() -> Path:
        made = tmp_path / str(next(number))
        made.mkdir()
        return made

    made = Caches(directory)
    yield made
    made.close()


def test_a_hundred_tests_start_one_cache(shop: Path) -> None:
    (shop.parent / "test_many.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--vcl-cov", "test_many.py"]
    done = subprocess.run(command, cwd=shop.parent, capture_output=True, text=True, check=False)
    assert "100 passed" in done.stdout, done.stdout + done.stderr
    assert "default.vcl" in done.stdout and "parts/hash.vcl" in done.stdout


def test_nothing_is_left_behind(caches: Caches, shop: Path) -> None:
    cache = caches.cache(shop, {"app": App(), "legacy": App()})
    cache.get("/x")
    process = cache.instance._process
    caches.end_test()
    assert process.poll() is None
    caches.close()
    assert process.poll() == 0
