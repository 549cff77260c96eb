"""What the compiler hands to the child as tables: labels, known results, functions with trace points."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import HEAD, Bench, FakeHost
from varnishpy.log.tags import Tag
from varnishpy.vcl.compiler import CompileOptions, compile_vcl
from varnishpy.vcl.methods import METHODS
from varnishpy.vcl.module import Module
from varnishpy.vcl.registry import VclRegistry

BUILTIN_FIXED = {
    "pipe": "pipe",
    "pass": "fetch",
    "hit": "deliver",
    "miss": "fetch",
    "deliver": "deliver",
    "init": "ok",
    "fini": "ok",
}


def module(text: str, coverage: bool = False) -> Module:
    options = CompileOptions(labels=("l1", "l2"), coverage=coverage)
    return Module("test", "vcl.test", compile_vcl(HEAD + text, "test", options).python_source)


def test_methods_of_the_builtin_program_that_only_return_an_action_are_known() -> None:
    fixed = module("").fixed
    assert BUILTIN_FIXED.items() <= fixed.items()
    assert not fixed.keys() & {"backend_fetch", "recv", "hash", "synth", "backend_error", "backend_response", "purge"}
    assert all(action in METHODS[name].returns for name, action in fixed.items())


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("", "deliver"),
        ("return (restart);", "restart"),
        ("{ return (restart); }", "restart"),
        ("call nothing;", "deliver"),
        ('return (restart); set resp.http.never = "1";', "restart"),
        ('set resp.http.a = "1";', None),
        ("if (req.restarts == 0) { return (restart); }", None),
        ("call something;", None),
        ("return (synth(700));", None),
        ('return (fail("no"));', None),
        ("return (fail);", None),
    ],
)
def test_a_method_is_fixed_only_if_nothing_happens_before_it_returns(text: str, action: str | None) -> None:
    subs = 'sub nothing { } sub something { set resp.http.b = "1"; }'
    program = f"{subs} sub vcl_deliver {{ {text} }} sub vcl_init {{ if (false) {{ return (ok); }} }}"
    program += "sub vcl_synth { call nothing; call something; }"
    assert module(program).fixed.get("deliver") == action


def test_nothing_is_fixed_where_passing_is_counted() -> None:
    assert module("", coverage=True).fixed == {}


@pytest.mark.parametrize("method", sorted(BUILTIN_FIXED.keys() - {"init", "fini"}))
def test_a_fixed_method_leaves_the_records_of_running_it(method: str) -> None:
    bench = Bench("")
    fixed = bench.vcl.fixed[method]
    assert bench.run(method, bench.request()) == fixed.action
    assert bench.log.records == [(Tag(tag).name, text) for tag, text in fixed.records]


def test_nothing_is_fixed_where_the_program_may_turn_the_trace_on() -> None:
    assert Bench("sub vcl_recv { set req.trace = true; }").vcl.fixed == {}


def test_labels_are_counted_by_what_the_program_does_not_by_what_its_text_says() -> None:
    registry = VclRegistry(FakeHost())
    for name in ("target", "other"):
        registry.load(name, compile_vcl(HEAD, name).python_source)
    registry.label("l1", "target")
    registry.label("l2", "other")
    text = "# rt.select(ctx, 'l2')\nsub vcl_recv { if (req.url) { return (vcl(l1)); } return (vcl(l1)); }"
    options = CompileOptions(labels=("l1", "l2"))
    registry.load("main", compile_vcl(HEAD + text, "main", options).python_source)
    assert {row.name: row.users for row in registry.rows() if row.state == "label"} == {"l1": 1, "l2": 0}
    registry.use("other")
    registry.discard("main")
    assert {row.name: row.users for row in registry.rows() if row.state == "label"} == {"l1": 0, "l2": 0}


def test_trace_points_are_in_the_functions_for_traced_tasks_alone() -> None:
    bench = Bench('sub vcl_deliver { if (req.url == "/b") { set resp.http.b = "1"; } }\nsub vcl_hit { }')
    req = bench.request("/b")
    bench.run("deliver", req)
    assert bench.log.texts("VCL_trace") == []
    req.vcl_trace = True
    bench.run("deliver", req)
    passed = [bench.vcl.references[int(text.split()[1]) - 1] for text in bench.log.texts("VCL_trace")]
    assert [(source, line) for source, line, _ in passed if source == 0] == [(0, 3), (0, 3), (0, 3)]
    assert len(passed) > 3, "the builtin part is traced too"
