"""VMODs taskvar, topvar, globalvar, constant."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.vcl.loader import VclLoadError

ACL = 'acl office { "192.0.2.0"/24; }'


def recv(vmod: str, new: str, body: str, more: str = "") -> str | None:
    bench = Bench(f"import {vmod}; {more} sub vcl_init {{ new v = {vmod}.{new}; }} sub vcl_recv {{ {body} }}")
    req = bench.recv()
    assert bench.action in ("hash", "pass"), bench.log.texts("VCL_Error")
    return req.http.get("out")


@pytest.mark.parametrize("vmod", ["taskvar", "topvar", "globalvar", "constant"])
@pytest.mark.parametrize(
    ("new", "expression", "result"),
    [
        ('string("x")', "v.get()", "x"),
        ("string()", 'v.get("f")', "f"),
        ("string()", "v.get()", ""),
        ("int(7)", "v.get() + 1", "8"),
        ("int()", '"" + v.get() + v.get(3) + v.defined()', "03false"),
        ("int(7)", "v.defined()", "true"),
        ("bool(true)", "v.get()", "true"),
        ("real(1.5)", "v.get()", "1.500"),
        ("duration(2m)", "v.get()", "120.000"),
        ("bytes(1KB)", "v.get()", "1024"),
        ("time()", "v.get()", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("backend(b)", "v.get()", "b"),
        ("blob()", 'v.get() + "-"', "-"),
    ],
)
def test_types(vmod: str, new: str, expression: str, result: str) -> None:
    assert recv(vmod, new, f"set req.http.out = {expression};") == result


@pytest.mark.parametrize("vmod", ["taskvar", "topvar", "globalvar"])
def test_values_are_set_and_undefined(vmod: str) -> None:
    body = "set req.http.out = v.get(); v.set(2); set req.http.out = req.http.out + v.get(); v.undefine();"
    assert recv(vmod, "int(1)", body + "set req.http.out = req.http.out + v.get(9) + v.defined();") == "129false"


def test_an_acl_and_an_address() -> None:
    body = 'if (client.ip ~ v.get()) { set req.http.out = "in"; }'
    assert recv("constant", "acl(office)", body, ACL) == "in"


def test_constants_cannot_be_set() -> None:
    with pytest.raises(Exception, match="Unknown property 'set'"):
        recv("constant", "int(1)", "v.set(2);")


@pytest.mark.parametrize("vmod", ["taskvar", "topvar"])
def test_what_is_protected_cannot_be_set(vmod: str) -> None:
    text = (
        f"import {vmod}; sub vcl_init {{ new v = {vmod}.int(1); }} sub vcl_recv {{ set req.http.out = v.protected(); "
    )
    bench = Bench(text + "v.protect(); set req.http.out = req.http.out + v.protected(); v.set(2); }")
    req = bench.recv()
    assert req.http.get("out") == "falsetrue"
    assert bench.action == "fail"
    assert bench.log.texts("VCL_Error") == ["v: the variable is protected"]


@pytest.mark.parametrize(("vmod", "second"), [("taskvar", "1"), ("topvar", "1"), ("globalvar", "2")])
def test_how_far_a_value_reaches(vmod: str, second: str) -> None:
    text = f"import {vmod}; sub vcl_init {{ new v = {vmod}.int(1); }}"
    bench = Bench(text + "sub vcl_recv { set req.http.out = v.get(); v.set(v.get() + 1); }")
    top = bench.request()
    bench.run("recv", top)
    assert bench.recv().http.get("out") == second
    included = bench.request()
    included.topreq = top
    bench.run("recv", included)
    assert included.http.get("out") == {"taskvar": "1", "topvar": "2", "globalvar": "3"}[vmod]


def test_a_fetch_has_no_top_request() -> None:
    bench = Bench("import topvar; sub vcl_init { new v = topvar.int(1); } sub vcl_backend_fetch { v.set(2); }")
    assert bench.run("backend_fetch", bench.fetch()) == "fail"
    assert bench.log.texts("VCL_Error") == ["v: topvar objects are for client subroutines"]


def test_strings_are_charged_to_the_workspace() -> None:
    text = "import taskvar; import vtc; sub vcl_init { new v = taskvar.string(); } sub vcl_recv { "
    bench = Bench(text + 'vtc.workspace_alloc(client, -10); v.set("longer than ten octets"); }')
    assert bench.returns() == "fail"


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises((VclLoadError, Exception), match="INT"):
        Bench('import taskvar; sub vcl_init { new v = taskvar.int("x"); }')
