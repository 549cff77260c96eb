"""VMOD header."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench

LINES = (("A", "one"), ("A", "two"), ("A", ""), ("B", "x=1"), ("A", "three"))


def after(body: str) -> tuple[list[tuple[str, str]], Bench]:
    """The lines of req after a piece of vcl_recv."""
    bench = Bench(f"import header; sub vcl_recv {{ {body} return (pass); }}")
    req = bench.request()
    req.http.headers = [(name.lower(), name, value) for name, value in LINES]
    bench.action = bench.run("recv", req)
    return [(name, value) for _lname, name, value in req.http.headers], bench


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ('header.append(req.http.C, "c" + req.http.none);', [*LINES, ("C", "c")]),
        ('header.append(req.http.a, "four");', [*LINES, ("a", "four")]),
        ("header.copy(req.http.A, req.http.B);", [*LINES, ("B", "one"), ("B", "two"), ("B", ""), ("B", "three")]),
        ('header.remove(req.http.A, "o");', [LINES[2], LINES[3], LINES[4]]),
        ('header.remove(req.http.A, "");', [LINES[2], LINES[3]]),
        ('header.remove(req.http.A, "^$");', list(LINES)),
        (r'header.regsub(req, "^A: (.)(.*)", "D: \2\1");',
         [("D", "neo"), ("D", "wot"), ("A", ""), ("B", "x=1"), ("D", "hreet")]),
        ('header.regsub(req, "e", "E", true);',
         [("A", "onE"), ("A", "two"), ("A", ""), ("B", "x=1"), ("A", "thrEE")]),
        ('header.append(header.dyn(req, "C:zzz"), "c");', [*LINES, ("C", "c")]),
        ('header.append(header.dyn(req, req.http.none), "c");', list(LINES)),
        ('header.remove(header.dyn(req, ""), ".");', list(LINES)),
        ('header.remove(header.dyn(req, "A"), "^t");', [LINES[0], LINES[2], LINES[3]]),
    ],
)  # fmt: skip
def test_changes(body: str, lines: list[tuple[str, str]]) -> None:
    assert after(body)[0] == lines


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ('header.get(req.http.A, "^t")', "two"),
        ('header.get(req.http.A, "^$") + "-"', "-"),
        ('header.get(header.dyn(req, "b"), "1")', "x=1"),
    ],
)
def test_get(expression: str, result: str) -> None:
    lines, _bench = after(f"set req.http.out = {expression};")
    assert lines[-1] == ("out", result)


def test_regsub_tells_the_log_what_changed() -> None:
    _lines, bench = after('header.regsub(req, "^B: x", "B: y");')
    assert bench.log.texts("ReqUnset") == ["B: x=1"]
    assert bench.log.texts("ReqHeader") == ["B: y=1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('header.regsub(req, ": .*", "");', "header.regsub(): 'A' is no header"),
        ('header.regsub(req, "^A: (.*)$", "A : \\1");', "header.regsub(): 'A : one' is no header"),
    ],
)
def test_a_line_that_is_no_header_fails(body: str, message: str) -> None:
    lines, bench = after(body)
    assert bench.action == "fail"
    assert bench.log.texts("VCL_Error") == [message]
    assert lines == list(LINES)


def test_objects_in_the_cache_cannot_be_changed() -> None:
    bench = Bench('import header; sub vcl_hit { header.append(obj.http.X, "y"); }')
    assert bench.run("hit", bench.request()) == "fail"
    assert bench.log.texts("VCL_Error") == ["header.append(): obj.http.X is read-only"]


def test_too_many_headers_fail() -> None:
    bench = Bench('import header; sub vcl_recv { header.append(req.http.C, "c"); }')
    req = bench.request()
    req.http.headers = [("a", "A", "x")] * 64
    bench.run("recv", req)
    assert req.http.failed
    assert bench.log.texts("LostHeader") == ["C: c"]
