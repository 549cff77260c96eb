"""Workspaces that are as small as may be, and requests and answers that take more and more of them.

By and by each allocation is the first that fails. What a client gets is then a whole answer or an error, and nothing
stays behind: no object, no connection, no thread that had to be saved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running
from tools.soaking.watch import Watch

PAGE = b'<p>before <esi:include src="/part"/> after'
BODIES = {"/plain": b"plain", "/gzip": b"gzip" * 50, "/pass": b"passed", "/again": b"again", "/synth": b"made up"}
VCL = """
vcl 4.1;
import std;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    set req.http.A = req.url + "-recv";
    std.collect(req.http.Pad);
    if (req.url == "/pass") { return (pass); }
    if (req.url == "/synth") { return (synth(200)); }
}
sub vcl_hash { hash_data(req.http.A); }
sub vcl_synth {
    if (resp.status == 200) {
        set resp.http.D = req.http.A + "-synth";
        synthetic("made up");
        return (deliver);
    }
}
sub vcl_backend_fetch { set bereq.http.B = bereq.url + "-fetch"; }
sub vcl_backend_response {
    set beresp.http.C = bereq.http.B + "-response";
    if (bereq.url == "/page") { set beresp.do_esi = true; }
    if (bereq.url == "/gzip") { set beresp.do_gzip = true; }
}
sub vcl_deliver {
    set resp.http.D = req.http.A + resp.http.C + "-deliver";
    if (req.url == "/again" && req.restarts == 0) { return (restart); }
}
"""
CLIENT, BACKEND = 9 * 1024, 2 * 1024
STEP = 160  # octets: fewer than between two allocations that matter


class Padded:
    """Pages of the origin whose heads have so many octets more."""

    def __init__(self) -> None:
        self.size = 0

    def page(self, body: bytes) -> object:
        def answer(exchange: Exchange) -> None:
            exchange.answer(body, cache_control="max-age=60", pad="p" * self.size)

        return answer


@pytest.fixture(scope="module")
def padded() -> Padded:
    return Padded()


@pytest.fixture(scope="module")
def cache(padded: Padded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    origin = Origin()
    for path, body in {**BODIES, "/page": PAGE, "/part": b"part"}.items():
        origin.pages[path] = padded.page(body)  # type: ignore[assignment]
    directory = tmp_path_factory.mktemp("room")
    file = directory / "room.vcl"
    file.write_text(VCL % origin.port)
    words = ["-p", f"workspace_client={CLIENT}b", "-p", f"workspace_backend={BACKEND}b", "-p", "http_req_size=9k"]
    words += ["-p", "feature=+http2", "-s", "s0=malloc,10m", "-p", "http_resp_size=2k", "-p", "first_byte_timeout=10"]
    with running(directory / "v", "-f", str(file), *words) as made:
        yield made
    origin.close()


def ask(cache: Cache, client: H2Client, protocol: str, path: str, pad: int) -> tuple[int, dict[str, str], bytes]:
    """Status (0: none), headers and body; an answer that is cut off counts as none."""
    method, body = ("POST", b"abcdef") if path == "/pass" else ("GET", None)
    pads = {f"Pad-{n}": "p" * 4000 for n in range(pad // 4000)} | {"Pad-x": "p" * (pad % 4000)}
    if protocol == "h1":
        try:
            response = cache.get(path, method, body, **pads)
        except OSError:
            return 0, {}, b""
        return response.status, response.headers, response.body
    stream = client.get(path, method, body, **{name.lower(): value for name, value in pads.items()})
    return (0 if stream.reset is not None else stream.status), stream.headers, bytes(stream.body)


def judge(path: str, status: int, headers: dict[str, str], body: bytes) -> str:
    """What sort of answer it is; a wrong one fails."""
    if status != 200:
        assert status == 0 or status >= 400, status
        return "none" if status == 0 else "error"
    assert headers.get("d", "").startswith(f"{path}-recv"), "what VCL set is lost"
    if path == "/page":
        assert body.startswith(b"<p>before ") and body.endswith(b" after"), body
        return "whole" if body == b"<p>before part after" else "without its part"
    assert body == BODIES[path]
    return "whole"


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("path", ["/plain", "/gzip", "/pass", "/again", "/synth", "/page"])
@pytest.mark.parametrize("side", ["client", "backend"])
def test_each_allocation_fails_in_turn(cache: Cache, padded: Padded, protocol: str, path: str, side: str) -> None:
    found: Counter[str] = Counter()
    with H2Client(cache.port) as client:
        for size in range(0, CLIENT if side == "client" else BACKEND, STEP):
            padded.size = 0 if side == "client" else size
            answer = ask(cache, client, protocol, path, size if side == "client" else 0)
            found[judge(path, *answer)] += 1
            cache.cli("debug.empty")
    assert found["whole"]
    assert (path == "/synth" and side == "backend") or found["whole"] < found.total(), found
    assert Watch(cache).rest() == {}
    assert cache.counter("MAIN.req_contained") == 0
