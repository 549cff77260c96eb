"""No delay anywhere may cost an answer its body: every VCL method is slowed in turn, and the threads are perturbed.

One cache for each kind of storage serves every kind of request, over HTTP/1 and HTTP/2, eight at a time, while the
method named in ``X-Sleep`` sleeps. Each answer must be what it is without a delay. In the end everything is banned, and
nothing may be left: no object, no object core, no busy object, no octet of storage, no contained defect.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.waiting import wait_for

METHODS = (
    "recv", "pipe", "pass", "hash", "purge", "miss", "hit", "deliver", "synth",
    "backend_fetch", "backend_response", "backend_error",
)  # fmt: skip

VCL = """
vcl 4.1;
import vtc;
backend default { .host = "127.0.0.1"; .port = "%d"; }
backend dead { .host = "127.0.0.1"; .port = "1"; }
sub vcl_recv {
    SLEEP(recv)
    if (req.url ~ "^/pass") { return (pass); }
    if (req.url ~ "^/pipe") { return (pipe); }
    if (req.url ~ "^/synth") { return (synth(404, "made")); }
    if (req.url ~ "^/purge") { return (purge); }
    if (req.url ~ "^/restart" && req.restarts == 0) { return (pass); }
    return (hash);
}
sub vcl_pipe { SLEEP(pipe) set bereq.http.connection = "close"; }
sub vcl_pass { SLEEP(pass) }
sub vcl_hash { SLEEP(hash) }
sub vcl_purge { SLEEP(purge) }
sub vcl_miss { SLEEP(miss) }
sub vcl_hit { SLEEP(hit) }
sub vcl_deliver {
    SLEEP(deliver)
    if (req.url ~ "^/restart" && req.restarts == 0) { return (restart); }
}
sub vcl_synth { SLEEP(synth) set resp.body = "synthetic"; return (deliver); }
sub vcl_backend_fetch {
    SLEEP(backend_fetch)
    if (bereq.url ~ "^/dead" && bereq.retries == 0) { set bereq.backend = dead; } else { set bereq.backend = default; }
}
sub vcl_backend_response {
    SLEEP(backend_response)
    set beresp.grace = 0s;
    set beresp.ttl = 60s;
    if (bereq.url ~ "^/esi") { set beresp.do_esi = true; }
    if (bereq.url ~ "^/whole") { set beresp.do_stream = false; }
    if (bereq.url ~ "^/(hfm|restart)") { set beresp.uncacheable = true; set beresp.ttl = 1s; }
    if (bereq.url ~ "^/(pass-)?hfp") { return (pass(1s)); }
    if (bereq.url ~ "^/gzip-it") { set beresp.do_gzip = true; }
    if (bereq.url ~ "^/gunzip-it") { set beresp.do_gunzip = true; }
    if (bereq.url ~ "^/retry" && bereq.retries == 0) { return (retry); }
}
sub vcl_backend_error {
    SLEEP(backend_error)
    if (bereq.url ~ "^/dead" && bereq.retries == 0) { return (retry); }
    set beresp.body = "synthetic";
    return (deliver);
}
"""


def with_delays(vcl: str) -> str:
    for name in METHODS:
        subject = "bereq" if name.startswith("backend") or name == "pipe" else "req"
        vcl = vcl.replace(f"SLEEP({name})", f'if ({subject}.http.X-Sleep == "{name}") {{ vtc.sleep(3ms); }}')
    assert "SLEEP" not in vcl
    return vcl


def text_of(path: str, size: int) -> bytes:
    """What the origin has at a path: octets that no other path has."""
    block = hashlib.sha256(path.encode()).hexdigest().encode() + b"\n"
    return (block * (size // len(block) + 1))[:size]


SIZE = 20_000


@dataclass(frozen=True)
class Scenario:
    """A kind of request, and what must come back. ``{}`` in the path becomes a number that no other request has."""

    path: str
    method: str = "GET"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    size: int = SIZE
    want: Callable[[str], bytes] | None = None

    def wanted(self, path: str) -> bytes:
        return self.want(path) if self.want is not None else text_of(path, self.size)


def _esi(path: str) -> bytes:
    tail = path.rpartition("/")[2]
    parts = [text_of(f"/{kind}/{tail}", SIZE) for kind in ("pass", "hit", "hfm", "gzipped")]
    return b"<p>" + b"|".join(parts) + b"</p>"


def _synthetic(_: str) -> bytes:
    return b"synthetic"


def _nothing(_: str) -> bytes:
    return b""


SCENARIOS = {
    "hit": Scenario("/hit/fixed"),
    "miss": Scenario("/miss/{}"),
    "miss, not streamed": Scenario("/whole/{}"),
    "miss, large": Scenario("/big/{}", size=300_000),
    "pass": Scenario("/pass/{}"),
    "pass, chunked": Scenario("/pass-chunked/{}"),
    "pass, large": Scenario("/pass-big/{}", size=300_000),
    "pass, post": Scenario("/pass/{}", method="POST", body=b"x" * 5000),
    "pass, hit-for-pass": Scenario("/pass-hfp/{}"),
    "hit-for-miss": Scenario("/hfm/{}"),
    "hit-for-miss, shared": Scenario("/hfm/fixed"),
    "hit-for-pass": Scenario("/hfp/{}"),
    "hit-for-pass, shared": Scenario("/hfp/fixed"),
    "esi": Scenario("/esi/{}", want=_esi),
    "esi, zipped": Scenario("/esi/{}", headers={"accept-encoding": "gzip"}, want=_esi),
    "gzip of the origin": Scenario("/gzipped/{}", headers={"accept-encoding": "gzip"}),
    "gunzipped for the client": Scenario("/gzipped/{}"),
    "gunzipped, passed": Scenario("/pass-gzipped/{}"),
    "zipped on the way in": Scenario("/gzip-it/{}", headers={"accept-encoding": "gzip"}),
    "unzipped on the way in": Scenario("/gunzip-it/gzipped/{}"),
    "range of a hit": Scenario(
        "/hit/fixed", headers={"range": "bytes=100-299"}, status=206, want=lambda path: text_of(path, SIZE)[100:300]
    ),
    "range of a miss": Scenario(
        "/miss/{}", headers={"range": "bytes=-500"}, status=206, want=lambda path: text_of(path, SIZE)[-500:]
    ),
    "head": Scenario("/hit/fixed", method="HEAD", want=_nothing),
    "restart": Scenario("/restart/{}"),
    "retry": Scenario("/retry/{}"),
    "retry of a dead backend": Scenario("/dead/{}"),
    "backend error": Scenario("/broken/{}", status=503, want=_synthetic),
    "synth": Scenario("/synth/{}", status=404, want=_synthetic),
    "purge": Scenario("/purge/{}", want=_synthetic),
    "not modified": Scenario("/hit/fixed", headers={"if-none-match": '"fixed"'}, status=304, want=_nothing),
}
PIPE = Scenario("/pipe/{}", headers={"connection": "close"})


def answer(exchange: Exchange) -> None:
    """Every page of the origin."""
    path = exchange.target
    if path.startswith("/broken"):
        exchange.close = True
        return
    size = 300_000 if "big" in path else SIZE
    body = text_of(path, size)
    if path.startswith("/esi"):
        tail = path.rpartition("/")[2]
        names = ("pass", "hit", "hfm", "gzipped")
        body = b"<p>" + b"|".join(b'<esi:include src="/%s/%s"/>' % (n.encode(), tail.encode()) for n in names) + b"</p>"
    more = {"etag": '"fixed"'} if path.endswith("fixed") else {}
    if "gzipped" in path:
        body = gzip.compress(body)
        more["content_encoding"] = "gzip"
    if "chunked" in path:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 4096):
            piece = body[start : start + 4096]
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.send(b"0\r\n\r\n")
    else:
        exchange.answer(body, **more)


class _AnyPage(dict):  # type: ignore[type-arg]
    def get(self, _key: object, _default: object = None) -> Callable[[Exchange], None]:
        return answer


@pytest.fixture(
    scope="module",
    params=[("malloc", ""), ("malloc", "-p debug=+perturb"), ("file,{}/store,64m", "-p debug=+perturb")],
    ids=["malloc", "malloc, perturbed", "file, perturbed"],
)
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    origin = Origin()
    origin.pages = _AnyPage()
    directory = tmp_path_factory.mktemp("d")
    (directory / "delays.vcl").write_text(with_delays(VCL % origin.port))
    storage, more = request.param
    words = ["-f", str(directory / "delays.vcl"), "-s", f"s0={storage.format(directory)}", *more.split()]
    words += ["-p", "feature=+http2", "-p", "ban_lurker_age=0.01", "-p", "ban_lurker_sleep=0.01"]
    with running(directory / "v", *words) as made:
        yield made
        _all_let_go(made)
    origin.close()
    assert not origin.errors


def _all_let_go(cache: Cache) -> None:
    """Ban everything; then the cache must be as empty as it was."""
    cache.cli("ban", "obj.status", "!=", "0")

    def left() -> dict[str, int]:
        values = cache.counters()
        names = [name for name in values if name.endswith((".g_bytes", ".g_alloc"))]
        names += ["MAIN.n_object", "MAIN.n_objectcore", "MAIN.n_objecthead", "MAIN.thread_queue_len"]
        return {name: values[name] for name in names if values[name]}

    wait_for(lambda: not left(), f"everything to be given back, now {left()}")
    assert cache.counter("MAIN.req_contained") == 0


_numbers = itertools.count(1)


def _ask(cache: Cache, scenario: Scenario, sleep: str, version: int) -> str:
    """One request; what is wrong with its answer, or nothing."""
    path = scenario.path.format(next(_numbers))
    headers = {**scenario.headers, "x-sleep": sleep}
    if version == 1:
        got = cache.get(path, scenario.method, scenario.body, **headers)
        status, fields, body = got.status, got.headers, got.body
    else:
        with H2Client(cache.port) as client:
            stream = client.get(path, scenario.method, scenario.body, **headers)
        if stream.reset is not None:
            return f"{path}: reset {stream.reset}"
        status, fields, body = stream.status, stream.headers, bytes(stream.body)
    announced = fields.get("content-length")
    if announced not in (None, str(len(body))) and scenario.method != "HEAD" and status != 304:
        return f"{path}: {len(body)} octets of {announced}"
    if fields.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    if status != scenario.status or body != scenario.wanted(path):
        return f"{path}: {status}, {len(body)} octets, {body[:40]!r}"
    return ""


@pytest.mark.parametrize("sleep", ["nowhere", *METHODS])
def test_every_answer_is_whole(cache: Cache, sleep: str) -> None:
    jobs = [(scenario, version) for scenario in SCENARIOS.values() for version in (1, 2)] + [(PIPE, 1)]
    with ThreadPoolExecutor(8) as pool:
        wrong = [text for text in pool.map(lambda job: _ask(cache, job[0], sleep, job[1]), jobs) if text]
    assert not wrong, "\n".join(wrong)


def test_a_passed_answer_keeps_its_body_while_vcl_deliver_sleeps(cache: Cache, short_tmp: Path) -> None:
    """The fetch is over before the delivery begins, a hundred times."""
    with ThreadPoolExecutor(4) as pool:
        got = pool.map(lambda _: _ask(cache, SCENARIOS["pass"], "deliver", 1), range(100))
        assert [text for text in got if text] == []
