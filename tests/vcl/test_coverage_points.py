"""What a program compiled for coverage counts: every statement once, both arms of every condition, no more."""

from __future__ import annotations

from typing import Any

import pytest

from varnishpy.vcl.compiler import CompileOptions, compile_vcl

PROGRAM = """vcl 4.1;
backend default none;
sub chooses {
    if (req.http.a) {
        set req.http.arm = "a";
    } elseif (req.http.b) {
        set req.http.arm = "b";
    } elif (req.http.c) {
        set req.http.arm = "c";
    }
    if (req.http.e) {
        return;
        set req.http.never = "1";
    } else {
        unset req.http.f;
    }
}
sub empty { }
sub vcl_recv {
    call chooses;
    call empty;
    return (synth(200));
}
"""


class Request:
    """Headers that read as they were given; what is set is kept."""

    def __init__(self, names: str) -> None:
        self.fields: dict[str, str | None] = dict.fromkeys(names, "1")

    def get(self, name: str) -> str | None:
        return self.fields.get(name)

    def has(self, name: str) -> bool:
        return name in self.fields

    def unset(self, name: str) -> None:
        self.fields.pop(name, None)


@pytest.fixture
def module() -> dict[str, Any]:
    compiled = compile_vcl(PROGRAM, "covered", CompileOptions(coverage=True))
    namespace: dict[str, Any] = {"__name__": "vcl.covered"}
    exec(compile(compiled.python_source, "<covered>", "exec"), namespace)
    return namespace


def run(module: dict[str, Any], names: str) -> dict[tuple[str, int], int]:
    """The points of ``chooses`` that one call passes, by kind and line."""

    class Runtime:
        @staticmethod
        def set_header(ctx: object, message: Request, name: str, value: str) -> None:
            message.fields[name.lower()] = value

    module["rt"] = Runtime
    context = type("Ctx", (), {"http_req": Request(names), "trace": False, "handling": None})()
    module["HITS"][:] = [0] * len(module["HITS"])
    module["sub_chooses"](context)
    points = zip(module["COVERAGE"], module["HITS"], strict=True)
    return {(point[0], point[2]): hits for point, hits in points if point[4] == "chooses" and hits}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("a", {("true", 4), ("line", 5), ("false", 11), ("line", 15)}),
        ("b", {("false", 4), ("true", 6), ("line", 7), ("false", 11), ("line", 15)}),
        ("c", {("false", 4), ("false", 6), ("true", 8), ("line", 9), ("false", 11), ("line", 15)}),
        ("", {("false", 4), ("false", 6), ("false", 8), ("false", 11), ("line", 15)}),
        ("e", {("false", 4), ("false", 6), ("false", 8), ("true", 11), ("line", 12)}),
    ],
)
def test_each_way_through(module: dict[str, Any], names: str, wanted: set[tuple[str, int]]) -> None:
    passed = run(module, names)
    assert set(passed) == wanted | {("sub", 4), ("line", 4), ("line", 11)}
    assert set(passed.values()) == {1}


def test_what_follows_a_return_is_a_point_that_nothing_passes(module: dict[str, Any]) -> None:
    lines = [point[2] for point in module["COVERAGE"] if point[:2] == ("line", 0)]
    assert 13 in lines
    assert sorted(lines) == [4, 5, 7, 9, 11, 12, 13, 15, 20, 21, 22]


def test_an_empty_sub_is_entered(module: dict[str, Any]) -> None:
    module["HITS"][:] = [0] * len(module["HITS"])
    module["sub_empty"](type("Ctx", (), {"trace": False})())
    assert sum(module["HITS"]) == 1


def test_nothing_is_counted_unless_asked_for() -> None:
    source = compile_vcl(PROGRAM, "plain").python_source
    assert "HITS" not in source
    assert "COVERAGE" not in source
