"""VMOD xkey over the index of tests/cache/test_keys.py; tests/vtc/vmod_xkey.vtc is the same on Debian's varnishd."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.vcl.loader import VclLoadError

VCL = """
import xkey;
sub vcl_init { xkey.header("Surrogate-Key"); xkey.header("Cache-Tag", "tags", commas); }
sub vcl_recv {
    if (req.method == "PURGE") {
        return (synth(200, xkey.purge(req.http.keys) + xkey.purge(req.http.tags, "tags", commas)));
    }
    if (req.method == "SOFT") { return (synth(200, xkey.softpurge(req.http.keys, ttl = 0s, grace = 0s))); }
}
sub vcl_deliver { set resp.http.hits = obj.hits; }
"""

ORIGIN = """
    loop 3 {
        rxreq
        txresp -hdr "Surrogate-Key: a b" -hdr "Cache-Tag: big sale, b" -body "x"
    }
"""


def test_surrogate_keys_and_cache_tags(varnishpy: Callable[..., object], origin: Callable[..., object]) -> None:
    origin(ORIGIN)
    cache = varnishpy(VCL)

    def hits() -> str:
        return cache.get("/").headers["hits"]  # type: ignore[attr-defined, no-any-return]

    def purge(method: str = "PURGE", **headers: str) -> str:
        return cache.request(method, "/", headers=headers).reason  # type: ignore[attr-defined, no-any-return]

    assert [hits(), hits()] == ["0", "1"]
    assert purge(keys="sale", tags="sale") == "0"
    assert hits() == "2"
    assert purge(keys="none", tags="big sale") == "1"
    assert hits() == "0"
    assert purge("SOFT", keys="a") == "1"
    assert hits() == "0"
    assert purge(keys="a, b") == "2"


def test_the_index_goes_with_the_last_program_that_imports_it() -> None:
    bench = Bench("import xkey;")
    keys = bench.host.keys
    assert len(keys._wanted) == 2
    bench.vcl.discard()
    assert not keys._wanted


def test_a_header_needs_a_name() -> None:
    with pytest.raises(VclLoadError, match="a header's name is needed"):
        Bench('import xkey; sub vcl_init { xkey.header(""); }')


def test_headers_are_named_in_vcl_init() -> None:
    bench = Bench('import xkey; sub vcl_recv { xkey.header("a"); }')
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == ["xkey.header() is for vcl_init"]


def test_null_is_no_key() -> None:
    bench = Bench(
        "import xkey; sub vcl_recv { set req.http.n = xkey.purge(req.http.no) + xkey.softpurge(req.http.no); }"
    )
    assert bench.recv().http.get("n") == "0"
