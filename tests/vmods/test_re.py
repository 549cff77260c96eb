"""VMOD re."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.builders import make_body
from tests.vcl.vcl_bench import Bench
from varnishpy.backends.errors import FetchError
from varnishpy.base.regex import Regex
from varnishpy.http.message import Message
from varnishpy.storage.source import SourceError
from varnishpy.vcl.loader import VclLoadError
from varnishpy.vmods._substitute import Substitutions, register, substitute

INIT = r'import re; sub vcl_init {{ new o = re.regex("{}"{}); new other = re.regex("(x)"); }}'


def recv(pattern: str, body: str, more: str = "", options: str = "") -> tuple[Any, Bench]:
    bench = Bench(INIT.format(pattern, options) + more + f" sub vcl_recv {{ {body} }}")
    return bench.recv(), bench


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ('if (o.match("foobar42")) { set req.http.out = o.backref(1); }', "42"),
        ('if (o.match("bar42")) { set req.http.out = o.backref(0); }', "bar42"),
        ('if (o.match("bar42") && other.match("x") && "q" ~ "(q)") { set req.http.out = o.backref(1); }', "42"),
        ('if (!o.match("nothing")) { set req.http.out = o.backref(1, "none"); }', "none"),
        ('if (o.match("bar1")) { set req.http.out = o.backref(2, "none"); }', "none"),
        ("if (!o.match(req.http.none)) { set req.http.out = 1; }", "1"),
        ('if (o.match("bar1") && !o.match("nothing")) { set req.http.out = o.backref(1, "gone"); }', "gone"),
        (r'if (re.match_dyn("a(.)" + "c", "abc")) { set req.http.out = re.backref_dyn(1); }', "b"),
        (r'if (!re.match_dyn("a(.)c", "xyz")) { set req.http.out = re.backref_dyn(1, "none"); }', "none"),
    ],
)
def test_matches(body: str, result: str) -> None:
    req, bench = recv(r"bar(\d+)(z)?", body)
    assert req.http.get("out") == result
    assert bench.log.texts("VCL_Error") == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("set req.http.out = o.backref(1);", "vmod re: backref called without prior match"),
        ('if (o.match("bar1")) { set req.http.out = o.backref(3); }', "vmod re: backref 3 out of range"),
        ('if (o.match("bar1")) { set req.http.out = o.backref(-1); }', "vmod re: backref -1 out of range"),
    ],
)
def test_backrefs_that_fail(body: str, message: str) -> None:
    req, bench = recv(r"bar(\d+)(z)?", body)
    assert req.http.get("out") == "**BACKREF METHOD FAILED**"
    assert bench.log.texts("VCL_Error") == [message]


def test_a_wrong_pattern_fails_the_program() -> None:
    with pytest.raises(VclLoadError, match=r"Cannot compile '\(' in o"):
        recv("(", "")


def test_a_wrong_pattern_made_up_matches_nothing() -> None:
    req, bench = recv("x", 'if (!re.match_dyn("(" + req.http.none, "x")) { set req.http.out = re.backref_dyn(1); }')
    assert req.http.get("out") == "**BACKREF FUNCTION FAILED**"
    assert bench.log.texts("VCL_Error")[0].startswith("vmod re: Cannot compile '('")


@pytest.mark.parametrize(("options", "call"), [(", 2", ""), ("", ", 2"), (", limit_recursion = 1", "")])
def test_limits(options: str, call: str) -> None:
    subject = "a" * 200 + "!"
    req, bench = recv("^(a+)+$", f'if (!o.match("{subject}"{call})) {{ set req.http.out = 1; }}', options=options)
    assert req.http.get("out") == "1"
    assert bench.log.texts("VCL_Error")[0].startswith("vmod re: regex match returned")


def test_foreach_calls_a_subroutine_for_each_match() -> None:
    sub = 'sub each { set req.http.out = req.http.out + o.backref(1) + ";"; }'
    req, _bench = recv(r"(\d)", 'if (o.foreach("a1b2c", each) && !o.foreach("x", each)) { set req.http.any = 1; }', sub)
    assert req.http.get("out") == "1;2;"
    assert req.http.get("any") == "1"


def test_foreach_ends_where_the_subroutine_returns() -> None:
    sub = "sub each { set req.http.out = req.http.out + o.backref(0); return (pass); }"
    req, bench = recv(r"\d", 'if (o.foreach("a1b2c", each)) { }', sub)
    assert req.http.get("out") == "1"
    assert bench.action == "pass"


def test_bodies() -> None:
    text = INIT.format(r"k(\d)", ", forbody = true") + "sub each { set req.http.out = req.http.out + o.backref(1); }"
    bench = Bench(text + "sub vcl_recv { if (o.match_body(req_body) && o.foreach_body(req_body, each)) { } }")
    req = bench.request()
    req.body_oc = make_body(b"ak", memoryview(b"1 k2"))
    bench.run("recv", req)
    assert req.http.get("out") == "12"
    req = bench.request()
    req.body_oc = None
    assert bench.run("recv", req) == "fail"
    assert bench.log.texts("VCL_Error") == ["vmod re: req_body is not at hand here"]


def test_bodies_need_an_object_made_for_them() -> None:
    _req, bench = recv("x", "if (o.match_body(req_body)) { }")
    assert bench.action == "fail"
    assert "needs an object made with forbody = true" in bench.log.texts("VCL_Error")[0]


@pytest.mark.parametrize(
    ("texts", "result"),
    [
        ({0: "<\\1>"}, b"a<1>b<2>c<3>"),
        ({2: "two"}, b"a1btwoc3"),
        ({0: "", 1: "x\\0"}, b"ax1bc"),
        ({9: "x"}, b"a1b2c3"),
    ],
)
def test_substitutions(texts: dict[int, str], result: bytes) -> None:
    assert substitute(Regex(r"(\d)"), b"a1b2c3", texts) == result


VCL = r"""
import re;
sub vcl_init { new digits = re.regex("([0-9]+)", forbody = true); }
sub vcl_backend_response {
    if (bereq.url == "/fetch") {
        digits.substitute_match(1, "<\1>");
        digits.substitute_match(0, "");
        set beresp.filters = "digits";
    }
}
sub vcl_deliver {
    if (req.url == "/deliver") { digits.substitute_match(0, "#"); set resp.filters = "digits"; }
    if (req.url == "/clear") {
        digits.substitute_match(0, "#");
        digits.clear_substitutions();
        set resp.filters = "digits";
    }
}
"""


def test_the_filter(varnishpy: Callable[..., Any], origin: Callable[..., Any]) -> None:
    origin('loop 3 { rxreq\n txresp -body "a12b3c4" }', keepalive=True)
    cache = varnishpy(VCL)
    for url, body in (("/fetch", b"a<12>bc"), ("/deliver", b"a#b#c#"), ("/clear", b"a12b3c4")):
        for _ in range(2):  # fetched, and from the cache
            assert cache.get(url).body == body


class _Bodies:
    """A VCL, its host, a source of octets and a context of a fetch."""

    def __init__(self, *pieces: bytes) -> None:
        self.host = self.vcl = self
        self.pieces = [*pieces, b""]
        self.response = Message()

    def add_filters(self, vcl: object, fetch: dict[str, Any], delivery: dict[str, Any]) -> None:
        self.fetch, self.delivery = fetch["o"](), delivery["o"]()
        self.fetch.context = self.delivery.context = self
        self.fetch.source = self

    def read(self, limit: int) -> bytes:
        return self.pieces.pop(0)

    def error(self, text: str) -> Exception:
        return FetchError(text)


def test_a_body_that_is_too_large_is_refused() -> None:
    bodies = _Bodies(b"123", b"456")
    register(cast("Any", bodies), "o", Regex("1"), Substitutions(), most=5)
    with pytest.raises(FetchError, match="body of more than 5 octets"):
        bodies.fetch.read(10)
    with pytest.raises(SourceError, match="body of more than 5 octets"):
        list(bodies.delivery.run(iter([b"123", b"456"])))


def test_without_substitutions_the_filter_stays_out_of_the_way() -> None:
    bodies = _Bodies()
    register(cast("Any", bodies), "o", Regex("1"), Substitutions())
    assert not bodies.fetch.open()
    assert not bodies.delivery.open()
