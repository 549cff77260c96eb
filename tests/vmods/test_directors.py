"""VMOD directors: who is chosen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.vcl.vcl_bench import Bench

BACKENDS = "vcl 4.1; import directors;\n" + "".join(f'backend {name} {{ .host = "127.0.0.1"; }}\n' for name in "abc")


def bench_for(kind: str, add: str, pick: str = "d.backend()") -> Bench:
    return Bench(
        f"{BACKENDS}sub vcl_init {{ new d = directors.{kind}; {add} }}\n"
        "unused a; unused b; unused c;\n"
        f"sub vcl_recv {{ set req.backend_hint = {pick}; set req.http.be = req.backend_hint.resolve(); }}"
    )


def chosen(bench: Bench, count: int = 1, url: str = "/") -> list[Any]:
    return [bench.recv(url).http.get("be") for _ in range(count)]


ADD = "d.add_backend(a); d.add_backend(b); d.add_backend(c);"


def test_round_robin_skips_the_sick() -> None:
    bench = bench_for("round_robin()", ADD)
    assert chosen(bench, 4) == ["a", "b", "c", "a"]
    bench.host.backends["b"].is_healthy = False
    assert chosen(bench, 3) == ["c", "a", "c"]
    for backend in bench.host.backends.values():
        backend.is_healthy = False
    assert chosen(bench) == [""]


def test_fallback() -> None:
    bench = bench_for("fallback()", ADD)
    bench.host.backends["a"].is_healthy = False
    assert chosen(bench) == ["b"]
    bench.host.backends["a"].is_healthy = True
    assert chosen(bench) == ["a"]
    sticky = bench_for("fallback(sticky=true)", ADD)
    sticky.host.backends["a"].is_healthy = False
    assert chosen(sticky) == ["b"]
    sticky.host.backends["a"].is_healthy = True
    assert chosen(sticky) == ["b"]


def test_random_goes_by_weight() -> None:
    bench = bench_for("random()", "d.add_backend(a, 9.0); d.add_backend(b, 1.0); d.add_backend(c, 0.0);")
    seen = Counter(chosen(bench, 400))
    assert seen["a"] > 3 * seen["b"] > 0
    assert seen["c"] == 0


def test_hash_keeps_to_its_choice() -> None:
    add = "d.add_backend(a); d.add_backend(b); d.add_backend(c);"
    bench = bench_for("hash()", add, "d.backend(req.url)")
    choices = {url: chosen(bench, 3, url) for url in map(str, range(20))}
    assert all(len(set(each)) == 1 for each in choices.values())
    assert {each[0] for each in choices.values()} == {"a", "b", "c"}


@pytest.mark.parametrize("by", ["HASH", "URL", "KEY, key=1234567", "BLOB, key_blob=:AAAAAQ==:"])
def test_shard_is_stable(by: str) -> None:
    bench = bench_for("shard()", ADD + " d.reconfigure();", f"d.backend(by={by}, rampup=false)")
    first = chosen(bench, 3)
    assert len(set(first)) == 1
    bench.host.backends[first[0]].is_healthy = False
    assert chosen(bench)[0] not in ("", first[0])


def test_shard_moves_only_what_it_must() -> None:
    both = bench_for("shard()", ADD + " d.reconfigure();", "d.backend(by=URL)")
    less = bench_for("shard()", "d.add_backend(a); d.add_backend(b); d.reconfigure();", "d.backend(by=URL)")
    for url in map(str, range(60)):
        with_all = chosen(both, 1, url)[0]
        if with_all != "c":
            assert chosen(less, 1, url)[0] == with_all


def test_shard_alternatives_differ() -> None:
    picks = {
        alt: chosen(bench_for("shard()", ADD + " d.reconfigure();", f"d.backend(by=KEY, key=7, alt={alt})"))[0]
        for alt in range(3)
    }
    assert sorted(picks.values()) == ["a", "b", "c"]


def test_shard_ramps_up() -> None:
    bench = bench_for("shard()", ADD + " d.set_rampup(10s); d.reconfigure();", "d.backend(by=KEY, key=7)")
    home = chosen(bench, 1)[0]
    bench.host.backends[home].changed = 99.0  # a second ago: the others take most of its load
    assert chosen(bench, 50).count(home) < 25


def test_shard_parameters() -> None:
    bench = Bench(
        BACKENDS + "sub vcl_init { new p = directors.shard_param(); p.set(by=KEY, key=7); new d = directors.shard();"
        f"{ADD} d.associate(p.use()); d.reconfigure(); }}\n"
        "sub vcl_recv { set req.backend_hint = d.backend(resolve=LAZY); set req.http.be = req.backend_hint.resolve();"
        " set req.http.by = p.get_by() + p.get_key(); set req.http.direct = d.backend(by=KEY, key=7); }"
    )
    req = bench.recv()
    assert req.http.get("by") == "KEY7"
    assert req.http.get("be") == req.http.get("direct")


def test_lookup_and_release() -> None:
    bench = Bench(
        BACKENDS + 'sub vcl_init { new d = directors.round_robin(); d.add_backend(directors.lookup("b")); }\n'
        "sub vcl_recv { set req.backend_hint = d.backend(); set req.http.be = req.backend_hint.resolve();"
        " } unused b; unused c;"
    )
    assert chosen(bench) == ["b"]
    assert [director.vcl_name for director in bench.vcl.directors()] == ["a", "b", "c", "d"]
    bench.vcl.discard()
    assert bench.vcl.directors() == []
