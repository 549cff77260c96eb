"""What the cache tells of latencies: each request in one bucket, by handling and by backend."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running

VCL = """
vcl 4.1;
backend plain { .host = "127.0.0.1"; .port = "%d"; }
backend other { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    set req.backend_hint = plain;
    if (req.url ~ "^/other") { set req.backend_hint = other; }
    if (req.url ~ "pass") { return (pass); }
    if (req.url ~ "synth") { return (synth(200)); }
}
"""


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    origin = Origin()
    for path in ("/", "/pass", "/other", "/other/pass"):
        origin.pages[path] = page
    directory = tmp_path_factory.mktemp("latency")
    vcl = directory / "two.vcl"
    vcl.write_text(VCL % (origin.port, origin.port))
    with running(directory / "v", "-f", str(vcl), "-p", "latency_buckets=0.5,100") as made:
        yield made
    origin.close()


def page(exchange: Exchange) -> None:
    exchange.answer(b"x", cache_control="max-age=600")


def found(cache: Cache) -> dict[tuple[str, str], int]:
    document = json.loads(cache.stats_page("/latencies"))
    assert document["bounds"] == [0.5, 100.0]
    assert all(len(row["counts"]) == 3 and row["seconds"] > 0 for row in document["histograms"])
    return {(row["handling"], row["backend"]): sum(row["counts"]) for row in document["histograms"]}


def test_each_request_is_counted_once(cache: Cache) -> None:
    for path in ("/", "/", "/", "/pass", "/other", "/other", "/other/pass", "/synth"):
        assert cache.get(path).status == 200
    expected = {
        ("hit", "plain"): 2, ("miss", "plain"): 1, ("pass", "plain"): 1, ("fetch", "plain"): 2,
        ("hit", "other"): 1, ("miss", "other"): 1, ("pass", "other"): 1, ("fetch", "other"): 2,
    }  # fmt: skip
    assert found(cache) == expected
    assert cache.counter("VBE.boot.plain.happy") == 0, "without a probe nothing was probed"
    text = cache.stats_page("/metrics").decode()
    assert 'varnishpy_request_first_byte_seconds_count{handling="hit",backend="plain"} 2\n' in text
    assert 'varnishpy_fetch_first_byte_seconds_bucket{backend="other",le="+Inf"} 2\n' in text
