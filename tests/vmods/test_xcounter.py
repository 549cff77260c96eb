"""VMOD xcounter."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy import stats
from varnishpy.stats.columns import Column


def shown() -> dict[str, tuple[int, Column]]:
    """The counters of this class that readers see."""
    found = [segment for segment in stats.registry.all() if segment.table.name == "XCNT"]
    return {segment.name: (segment.value("val"), segment.table.columns[0]) for segment in found}


def bench(new: str, body: str = "") -> Bench:
    return Bench(f"import xcounter; sub vcl_init {{ new c = xcounter.vsc({new}); }} sub vcl_recv {{ {body} }}")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("c.incr(2); c.incr(3, false);", "5"),
        ("c.incr(5); c.decr(2);", "3"),
        ("c.set(7); c.set(-1); c.incr(-1); c.decr(-1);", "7"),
        ("c.decr(1);", "-1"),
    ],
)
def test_counting(body: str, value: str) -> None:
    made = bench("", f"{body} set req.http.out = c.get();")
    assert made.recv().http.get("out") == value
    made.vcl.discard()


def test_what_readers_see() -> None:
    made = bench('bytes, gauge, debug, "What it is", false, groupname = "site."', "c.incr(2);")
    made.recv()
    value, column = shown()["XCNT.test.site.c"]
    assert (value, column.format, column.kind, column.level) == (2, "bytes", "gauge", "debug")
    assert column.oneliner == "What it is"
    made.vcl.discard()
    assert shown() == {}


def test_without_the_name_of_the_program() -> None:
    made = bench("hidecold = false, hidevclname = true")
    assert set(shown()) == {"XCNT.c"}
    made.vcl.discard()


def test_hidden_while_cold() -> None:
    made = bench("", "c.incr(1);")
    assert shown() == {}
    made.vcl.warm()
    made.recv()
    assert shown()["XCNT.test.c"][0] == 1
    made.vcl.cool()
    assert shown() == {}
    made.vcl.warm()
    assert shown()["XCNT.test.c"][0] == 1
    made.vcl.discard()


def test_elapsed() -> None:
    made = Bench("import xcounter; sub vcl_recv { if (xcounter.elapsed() >= 0s) { return (pass); } }")
    assert made.returns() == "pass"


def test_readers_of_shared_memory_see_each_with_its_own_text(varnishpy: Callable[..., object]) -> None:
    cache = varnishpy(
        'import xcounter; sub vcl_init { new a = xcounter.vsc(oneliner = "one"); new b = xcounter.vsc(bytes, gauge); }'
        "sub vcl_recv { a.incr(2); b.set(3); return (synth(200)); }"
    )
    cache.get("/")  # type: ignore[attr-defined]
    cache.wait_counter("XCNT.vcl1.a.val", 2)  # type: ignore[attr-defined]
    cache.wait_counter("XCNT.vcl1.b.val", 3)  # type: ignore[attr-defined]
