"""Programs that compile, and what they do."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.vcl.compiler import CompileOptions
from varnishpy.vcl.context import digest


def header(expression: str, **headers: str) -> str | None:
    """The value of an expression as a header gets it."""
    req = Bench(f"sub vcl_recv {{ set req.http.out = {expression}; }}").recv("/a?b=1", **headers)
    return req.http.get("out")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('"a" + "b"', "ab"),
        ('{"a"b"} + """c"d"""', 'a"bc"d'),
        ('"é"', "Ã©"),  # octets: UTF-8 read as latin-1
        ("1 + 2 * 3", "7"),
        ("10 / 3", "3"),
        ("-10 / 3", "-3"),
        ("10 % 3", "1"),
        ("-(1 + 2)", "-3"),
        ("1.5 * 2", "3.000"),
        ("10s * 2", "20.000"),
        ("1m + 500ms", "60.500"),
        ("true", "true"),
        ("req.restarts", "2"),
        ("req.xid", "1001"),
        ("client.ip", "192.0.2.7"),
        ("req.url", "/a?b=1"),
        ("req.http.missing", ""),
        ('"x" + req.http.missing + "y"', "xy"),
        ("req.http.Host", "example.com"),
        ("req.backend_hint", "b"),
        ("req.time", "Thu, 01 Jan 1970 00:01:30 GMT"),
        ("now - req.time", "10.000"),
        ("req.url.upper()", "/A?B=1"),
        ('regsub(req.url, "a(.)", "<\\1\\0>")', "/<?a?>b=1"),
        ('regsuball("aXbX", "X", "-")', "a-b-"),
        ('regsub("abc", "x", "y")', "abc"),
        ("param.default_ttl", "120.000"),
        ("server.identity", "ident"),
        ("local.socket", "a0"),
        ("req.ttl", "-1.000"),
        ("req.can_gzip", "false"),
        ("storage.s0.free_space", "1000"),
        (":aGVsbG8=:", ":aGVsbG8=:"),
    ],
)
def test_expression(expression: str, value: str) -> None:
    assert header(expression) == value


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("req.http.Host", True),
        ("req.http.missing", False),
        ("!req.http.missing", True),
        ('req.http.missing == ""', False),
        ("req.http.missing == req.http.missing", False),
        ("req.http.missing != req.http.missing", True),
        ('req.http.missing + "" == ""', True),
        ('req.url ~ "^/A"', False),
        ('req.url ~ "(?i)^/A"', True),
        ('req.url !~ "z"', True),
        ('"a" < "b"', True),
        ("req.restarts > 1", True),
        ("req.restarts", True),
        ("client.ip ~ nets", True),
        ("server.ip ~ nets", False),
        ("client.ip !~ nets", False),
        ('client.ip == "192.0.2.7"', True),  # ports do not count
        ("req.backend_hint == b", True),
        ("req.backend_hint == default", True),
        ("now > req.time && now - req.time > 5s", True),
        ("req.hash_always_miss == false", True),
        ('(req.url ~ "x") == true', False),
        ("req.esi_level != 0 || req.restarts == 2", True),
    ],
)
def test_condition(condition: str, holds: bool) -> None:
    acl = 'acl nets { "192.0.2.0"/24; ! "192.0.2.99"; "2001:db8::"/32; }\nsub use { if (client.ip ~ nets) { } }\n'
    text = acl + f"sub vcl_recv {{ call use; if ({condition}) {{ return (pass); }} else {{ return (pipe); }} }}"
    assert Bench(text).returns("/a") == ("pass" if holds else "pipe")


def test_call_and_return_are_logged() -> None:
    bench = Bench("sub vcl_recv { return (pass); }")
    assert bench.returns() == "pass"
    assert bench.log.records == [("VCL_call", "RECV"), ("VCL_return", "pass")]


def test_elsif_chain() -> None:
    text = 'if (req.url == "/1") { return (pass); } elsif (req.url == "/2") { return (pipe); } else { return (purge); }'
    bench = Bench(f"sub vcl_recv {{ {text} }}")
    assert [bench.returns(url) for url in ("/1", "/2", "/3")] == ["pass", "pipe", "purge"]


def test_subs_return_through_call() -> None:
    bench = Bench(
        "sub deep { if (req.http.X) { return (pass); } set req.http.deep = 1; return; }\n"
        "sub vcl_recv { call deep; set req.http.after = 1; }"
    )
    assert bench.returns(X="1") == "pass"
    req = bench.recv()
    assert bench.action == "hash"
    assert req.http.get("deep") == req.http.get("after") == "1"


def test_definitions_are_concatenated_before_the_builtin() -> None:
    bench = Bench("sub vcl_recv { set req.http.n = 1; } sub vcl_recv { set req.http.n += 2; }")
    assert bench.recv().http.get("n") == "12"
    assert bench.returns(Cookie="a=b") == "pass"  # builtin


def test_builtin_recv() -> None:
    bench = Bench("")
    assert bench.recv(Host="EXAMPLE.com").http.get("host") == "example.com"
    assert bench.returns() == "hash"
    assert bench.returns(Authorization="x") == "pass"
    bad = bench.request("/")
    assert (bench.run("recv", bad), bad.err_code, bad.err_reason) == ("synth", 400, "Bad Request")
    odd = bench.request("/", Host="a")
    odd.http.method = "BREW"
    assert (bench.run("recv", odd), odd.err_code) == ("synth", 501)


def test_builtin_parts_can_be_replaced() -> None:
    bench = Bench("sub vcl_req_cookie { return; }")
    assert bench.returns(Cookie="a=b") == "hash"


def test_headers_are_set_and_unset() -> None:
    bench = Bench('sub vcl_recv { set req.http.New = "1"; unset req.http.Old; set req.http."odd.name" = "2"; }')
    req = bench.recv(Old="x")
    assert (req.http.get("new"), req.http.get("old"), req.http.get("odd.name")) == ("1", None, "2")
    assert bench.log.texts("ReqUnset") == ["Old: x"]


def test_first_spelling_of_a_header_is_sent() -> None:
    assert "FOO: 1" in _set_headers('set req.http.FOO = "0"; set req.http.foo = "1";')


def _set_headers(text: str) -> list[str]:
    bench = Bench(f"sub vcl_recv {{ {text} }}")
    bench.recv()
    return bench.log.texts("ReqHeader")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('set req.url = "";', "Setting req.url to empty string"),
        ("set req.http.x = 10 / (req.restarts - 2);", "Division by zero"),
        ('return (fail("so " + req.url));', "so /"),
        ("return (fail);", "Failed from VCL"),
        ("return (synth(99));", "illegal return(synth()) status code (99) (..0##)"),
    ],
)
def test_failures_are_logged(statement: str, message: str) -> None:
    bench = Bench(f"sub vcl_recv {{ {statement} }}")
    assert bench.returns() == "fail"
    assert bench.ctx.failure == message
    assert bench.log.texts("VCL_Error") == [message]
    assert bench.log.texts("VCL_return") == ["fail"]


def test_bad_header_value_fails() -> None:
    bench = Bench('sub vcl_recv { set req.http.x = {"a\nb"}; }')
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == ["Bad header x: a\\nb"]


def test_runaway_regex_fails_instead_of_hanging() -> None:
    bench = Bench('sub vcl_recv { if (req.url ~ "^(/a+)+$") { return (pass); } }')
    assert bench.returns("/" + "a" * 5000 + "!") in ("hash", "fail")
    bench = Bench('sub vcl_recv { if (req.url ~ "^/(a+)+$") { return (pass); } }')
    assert bench.returns("/" + "a" * 5000 + "!") == "fail"
    assert bench.log.texts("VCL_Error") == ["Regexp matching failed: match limit exceeded"]


def test_workspace_overflow_fails() -> None:
    bench = Bench('sub vcl_recv { set req.url = regsuball(req.url, ".", "0123456789"); }')
    req = bench.request("/" * 200, workspace=1024, Host="a")
    assert bench.run("recv", req) == "fail"
    assert bench.log.texts("VCL_Error") == ["regsub: Out of workspace"]


def test_a_defect_fails_one_request_with_its_traceback_in_the_log() -> None:
    bench = Bench("sub vcl_recv { set req.http.x = req.transport; }")
    req = bench.request("/", Host="a")
    req.transport = None  # type: ignore[assignment]
    assert bench.run("recv", req) == "fail"
    assert any("Traceback" in text for text in bench.log.texts("Error"))


def test_synth_and_error_carry_status_and_reason() -> None:
    bench = Bench('sub vcl_recv { return (synth(700 + 50, "no " + req.url)); }')
    req = bench.recv()
    assert (bench.action, req.err_code, req.err_reason) == ("synth", 750, "no /")
    bench = Bench("sub vcl_backend_fetch { return (error(503)); }")
    bo = bench.fetch()
    assert (bench.run("backend_fetch", bo), bo.err_code, bo.err_reason) == ("error", 503, "Service Unavailable")


def test_hash_data() -> None:
    bench = Bench('sub vcl_hash { hash_data("extra" + req.http.missing); }')
    req = bench.request("/u", Host="h")
    assert bench.run("hash", req) == "lookup"
    assert req.hash_parts == ["extra", "\0", "\0", "/u", "\0", "h", "\0"]
    assert bench.log.texts("Hash") == ["extra", "/u", "h"]
    assert digest(req.hash_parts) != digest(["extra/u", "\0", "h", "\0"])


def test_synthetic_bodies() -> None:
    bench = Bench('sub vcl_synth { synthetic("a" + req.http.x); set resp.body += "b"; return (deliver); }')
    req = bench.request()
    bench.run("synth", req)
    assert b"".join(req.synth_body) == b"a(null)b"
    bench = Bench('sub vcl_backend_error { synthetic("x"); set beresp.body = "only" + bereq.url; return (deliver); }')
    bo = bench.fetch("/u")
    bench.run("backend_error", bo)
    assert b"".join(bo.synth_body) == b"only/u"


def test_builtin_error_page() -> None:
    bench = Bench("")
    req = bench.request()
    req.resp.status, req.resp.reason = 503, "Backend fetch failed"
    assert bench.run("synth", req) == "deliver"
    assert b"<h1>Error 503 Backend fetch failed</h1>" in b"".join(req.synth_body)
    assert b"<p>XID: 1001</p>" in b"".join(req.synth_body)


def test_object_lifetimes() -> None:
    bench = Bench(
        "sub vcl_backend_response { set beresp.ttl = beresp.ttl + 10s; set beresp.grace = 1h; return (deliver); }"
    )
    bo = bench.fetch()
    bench.run("backend_response", bo)
    # the TTL counts from t_origin (95), VCL reads it as of now (100)
    assert (bench.core.ttl, bench.core.grace) == (130.0, 3600.0)
    assert bench.log.texts("TTL") == ["VCL 130 10 0 95 cacheable", "VCL 130 3600 0 95 cacheable"]


@pytest.mark.parametrize(
    ("headers", "uncacheable"),
    [
        ({}, False),
        ({"Set_Cookie": "a"}, True),
        ({"Vary": "*"}, True),
        ({"Vary": "a, *"}, True),
        ({"Vary": "a*, b"}, False),
        ({"Cache_Control": "x, Private"}, True),
        ({"Surrogate_Control": "max-age=5", "Cache_Control": "private"}, False),
        ({"Surrogate_Control": "max-age=5;edge", "Cache_Control": "private"}, False),
        ({"Surrogate_Control": 'content="max-age"', "Cache_Control": "private"}, True),
        ({"Surrogate_Control": "No-Store;edge", "Cache_Control": "max-age=9"}, True),
    ],
)
def test_builtin_backend_response(headers: dict[str, str], uncacheable: bool) -> None:
    bench = Bench("")
    bo = bench.fetch(**headers, Content_Range="bytes 1-2/3")
    assert bench.run("backend_response", bo) == "deliver"
    assert bo.uncacheable is uncacheable
    assert bo.beresp.get("content-range") == "bytes 1-2/3"  # which means nothing with a 200


def test_hit_for_pass() -> None:
    bench = Bench("sub vcl_backend_response { return (pass(10s)); }")
    bo = bench.fetch()
    assert bench.run("backend_response", bo) == "pass"
    assert (bench.core.ttl, bench.core.grace, bench.core.keep) == (10.0, 0.0, 0.0)
    assert bench.log.texts("TTL") == ["HFP 10 0 0 95 uncacheable"]


def test_uncacheable_cannot_be_taken_back() -> None:
    bench = Bench("sub vcl_backend_response { set beresp.uncacheable = true; set beresp.uncacheable = false; }")
    bo = bench.fetch()
    bench.run("backend_response", bo)
    assert bo.uncacheable
    assert bench.log.texts("VCL_Error") == ["Ignoring attempt to reset beresp.uncacheable"]


def test_filters_fix_the_flags_that_choose_them() -> None:
    bench = Bench(
        'sub vcl_backend_response { set beresp.http.f = beresp.filters; set beresp.filters = "";'
        " set beresp.do_gzip = true; }"
    )
    bo = bench.fetch()
    assert bench.run("backend_response", bo) == "fail"
    assert bo.beresp.get("f") == "gzip"
    assert bench.log.texts("VCL_Error") == ["beresp.filters are already fixed, beresp.do_gzip is undefined"]


def test_timeouts_fall_back_to_parameters() -> None:
    bench = Bench(
        "sub vcl_backend_fetch { set bereq.http.a = bereq.connect_timeout; set bereq.connect_timeout = 2s;"
        " set bereq.http.b = bereq.connect_timeout; unset bereq.first_byte_timeout; unset bereq.body; }"
    )
    bo = bench.fetch()
    bench.run("backend_fetch", bo)
    assert (bo.bereq.get("a"), bo.bereq.get("b")) == ("3.500", "2.000")
    assert bench.host.calls == ["drop_bereq_body", "drop_bereq_body"]  # ours and the builtin's


def test_bans() -> None:
    bench = Bench('sub vcl_recv { ban("req.url == " + req.url); ban("nonsense"); }')
    bench.recv("/u")
    assert bench.host.bans == ["req.url == /u", "nonsense"]
    assert bench.log.texts("VCL_Error") == ["ban(): Expected comparison operator."]


def test_acl_logging() -> None:
    bench = Bench('acl l +log { "192.0.2.0"/24; } sub vcl_recv { if (client.ip ~ l) { } if (server.ip ~ l) { } }')
    bench.recv()
    assert bench.log.texts("VCL_acl") == ['MATCH l "192.0.2.0"/24', "NO_MATCH l"]


def test_acl_takes_the_most_specific_entry() -> None:
    text = (
        'acl l +log { "192.0.0.0"/8; ! "192.0.2.0"/24; "192.0.2.7"; }'
        " sub vcl_recv { if (client.ip ~ l) { return (pass); } }"
    )
    bench = Bench(text)
    assert bench.returns() == "pass"
    assert bench.log.texts("VCL_acl") == ['MATCH l "192.0.2.7"']


def test_trace() -> None:
    bench = Bench("sub vcl_recv {\n  if (req.http.x) {\n    return (pass);\n  }\n}")
    req = bench.request("/", x="1", Host="a")
    req.vcl_trace = True
    bench.run("recv", req)
    assert bench.log.texts("VCL_trace") == ["test 1 0.4.3", "test 2 0.5.5"]
    assert not Bench("").recv().http.get("x")


def test_trace_can_be_switched_on_by_the_program() -> None:
    bench = Bench("sub vcl_recv { set req.trace = true; if (req.url) { return (pass); } }")
    bench.recv()
    assert len(bench.log.texts("VCL_trace")) == 1


def test_backend_fields() -> None:
    bench = Bench(
        'vcl 4.1;\nprobe p { .url = "/x"; .interval = 1s; .window = 5; .threshold = 2; .expected_response = 204; }\n'
        'backend a { .host = "127.0.0.1"; .port = "8080"; .host_header = "h"; .connect_timeout = 1s;'
        " .max_connections = 10;"
        " .first_byte_timeout = 2m; .proxy_header = 1; .probe = p; .preamble = :aGVsbG8=:; }\n"
        'backend v { .path = "@abstract"; .probe = { .request = "GET / HTTP/1.1" "Host: x"; } }\n'
        'backend w { .host = "::1"; .via = v; .authority = "name:8"; }\n'
        "backend n none;\nsub use { set req.backend_hint = w; set req.backend_hint = n; }"
        "sub vcl_recv { call use; }"
    )
    a, v, w = (bench.host.specs[name] for name in "avw")
    assert (a.ipv4, a.port, a.connect_timeout, a.first_byte_timeout) == (("127.0.0.1", 8080), "8080", 1.0, 120.0)
    assert (a.max_connections, a.proxy_header, a.preamble, a.host_header) == (10, 1, b"hello", "h")
    assert (a.probe.window, a.probe.threshold, a.probe.expected_response) == (5, 2, 204)
    assert (v.path, v.probe.request) == ("@abstract", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (w.ipv6, w.authority) == (("::1", 80), "name")
    assert "n" not in bench.host.specs
    assert bench.vcl.default_director is bench.host.backends["a"]


def test_empty_hosts_and_ports_are_what_the_c_program_takes_them_for() -> None:
    bench = Bench(
        'vcl 4.1; backend a { .host = ""; .port = "8080"; } backend b { .host = "127.0.0.1"; .port = ""; }'
        "sub vcl_recv { set req.backend_hint = b; }"
    )
    a, b = (bench.host.specs[name] for name in "ab")
    assert (a.ipv4, a.ipv6, a.host_header) == (("0.0.0.0", 8080), ("::", 8080), "")
    assert (b.ipv4, b.ipv6) == (("127.0.0.1", 0), None)


def test_none_is_no_backend() -> None:
    bench = Bench("vcl 4.1;\nbackend n none;\nsub vcl_recv { if (!req.backend_hint) { return (pass); } }")
    assert bench.returns() == "pass"


def test_include(tmp_path: object) -> None:
    (tmp_path / "inc.vcl").write_text('sub vcl_recv { set req.http.inc = "1"; }')  # type: ignore[operator]
    (tmp_path / "self.vcl").write_text(f'include "{tmp_path}/self.vcl";')  # type: ignore[operator]
    bench = Bench('include "inc.vcl";', CompileOptions(vcl_path=[str(tmp_path)]))
    assert bench.recv().http.get("inc") == "1"
    assert [name for name, _text in bench.compiled.sources] == ["<vcl.inline>", f"{tmp_path}/inc.vcl", "<builtin>"]
    with pytest.raises(Exception, match="Recursive use of file"):
        Bench(f'include "{tmp_path}/self.vcl";')
    bench = Bench(f'include +glob "{tmp_path}/i*.vcl";')
    assert bench.recv().http.get("inc") == "1"


def test_a_subroutine_is_a_value_before_it_is_defined() -> None:
    req = Bench(
        "import debug; sub outer { debug.call(inner); } sub inner { set req.http.out = req.http.out + 1; }"
        "sub vcl_recv { call outer; call inner; }"
    ).recv("/", Out="0")
    assert req.http.get("out") == "011"
