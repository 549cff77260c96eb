"""Each recipe of docs/cookbook.md does what it says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS, blocks
from varnishpy.kit.origins import Request
from varnishpy.kit.unit import Unit

RECIPES = {block.name: block.text for block in blocks(DOCS / "cookbook.md") if block.language == "vcl"}
Recipe = Callable[[str], Unit]
CLOSED = ("127.0.0.1", 1)


@pytest.fixture
def recipe(tmp_path: Path, vcl: Any) -> Recipe:
    """A unit of the recipe with this name."""

    def make(name: str) -> Unit:
        path = tmp_path / name
        path.write_text(RECIPES[name])
        unit: Unit = vcl.unit(path)
        return unit

    return make


def test_every_recipe_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert len(RECIPES) > 10
    for name in RECIPES:
        assert f'"{name}"' in text, name


def test_cookies(recipe: Recipe) -> None:
    unit = recipe("cookies.vcl")
    kept = unit.recv(url="/", headers={"Cookie": "theme=dark; sessionid=7; _ga=1"})
    assert (kept.action, kept.req.http["Cookie"]) == ("pass", "sessionid=7")
    for url, cookies in (("/", "theme=dark; _ga=1"), ("/a.css?v=1", "sessionid=7")):
        none = unit.recv(url=url, headers={"Cookie": cookies})
        assert none.action == "hash" and "Cookie" not in none.req.http


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("/shoes?utm_source=a", "/shoes"),
        ("/shoes?b=2&utm_source=a&a=1", "/shoes?a=1&b=2"),
        ("/shoes?a=1&gclid=x", "/shoes?a=1"),
        ("/shoes?not_utm_x=1", "/shoes?not_utm_x=1"),
        ("/shoes", "/shoes"),
    ],
)
def test_addresses(recipe: Recipe, url: str, clean: str) -> None:
    result = recipe("addresses.vcl").recv(url=url, headers={"Host": "www.shop.example"})
    assert (result.req.url, result.req.http["Host"]) == (clean, "shop.example")


def test_grace(recipe: Recipe) -> None:
    unit = recipe("grace.vcl")
    unit.health("app", True)
    assert unit.recv(url="/").req.grace == 10
    unit.health("app", False)
    assert unit.recv(url="/").req.grace != 10
    assert unit.backend_response(status=200).beresp.grace == 24 * 3600


def test_purge(recipe: Recipe) -> None:
    unit = recipe("purge.vcl")
    assert unit.recv(method="PURGE", client_ip="127.0.0.1").action == "purge"
    assert unit.recv(method="PURGE", client_ip="192.0.2.1").synth == (403, "Forbidden")
    assert unit.recv().action == "hash"


def test_websockets(recipe: Recipe) -> None:
    unit = recipe("websocket.vcl")
    handshake = {"Upgrade": "WebSocket", "Connection": "Upgrade"}
    assert unit.recv(headers=handshake).action == "pipe"
    assert unit.pipe(headers=handshake).bereq.http["Upgrade"] == "WebSocket"


def test_limits(recipe: Recipe) -> None:
    unit = recipe("limits.vcl")
    answers = [unit.recv(url="/search", client_ip="192.0.2.9").action for _ in range(11)]
    assert answers == ["hash"] * 10 + ["synth"]
    assert unit.synth(status=429).resp.http["Retry-After"] == "10"
    assert unit.recv(url="/", client_ip="192.0.2.9").action == "hash"


def test_grpc(recipe: Recipe) -> None:
    unit = recipe("grpc-web.vcl")
    kind = "application/grpc"
    assert unit.recv(method="POST", headers={"Content-Type": f"{kind}+proto"}).synth == (
        501, "gRPC does not go through here",
    )  # fmt: skip
    assert unit.recv(method="POST", headers={"Content-Type": f"{kind}-web+proto"}).action == "pass"


def test_several_applications(recipe: Recipe) -> None:
    unit = recipe("several.vcl")
    assert unit.recv(headers={"Host": "api.example"}).backend == "api"
    assert {unit.recv(headers={"Host": "shop.example"}).backend for _ in range(4)} == {"web1", "web2"}


def test_errors(recipe: Recipe) -> None:
    unit = recipe("errors.vcl")
    assert unit.recv(url="/old/page").synth == (301, "/new/page")
    moved = unit.synth(status=301, reason="/new/page").resp
    assert (moved.http["Location"], moved.reason) == ("/new/page", "Moved Permanently")


# -- those that need a cache -------------------------------------------------------------------------------------------


def test_tags_esi_and_arms(varnishpy: Any, tmp_path: Path) -> None:
    def app(request: Request) -> tuple[int, dict[str, str], str]:
        if request.path == "/page":
            page = '<p>page <esi:include src="/fragment/greeting"/>'
            return 200, {"Content-Type": "text/html", "Cache-Control": "max-age=60", "Set-Cookie": "a=b"}, page
        if request.path.startswith("/fragment/"):
            return 200, {"Content-Type": "text/html"}, f"hello {request.headers.get('cookie', 'nobody')}"
        return 200, {"xkey": "product-7 category-2", "Cache-Control": "max-age=60"}, request.url

    def cache(name: str) -> Any:
        path = tmp_path / name
        path.write_text(RECIPES[name])
        return varnishpy(path, backends={"app": app})

    tags = cache("tags.vcl")
    tags.get("/a").assert_miss().assert_no_header("xkey")
    tags.get("/a").assert_hit()
    purged = tags.request("PURGE", "/", headers={"xkey-purge": "product-7"})
    assert (purged.status, purged.reason) == (200, "Purged 1")
    tags.get("/a").assert_miss()

    esi = cache("esi.vcl")
    assert esi.get("/page", headers={"Cookie": "name=ann"}).assert_miss().text == "<p>page hello name=ann"
    assert esi.get("/page", headers={"Cookie": "name=bob"}).assert_hit().text == "<p>page hello name=bob"
    assert esi.get("/fragment/greeting").status == 404

    arms = cache("ab.vcl")
    first = arms.get("/x")
    arm = first.headers["Set-Cookie"].partition(";")[0]
    assert arm in ("arm=a", "arm=b")
    arms.get("/x", headers={"Cookie": arm}).assert_hit().assert_no_header("Set-Cookie")
    arms.get("/x", headers={"Cookie": "arm=b" if arm == "arm=a" else "arm=a"}).assert_miss()


def test_an_old_page_in_place_of_an_error(varnishpy: Any, tmp_path: Path) -> None:
    status = [200]

    def app(request: Request) -> tuple[int, dict[str, str], str]:
        return status[0], {"Cache-Control": "max-age=60"}, "page"

    path = tmp_path / "grace.vcl"
    path.write_text(RECIPES["grace.vcl"])
    cache = varnishpy(path, backends={"app": app})
    cache.get("/").assert_miss()
    status[0] = 500
    cache.sick("app")
    cache.travel(3600)
    cache.get("/").assert_hit().assert_status(200)


def test_a_websocket_goes_through(varnishpy: Any, tmp_path: Path) -> None:
    """The handshake and what follows it, both ways."""
    path = tmp_path / "websocket.vcl"
    path.write_text(RECIPES["websocket.vcl"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        cache = varnishpy(path, backends={"app": server.getsockname()})
        with socket.create_connection(("127.0.0.1", cache.instance.ports["http"]), 20) as client:
            lines = ["GET /chat HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
            client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            server.settimeout(20)
            origin, _ = server.accept()
            with origin:
                origin.settimeout(20)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += origin.recv(65536)
                assert b"upgrade: websocket\r\n" in head.lower()
                origin.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi")
                client.settimeout(20)
                answer = b""
                while not answer.endswith(b"hi"):
                    answer += client.recv(65536)
                assert answer.startswith(b"HTTP/1.1 101 ")
                client.sendall(b"\x81\x02yo")
                assert origin.recv(100) == b"\x81\x02yo"
