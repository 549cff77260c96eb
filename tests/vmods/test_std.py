"""VMOD std, called as VCL calls it."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench


def value(expression: str, url: str = "/p?b=2&a=1&&c") -> str | None:
    bench = Bench(f"import std; sub vcl_recv {{ set req.http.out = {expression}; }}")
    req = bench.recv(url)
    assert bench.action == "hash", expression
    return req.http.get("out")


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("std.round(2.5)", "3.000"),
        ("std.round(-2.5)", "-3.000"),
        ("std.querysort(req.url)", "/p?a=1&b=2&c"),
        ('std.toupper("aé")', "AÃ©"),
        ('std.tolower("A" + "B")', "ab"),
        ('std.strstr("abcd", "bc")', "bcd"),
        ('std.strstr("abcd", "x")', ""),
        ('std.fnmatch("/foo/*", "/foo/bar")', "true"),
        ('std.fnmatch("/foo/*", "/foo/bar/x")', "false"),
        ('std.fnmatch("/foo/*", "/foo/bar/x", pathname=false)', "true"),
        ('std.fnmatch("/foo/[!0-9]", "/foo/a")', "true"),
        ('std.fnmatch("/foo/[!0-9]", "/foo/1")', "false"),
        (r'std.fnmatch("a\*", "a*")', "true"),
        (r'std.fnmatch("a\*", "a\b", noescape=true)', "true"),
        ('std.fnmatch("*", ".x", period=true)', "false"),
        ('std.duration("1.5h", 0s)', "5400.000"),
        ('std.duration("rubbish", 7s)', "7.000"),
        ("std.duration(real=1.5)", "1.500"),
        ('std.bytes("1.5k", 0B)', "1536"),
        ('std.bytes("x", 3B)', "3"),
        ('std.integer("42", 0)', "42"),
        ('std.integer("42.0", 0)', "42"),
        ('std.integer("42.9", 0)', "0"),
        ('std.bytes("1.5", 7B)', "7"),
        ('std.bytes("1.5KB", 7B)', "1536"),
        ('std.bytes("1.2345KB", 7B)', "7"),
        ('std.bytes("-0")', "0"),
        ('std.bytes("8388608TB", 7B)', "7"),
        ('std.real(".5", 7.5)', "0.500"),
        ('std.real("0.1239", 7.5)', "0.123"),
        ('std.real("999999999999", 7.5)', "999999999999.000"),
        ('std.real("999999999999.9", 7.5)', "999999999999.900"),
        ('std.real("1000000000000", 7.5)', "7.500"),
        ('std.bytes("1000000000000.0", 7B)', "7"),
        ('std.duration(".5s", 7s)', "0.500"),
        ('std.duration("+1s", 7s)', "7.000"),
        ("std.time(integer=-1)", "Wed, 31 Dec 1969 23:59:59 GMT"),
        ('std.integer("", 5)', "5"),
        ("std.integer(bool=true)", "1"),
        ("std.integer(real=-1.9)", "-1"),
        ('std.real("1.25", 0.0)', "1.250"),
        ("std.real(duration=1m)", "60.000"),
        ('std.time("Sun, 06 Nov 1994 08:49:37 GMT", now)', "Sun, 06 Nov 1994 08:49:37 GMT"),
        ('std.time("1994-11-06T08:49:37", now)', "Sun, 06 Nov 1994 08:49:37 GMT"),
        ('std.time("784111777.00", now)', "Sun, 06 Nov 1994 08:49:37 GMT"),
        ('std.strftime(std.time(integer=0), "%Y-%m")', "1970-01"),
        ('std.ip("[::1]:8080", "0.0.0.0")', "::1"),
        ('std.port(std.ip("10.0.0.1 99", "0.0.0.0"))', "99"),
        ('std.port(std.ip("10.0.0.1", p="77"))', "77"),
        ('std.ip("not.an.ip", "9.9.9.9", resolve=false)', "9.9.9.9"),
        ("std.healthy(b)", "true"),
        ("std.syntax(4.0)", "true"),
        ("std.syntax(4.2)", "false"),
        ('std.file_exists("/nonexistent")', "false"),
        ('std.ban("req.url == x")', "true"),
        ('std.ban("x") + std.ban_error()', "falseExpected comparison operator."),
    ],
)
def test_value(expression: str, result: str) -> None:
    assert value(expression) == result


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('std.integer("x")', "std.integer: conversion failed: Invalid number"),
        ("std.integer(req.http.none)", "std.integer: conversion failed"),
        ('std.integer("+1")', "std.integer: conversion failed: Invalid number"),
        ('std.integer("1x")', "std.integer: conversion failed"),
        ('std.integer("1.5")', "std.integer: conversion failed"),
        ('std.integer("1234567890123456")', "std.integer: conversion failed: Too many digits"),
        ('std.integer("1234567890123.0")', "std.integer: conversion failed: Too many digits"),
        ('std.real("1234567890123")', "std.real: conversion failed: Too many digits"),
        ('std.time("-0")', "std.time: conversion failed"),
        ("std.integer()", "std.integer: Missing mandatory argument"),
        ('std.integer("1", real=1.0)', "std.integer: Pass only one argument"),
        ("std.fnmatch(req.http.none, req.url)", "std.fnmatch(): pattern is NULL"),
        ('std.ip("x.invalid", resolve=false)', "std.ip: conversion failed"),
    ],
)
def test_failure(expression: str, message: str) -> None:
    bench = Bench(f"import std; sub vcl_recv {{ set req.http.out = {expression}; }}")
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == [message]


def test_random_stays_in_range() -> None:
    assert 10 <= float(value("std.random(10, 20)") or 0) <= 20


def test_files_are_read_once(tmp_path: object) -> None:
    path = tmp_path / "f"  # type: ignore[operator]
    path.write_text("first")
    bench = Bench(f'import std; sub vcl_recv {{ set req.http.out = std.fileread("{path}"); }}')
    assert bench.recv().http.get("out") == "first"
    path.write_text("second")
    assert bench.recv().http.get("out") == "first"


def test_effects() -> None:
    bench = Bench(
        'import std; sub vcl_recv { std.log("a" + req.url); std.timestamp("here"); std.collect(req.http.acc, "|");'
        " std.late_100_continue(true); std.rollback(req); if (std.cache_req_body(1KB)) { set req.http.cached = 1; } }"
    )
    req = bench.request("/", Host="h")
    req.http.headers += [("acc", "Acc", "1"), ("acc", "Acc", "2")]
    assert bench.run("recv", req) == "hash"
    assert bench.log.texts("VCL_Log") == ["a/"]
    assert [text.split()[0] for text in bench.log.texts("Timestamp")] == ["here:"]
    assert (req.http.values("acc"), req.http.get("cached"), req.late100cont) == (["1|2"], "1", True)
    assert bench.host.calls == [("rollback", "req"), ("cache_req_body", 1024)]


def test_timed_call_ends_the_method_when_the_sub_returns() -> None:
    bench = Bench(
        "import std; sub quick { if (req.http.X) { return (pass); } }\n"
        "sub vcl_recv { set req.http.took = std.timed_call(quick); return (pipe); }"
    )
    assert bench.returns() == "pipe"
    assert bench.returns(X="1") == "pass"


def test_subs_for_the_wrong_side_cannot_be_called() -> None:
    bench = Bench(
        "import std; sub other { set beresp.ttl = 1s; }\nsub vcl_recv { set req.http.t = std.timed_call(other); }"
    )
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == ['call to "sub other{}" not allowed from here']


def test_rfc_ttl_reads_the_headers_as_they_are_now() -> None:
    bench = Bench(
        'import std; sub vcl_backend_response { set beresp.http.cache-control = "max-age=77"; std.rfc_ttl();'
        " return (deliver); }"
    )
    bo = bench.fetch()
    assert bench.run("backend_response", bo) == "deliver"
    assert bench.core.ttl == 77.0
    assert bench.log.texts("TTL")[0].startswith("RFC 77 ")
