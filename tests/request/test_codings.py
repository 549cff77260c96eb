"""Codings beside gzip: what clients get, what is asked of the origin, what is stored once for whom."""

from __future__ import annotations

import gzip
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Setting
from tests.request.request_harness import Answer, Cache
from varnishpy.params import ParamError, table
from varnishpy.request.codecs import PACKERS, UNPACKERS, CodecError

PAGE = b"hello world, " * 400
DO_GZIP = "sub vcl_backend_response { set beresp.do_gzip = true; }"
PACK: dict[str, Any] = {"br": brotli.compress, "zstd": zstandard.compress, "gzip": gzip.compress}
UNPACK: dict[str | None, Any] = {
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "gzip": gzip.decompress,
    None: bytes,
}


@pytest.fixture
def codings(cache: Cache, setting: Setting) -> Cache:
    setting("http_codings", "zstd br")
    return cache


def coding_of(cache: Cache, accepts: str | None, url: str = "/p") -> str | None:
    """In which coding a client gets the page, which must be the page."""
    client = cache.get(url, headers={} if accepts is None else {"Accept-Encoding": accepts})
    assert (client.error, client.status) == (None, 200), accepts
    coding = client.headers.get("content-encoding")
    assert UNPACK[coding](client.body) == PAGE
    return coding


@pytest.mark.parametrize("coding", PACKERS)
@given(parts=st.lists(st.binary(max_size=2000), max_size=8), limit=st.integers(1, 3000), size=st.integers(1, 700))
def test_what_is_packed_is_unpacked(coding: str, parts: list[bytes], limit: int, size: int) -> None:
    packer = PACKERS[coding]()
    packed = b"".join([*map(packer.feed, parts), packer.end()])
    unpacker = UNPACKERS[coding]()
    made = []
    for at in range(0, len(packed), size):
        unpacker.feed(packed[at : at + size])
        while piece := unpacker.drain(limit):
            made.append(piece)
    assert b"".join(made) == b"".join(parts)
    assert unpacker.ended and not unpacker.junk()
    unpacker.feed(b"x")
    assert unpacker.drain(10) == b"" and unpacker.junk()


@pytest.mark.parametrize("coding", PACKERS)
def test_a_bomb_comes_in_pieces(coding: str) -> None:
    unpacker = UNPACKERS[coding]()
    unpacker.feed(PACK[coding](b"\0" * 30_000_000))
    sizes = []
    while piece := unpacker.drain(65536):
        sizes.append(len(piece))
    assert sum(sizes) == 30_000_000 and max(sizes) <= 1 << 20 and unpacker.ended


@pytest.mark.parametrize("coding", PACKERS)
def test_octets_that_mean_nothing(coding: str) -> None:
    unpacker = UNPACKERS[coding]()
    with pytest.raises(CodecError):
        unpacker.feed(b"\xff" * 100)
        while unpacker.drain(100):
            pass


def test_each_client_gets_the_best_that_it_takes(codings: Cache) -> None:
    codings.vcl(DO_GZIP)
    codings.origin.on("/p", Answer(PAGE, headers={"Cache-Control": "max-age=100"}))
    for accepts, coding in [
        ("br", "br"),
        ("gzip, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, br;q=0.1, gzip", "br"),
        ("gzip", "gzip"),
        ("gzip;q=0", None),
        (None, None),
        ("br;q=0", None),
    ]:
        assert coding_of(codings, accepts) == coding, accepts
    asked = [request.get("accept-encoding") for request in codings.origin.requests]
    assert asked == ["br, gzip", "zstd, gzip", "gzip"]  # one fetch a variant


@pytest.mark.parametrize("sends", ["br", "zstd", "gzip"])
def test_what_the_origin_has_packed_is_kept_so(codings: Cache, sends: str) -> None:
    codings.origin.on("/p", Answer(PACK[sends](PAGE), headers={"Content-Encoding": sends}))
    assert coding_of(codings, f"{sends}, gzip") == sends
    assert coding_of(codings, f"{sends}, gzip") == sends
    assert len(codings.origin.requests) == 1


def test_another_coding_is_not_for_those_who_do_not_take_it(codings: Cache) -> None:
    """Even where the origin forgets Vary."""
    codings.origin.on("/p", Answer(brotli.compress(PAGE), headers={"Content-Encoding": "br"}), Answer(PAGE))
    assert coding_of(codings, "br") == "br"
    assert coding_of(codings, "gzip") is None
    assert len(codings.origin.requests) == 2


def test_a_304_that_forgets_vary(codings: Cache) -> None:
    packed = {"Content-Encoding": "br", "ETag": '"x"', "Cache-Control": "max-age=0"}
    codings.vcl("sub vcl_backend_response { set beresp.grace = 0s; set beresp.keep = 1h; set beresp.ttl = 1ms; }")
    unchanged = Answer(status=304, headers={"ETag": '"x"', "Vary": "X-Other", "Cache-Control": "max-age=100"})
    codings.origin.on("/p", Answer(brotli.compress(PAGE), headers=packed), unchanged, Answer(PAGE))
    assert coding_of(codings, "br") == "br"
    for oc in codings.env.hash.all_objects():
        oc.t_origin -= 10
    assert coding_of(codings, "br") == "br"
    assert codings.origin.requests[-1].get("if-none-match") == '"x"'
    assert coding_of(codings, "gzip") is None


@pytest.mark.parametrize("do", ["do_gunzip", "do_esi"])
def test_it_is_unpacked_where_vcl_wants_to_see_it(codings: Cache, do: str) -> None:
    codings.vcl(f"sub vcl_backend_response {{ set beresp.{do} = true; }}")
    codings.origin.on("/p", Answer(zstandard.compress(PAGE), headers={"Content-Encoding": "zstd"}))
    assert coding_of(codings, "zstd") is None


def test_pages_with_includes_are_gzip_or_plain(codings: Cache) -> None:
    codings.vcl('sub vcl_backend_response { if (bereq.url == "/p") { set beresp.do_esi = true; } ' + DO_GZIP[27:])
    codings.origin.on("/p", Answer(b'<esi:include src="/part"/>'))
    codings.origin.on("/part", Answer(PAGE))
    assert coding_of(codings, "br, gzip") == "gzip"
    assert coding_of(codings, "br") is None
    assert [r.get("accept-encoding") for r in codings.origin.requests if r.url == "/part"] == ["gzip"]


@pytest.mark.parametrize("coding", ["br", "zstd"])
@pytest.mark.parametrize("cut", ["short", "junk"])
def test_a_body_that_is_cut_is_not_a_body(codings: Cache, coding: str, cut: str) -> None:
    packed = PACK[coding](PAGE)
    body = packed[:-3] if cut == "short" else packed + b"abc"
    codings.origin.on("/p", Answer(body, headers={"Content-Encoding": coding}))
    client = codings.get("/p", headers={"Accept-Encoding": coding})
    assert client.status == 503 or client.error is not None or client.failed is not None


def test_a_pass_is_what_the_origin_and_the_client_make_of_it(codings: Cache) -> None:
    codings.vcl("sub vcl_recv { return (pass); }" + DO_GZIP)
    codings.origin.on("/p", Answer(PAGE))
    assert coding_of(codings, "br;q=0, gzip") == "gzip"
    assert codings.origin.requests[-1].get("accept-encoding") == "br;q=0, gzip"


def test_without_the_parameter_there_is_gzip(cache: Cache) -> None:
    cache.vcl(DO_GZIP)
    cache.origin.on("/p", Answer(PAGE))
    assert coding_of(cache, "br, gzip, zstd") == "gzip"
    assert cache.origin.requests[-1].get("accept-encoding") == "gzip"


def test_wrong_codings(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParamError, match=r"http_codings are of br, zstd; gzip is always there \(deflate\)"):
        table.set("http_codings", "br,deflate")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ParamError, match=r"br needs the package brotli \(pip install 'varnishpy\[codings\]'\)"):
        table.set("http_codings", "br")
