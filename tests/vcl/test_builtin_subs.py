"""Subroutines of the built-in VCL that are shared by all programs, and compiled like other modules."""

from __future__ import annotations

import re
from types import FunctionType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import TaskRecords
from tests.conftest import Setting
from tests.vcl.vcl_bench import Bench
from varnishpy.http.message import Header
from varnishpy.vcl.builtin_subs import SUBS
from varnishpy.vcl.compiler import CompileOptions, builtin_source
from varnishpy.vcl.context import Ctx, Method, VclFailure
from varnishpy.vcl.module import Module, entry


def shared(bench: Bench) -> set[str]:
    """What a program has in common with others, by name."""
    names = bench.vcl.module.names
    return {name for name, function in SUBS.items() if names.get(name) is function}


def test_a_program_that_says_nothing_has_all_of_them() -> None:
    bench = Bench("")
    assert shared(bench) == set(SUBS)
    assert bench.vcl.module.methods["recv"] is SUBS["sub_vcl_recv"]
    assert bench.vcl.module.methods["hash"] is SUBS["sub_vcl_hash"]


def test_what_a_program_adds_to_is_its_own_and_so_is_what_calls_it() -> None:
    bench = Bench('sub vcl_req_host { set req.http.host = "elsewhere"; }')
    assert set(SUBS) - shared(bench) == {"sub_vcl_req_host", "sub_vcl_builtin_recv", "sub_vcl_recv"}
    assert bench.recv(Host="here").http.get("host") == "elsewhere"


def test_a_program_falls_through_to_the_shared_ones() -> None:
    bench = Bench("sub vcl_recv { set req.http.seen = req.url; }")
    assert set(SUBS) - shared(bench) == {"sub_vcl_recv"}
    assert bench.returns() == "hash"
    assert bench.returns(Cookie="a=b") == "pass"


def test_another_built_in_vcl_has_none_of_them() -> None:
    text = builtin_source().replace("return (hash)", 'set req.http.other = "1"; return (hash)')
    bench = Bench("", CompileOptions(builtin_source=text))
    assert shared(bench) == set()
    assert bench.recv().http.get("other") == "1"


def test_coverage_counts_in_functions_of_the_program() -> None:
    assert shared(Bench("", CompileOptions(coverage=True))) == set()


def test_trace_points_are_passed_all_the_same() -> None:
    bench = Bench("sub vcl_recv { set req.trace = true; }")
    bench.recv()
    assert any(text.startswith("test ") for text in bench.log.texts("VCL_trace"))


# -- both are the same -------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["Host", "host", "Cookie", "Authorization", "Accept"])
METHODS = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "PATCH", "BREW", ""])
URLS = st.sampled_from(["/", "*", "/a?B=1", "http://host/", "", "x"])
PROTOCOLS = st.sampled_from(["HTTP/1.0", "HTTP/1.1", "HTTP/2.0"])
VALUES = st.sampled_from(["", "a", "Example.COM", "a.b:80", "A\u00c9", "A\nb"])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


def outcome(
    bench: Bench, function: Method, method: str, url: str, proto: str, headers: list[Header], room: int
) -> list[object]:
    """All that running it leaves behind."""
    bench.log = TaskRecords()
    req = bench.request(url, room)
    http = req.http
    http.method, http.proto = method, proto
    http.headers = list(headers)
    ctx = Ctx.for_request(req)
    try:
        result: object = function(ctx)
    except VclFailure as failure:
        result = str(failure)
    message = [http.method, http.url, http.proto, http.headers, http.failed]
    rest = [req.err_code, req.err_reason, req.hash_parts, req.ws.used, req.ws.overflowed, ctx.handling]
    return [result, message, rest, bench.log.records]


@pytest.mark.parametrize("feature", ["any_method", "cookies", "authorization", "validate_headers"])
@pytest.mark.parametrize("sign", "+-")
def test_shared_ones_do_what_a_program_would_do_by_itself(sign: str, feature: str, setting: Setting) -> None:
    setting("feature", sign + feature)
    bench = Bench("")
    source = bench.compiled.python_source
    own = Module("own", "own", re.sub(r"^BUILTIN = .*$", "BUILTIN = []", source, flags=re.MULTILINE))

    @settings(max_examples=30)
    @given(METHODS, URLS, PROTOCOLS, HEADERS, st.sampled_from([8, 65536]))
    def same(method: str, url: str, proto: str, fields: list[tuple[str, str]], room: int) -> None:
        headers = [(name.lower(), name, value) for name, value in fields]
        for name, function in SUBS.items():
            plain = entry(own.names, name, FunctionType)
            expected = outcome(bench, plain, method, url, proto, headers, room)
            assert outcome(bench, function, method, url, proto, headers, room) == expected

    same()
