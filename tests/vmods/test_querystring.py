"""VMOD querystring."""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench
from tests.vmods.vmod_bench import out, run

URL = "/p?b=2&a=1&&b=1&=x&utm_source=z&a=1&c"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (f'querystring.clean("{URL}")', "/p?b=2&a=1&b=1&utm_source=z&a=1&c"),
        (f'querystring.sort("{URL}")', "/p?a=1&a=1&b=1&b=2&c&utm_source=z"),
        (f'querystring.sort("{URL}", true)', "/p?a=1&b=1&b=2&c&utm_source=z"),
        (f'querystring.remove("{URL}")', "/p"),
        ('querystring.clean("/p?")', "/p"),
        ('querystring.clean("/p?&&=")', "/p"),
        ('querystring.clean("/p?a?b&c")', "/p?a?b&c"),
        ('querystring.clean(req.http.none) + "-"', "-"),
        ('querystring.remove(req.http.none) + querystring.sort(req.http.none) + "-"', "-"),
    ],
)
def test_functions(expression: str, result: str) -> None:
    assert out("querystring", expression) == result


@pytest.mark.parametrize(
    ("new", "adds", "call", "result"),
    [
        ("", 'add_string("a")', "apply(URL)", "/p?b=2&b=1&utm_source=z&c"),
        ("", 'add_string("a")', "apply(URL, keep)", "/p?a=1&a=1"),
        ("", "", "apply(URL)", "/p?b=2&a=1&b=1&utm_source=z&a=1&c"),
        ("", "", "apply(URL, keep)", "/p?b=2&a=1&b=1&utm_source=z&a=1&c"),
        ("", 'add_glob("utm_*")', "apply(URL)", "/p?b=2&a=1&b=1&a=1&c"),
        ("", 'add_regex("^[ab]$")', "apply(URL)", "/p?utm_source=z&c"),
        ("match = param", 'add_string("b=2")', "apply(URL)", "/p?a=1&b=1&utm_source=z&a=1&c"),
        ("sort = true", 'add_glob("utm_*")', "apply(URL)", "/p?a=1&a=1&b=2&b=1&c"),
        ("sort = true, match = param", 'add_string("c")', "apply(URL)", "/p?a=1&a=1&b=1&b=2&utm_source=z"),
        ("sort = true, uniq = true", 'add_string("c")', "apply(URL)", "/p?a=1&b=2&utm_source=z"),
        ("uniq = true, match = param", 'add_regex("u|b")', "apply(URL)", "/p?a=1&c"),
        ("", 'add_glob("*")', "apply(URL)", "/p"),
        ("", 'add_string("a")', "extract(URL)", "b=2&b=1&utm_source=z&c"),
        ("", 'add_string("a")', "extract(URL, mode = keep)", "a=1&a=1"),
        ("", 'add_glob("*")', "extract(URL)", ""),
    ],
)
def test_filters(new: str, adds: str, call: str, result: str) -> None:
    init = f"new f = querystring.filter({new});" + (f" f.{adds};" if adds else "")
    expression = f"f.{call}".replace("URL", f'"{URL}"')
    bench = Bench(f"import querystring; sub vcl_init {{ {init} }} sub vcl_recv {{ set req.http.out = {expression}; }}")
    assert bench.recv().http.get("out") == result


def test_without_a_query_there_is_nothing_to_extract() -> None:
    text = "import querystring; sub vcl_init { new f = querystring.filter(); } sub vcl_recv { "
    bench = Bench(
        text + "if (f.extract()) { set req.http.a = 1; } if (f.extract(req.http.none)) { set req.http.a = 2; } }"
    )
    assert bench.recv("/p?").http.get("a") is None
    assert bench.recv("/p?x").http.get("a") == "1"


def test_the_url_of_the_task() -> None:
    text = "import querystring; sub vcl_recv { set req.http.out = querystring.sort(); }"
    bench = Bench(text + "sub vcl_backend_fetch { set bereq.http.out = querystring.sort(); }")
    assert bench.recv("/x?b&a").http.get("out") == "/x?a&b"
    bo = bench.fetch("/y?d&c")
    bench.run("backend_fetch", bo)
    assert bo.bereq.get("out") == "/y?c&d"


def test_filters_are_made_in_vcl_init() -> None:
    bench = Bench(
        'import querystring; sub vcl_init { new f = querystring.filter(); } sub vcl_recv { f.add_string("x"); }'
    )
    assert bench.returns() == "fail"
    assert bench.log.texts("VCL_Error") == ["querystring.filter.add_string() is for vcl_init"]


def test_without_room_the_url_stays() -> None:
    sort = 'if (querystring.sort("/p?bbbb=1&aaaa=1") == "/p?bbbb=1&aaaa=1") { return (pass); }'
    bench = run("querystring vtc", f"vtc.workspace_alloc(client, -10); {sort}")
    assert bench.action == "pass"
