"""VMOD var."""

from __future__ import annotations

import pytest

from tests.vmods.vmod_bench import out, run


@pytest.mark.parametrize(
    ("before", "expression", "result"),
    [
        ('var.set("a", "x");', 'var.get("a") + var.get_string("a")', "xx"),
        ('var.set("a", req.http.none);', 'var.get("a") + "-"', "-"),
        ('var.set(req.http.none, "x");', 'var.get(req.http.none) + "-"', "-"),
        ('var.set_int("a", 7);', '"" + var.get_int("a") + var.get("a") + var.get_real("a")', "70.000"),
        ('var.set_int("a", 7); var.set("a", "x");', 'var.get_int("a") + var.get("a")', "0x"),
        ('var.set_real("a", 1.5);', 'var.get_real("a")', "1.500"),
        ('var.set_duration("a", 2s);', '"" + var.get_duration("a") + var.get_duration("b")', "2.0000.000"),
        ('var.set_ip("a", client.ip);', 'var.get_ip("a")', "192.0.2.7"),
        ('var.set_backend("a", b);', 'var.get_backend("a") + var.get_backend("none")', "b"),
        ('var.set("a", "x"); var.clear();', 'var.get("a") + "-"', "-"),
    ],
)
def test_variables_of_a_task(before: str, expression: str, result: str) -> None:
    assert out("var", expression, before) == result


def test_the_next_task_does_not_see_them_but_global_ones() -> None:
    bench = run("var", 'set req.http.out = var.get("a") + var.global_get("g"); var.set("a", "x");')
    assert bench.last.http.get("out") == ""  # type: ignore[attr-defined]
    run("var", 'var.global_set("g", "kept");')
    assert bench.recv().http.get("out") == "kept"
    run("var", 'var.global_set("g", req.http.none); var.global_set(req.http.none, "x");')
    assert bench.recv().http.get("out") == ""
