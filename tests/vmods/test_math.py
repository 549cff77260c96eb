"""VMOD math."""

from __future__ import annotations

import math

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.vmods import math as vmod


def out(expression: str) -> str | None:
    bench = Bench(f"import math; import std; sub vcl_recv {{ set req.http.out = {expression}; }}")
    req = bench.recv()
    assert bench.action == "hash", bench.log.texts("VCL_Error")
    value: str | None = req.http.get("out")
    return value


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("math.pow(2.0, 10.0)", "1024.000"),
        ("math.pow(y=3.0, x=2.0)", "8.000"),
        ("math.atan2(1.0, 1.0)", "0.785"),
        ("math.fma(2.0, 3.0, 4.0)", "10.000"),
        ("math.ldexp(0.75, 4)", "12.000"),
        ("math.scalbln(0.75, 4)", "12.000"),
        ("math.jn(0, 1.0)", "0.765"),
        ("math.j0(1.0)", "0.765"),
        ("math.yn(1, 1.0)", "-0.781"),
        ("math.lround(2.5)", "3"),
        ("math.lrint(2.5)", "2"),
        ("math.ilogb(8.0)", "3"),
        ("math.isinf(math.log(0.0))", "-1"),
        ('math.isnan(math.nan({""}))', "1"),
        ("math.isnan(math.sqrt(-1.0))", "1"),
        ("math.isunordered(math.sqrt(-1.0), 1.0)", "1"),
        ("math.islessgreater(1.0, 2.0)", "1"),
        ("math.signbit(-0.5)", "1"),
        ("math.fpclassify(1.0) == math.fpclass(FP_NORMAL)", "true"),
        ("math.fpclassify(math.constant(HUGE_VAL)) == math.fpclass(FP_INFINITE)", "true"),
        ("math.fpclassify(math.constant(DBL_MIN) / 2.0) == math.fpclass(FP_SUBNORMAL)", "true"),
        ("math.constant(M_PI)", "3.142"),
        ("math.approx(0.1 + 0.2, 0.3)", "true"),
        ("math.approx(0.1, 0.2)", "false"),
        ("math.approx(0.1, 0.2, maxDiff=0.11)", "true"),
        ('math.strfromd("%.3e", 1234.5)', "1.234e+03"),
        ('math.strfromd("%a", 1.5)', "0x1.8p+0"),
        ('math.strfromd("%F", math.constant(HUGE_VAL))', "INF"),
    ],
)
def test_functions(expression: str, result: str) -> None:
    assert out(expression) == result


def test_constants_are_those_of_c() -> None:
    # math.h gives them with more digits than a double has
    assert vmod._CONSTANTS["M_LOG2E"] == 1.4426950408889634074
    assert vmod._CONSTANTS["M_LOG10E"] == 0.43429448190325182765
    assert vmod._CONSTANTS["M_2_SQRTPI"] == 1.12837916709551257390
    assert vmod._CONSTANTS["M_SQRT1_2"] == 0.70710678118654752440
    assert vmod._CONSTANTS["M_1_PI"] == 0.31830988618379067154
    assert vmod._CONSTANTS["M_PI_2"] == math.pi / 2


@pytest.mark.parametrize("pattern", ["", "%d", "%s", "x%f", "%f%s"])
def test_bad_formats_fail(pattern: str) -> None:
    bench = Bench(f'import math; sub vcl_recv {{ set req.http.out = math.strfromd("{pattern}", 1.0); }}')
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == [f'math.strfromd("{pattern}", ...): Invalid format']
