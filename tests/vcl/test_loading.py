"""Loading, temperature, labels, discarding."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vcl.vcl_bench import HEAD, Bench, FakeHost
from varnishpy.cli.vcl_list import list_text
from varnishpy.vcl.compiler import CompileOptions, compile_vcl
from varnishpy.vcl.loader import VclLoadError, load
from varnishpy.vcl.registry import VclRegistry


def source(body: str = "", **options: Any) -> str:
    return compile_vcl(HEAD + body, "x", CompileOptions(**options)).python_source


def test_failed_init_undoes_everything() -> None:
    host = FakeHost()
    with pytest.raises(VclLoadError) as caught:
        load("bad", source('sub vcl_init { return (fail("so what")); }'), host)
    assert str(caught.value) == 'VCL "bad" Failed initialization\nMessage:\n\tso what\n'
    assert host.backends["b"].life == ["release"]


def test_objects_must_be_made() -> None:
    text = "import directors; sub vcl_init { if (false) { new rr = directors.round_robin(); } }"
    with pytest.raises(VclLoadError, match="Object rr not initialized"):
        load("x", source(text), FakeHost())


def test_temperature_reaches_backends() -> None:
    bench = Bench("")
    bench.vcl.warm()
    bench.vcl.warm()
    bench.vcl.cool()
    bench.vcl.discard()
    assert bench.host.backends["b"].life == ["warm", "cool", "release"]


def test_registry_life() -> None:
    registry = VclRegistry(FakeHost())
    with pytest.raises(VclLoadError):
        registry.active()
    registry.load("one", source())
    registry.load("two", source(), warm=False, state="cold")
    registry.use("one")
    vcl = registry.active()
    assert (vcl.name, vcl.busy) == ("one", 1)
    assert list_text(registry.rows()).splitlines() == [
        "active      auto   warm   1   one",
        "available   cold   cold   0   two",
    ]
    with pytest.raises(VclLoadError, match="already loaded"):
        registry.load("one", source())
    registry.use("two")
    registry.discard("one")
    assert not vcl.discarded
    assert [row.status for row in registry.rows()] == ["active", "discarded"]
    vcl.rel()
    registry.poke()
    assert vcl.discarded
    assert [row.name for row in registry.rows()] == ["two"]


def test_labels() -> None:
    registry = VclRegistry(FakeHost())
    registry.load("target", source())
    registry.label("lbl", "target")
    registry.load("main", source("sub vcl_recv { return (vcl(lbl)); }", labels=("lbl",)))
    registry.use("main")
    bench = Bench("")
    bench.vcl = registry.active()
    req = bench.request(Host="a")
    assert bench.run("recv", req) == "vcl"
    assert bench.ctx.selected == (registry.get("target"), "lbl")
    assert list_text(registry.rows()).splitlines() == [
        "available   auto    warm   0   target   <-   (1 label)",
        "available   label   warm   0   lbl      ->   target (1 return(vcl))",
        "active      auto    warm   1   main",
    ]
    registry.load("other", source())
    registry.label("lbl", "other")
    bench.run("recv", req)
    assert bench.ctx.selected == (registry.get("other"), "lbl")


def test_labels_that_a_program_uses_are_known() -> None:
    compiled = compile_vcl(HEAD + "sub vcl_recv { return (vcl(l1)); }", "x", CompileOptions(labels=("l1", "l2")))
    assert compiled.labels == ["l1"]
    assert '"type": "$VCL"' in compiled.symtab


def test_cold_waits_for_the_last_task() -> None:
    registry = VclRegistry(FakeHost())
    registry.load("one", source())
    vcl = registry.referenced("one")
    registry.set_state("one", False, "cold")
    assert vcl.temperature == "busy"
    vcl.rel()
    registry.poke()
    assert vcl.temperature == "cold"


def test_what_holds_a_program_keeps_it_cooling() -> None:
    registry = VclRegistry(FakeHost())
    registry.load("one", source())
    vcl = registry.get("one")
    assert vcl is not None
    hold = vcl.hold("a thread of mine")
    registry.set_state("one", False, "auto")
    assert vcl.temperature == "cooling"
    with pytest.raises(VclLoadError) as caught:
        registry.set_state("one", True, "auto")
    assert str(caught.value) == (
        "Failed <vcl.state one auto>\nMessage:\n\tVCL one is waiting for:\n\t- a thread of mine"
    )
    registry.discard("one")
    assert (registry.rows()[0].status, registry.rows()[0].temperature) == ("discarded", "cooling")
    hold.release()
    registry.poke()
    assert registry.rows() == []


def test_a_program_may_be_kept_from_going_cold() -> None:
    registry = VclRegistry(FakeHost())
    registry.load("one", source())
    vcl = registry.get("one")
    assert vcl is not None
    hold = vcl.hold("traffic of mine", keeps_warm=True)
    registry.set_state("one", False, "cold")
    registry.poke()
    assert (vcl.temperature, vcl.busy) == ("busy", 1)
    registry.set_state("one", True, "auto")
    assert vcl.temperature == "warm"
    registry.set_state("one", False, "cold")
    hold.release()
    registry.poke()
    assert vcl.temperature == "cold"


def test_vmod_events(tmp_path: Any) -> None:
    (tmp_path / "evt.py").write_text(
        "from varnishpy.vmods.api import *\nSEEN = []\n"
        "def vmod_event(ctx, priv, event):\n    SEEN.append(event)\n    priv['n'] = len(SEEN)\n"
        "def count(ctx: Ctx, priv: PRIV_VCL) -> INT:\n    return priv['n']\n"
    )
    text = "import evt; sub vcl_recv { set req.http.n = evt.count(); }"
    bench = Bench(text, CompileOptions(vmod_path=[str(tmp_path)]))
    assert bench.recv().http.get("n") == "1"
    bench.vcl.warm()
    (evt,) = bench.vcl.vmods
    bench.vcl.discard()
    assert evt.module.SEEN == ["load", "warm", "cold", "discard"]
