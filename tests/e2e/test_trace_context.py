"""``feature=+trace_context`` from client to backend, and the trace that ``varnishpy log --otlp`` makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.tools.otlp_receiver import Collector
from tests.waiting import wait_for
from varnishpy.tools import log

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]")
VCL = """
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv { if (req.url ~ "^/secret") { unset req.http.traceparent; return (pass); } }
sub vcl_backend_response { set beresp.do_esi = true; }
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    made = Origin()
    made.pages["/page"] = lambda exchange: answer(exchange, b'<esi:include src="/part"/>')
    made.pages["/part"] = made.pages["/secret"] = lambda exchange: answer(exchange, b"x")
    yield made
    made.close()


def answer(exchange: Exchange, body: bytes) -> None:
    exchange.answer(body, cache_control="max-age=0")


@pytest.fixture(scope="module")
def cache(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    directory = tmp_path_factory.mktemp("trace")
    vcl = directory / "trace.vcl"
    vcl.write_text(VCL % origin.port)
    with running(directory / "v", "-f", str(vcl), "-p", "feature=+trace_context,+esi_disable_xml_check") as made:
        yield made


@pytest.fixture(autouse=True)
def forget(origin: Origin) -> None:
    origin.requests.clear()


def places(origin: Origin) -> dict[str, tuple[str, str]]:
    """Trace and span that each page was asked with."""
    found = {}
    for exchange in origin.requests:
        match = FORM.fullmatch(exchange.headers["traceparent"])
        assert match is not None, exchange.headers
        found[exchange.target] = match.groups()
    return {target: (trace, span) for target, (trace, span) in found.items()}


def test_the_trace_goes_on_with_steps_of_its_own(cache: Cache, origin: Origin) -> None:
    assert cache.get("/page", traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="a=1").body == b"x"
    found = places(origin)
    assert {trace for trace, _ in found.values()} == {TRACE}
    spans = {span for _, span in found.values()}
    assert len(spans) == 2 and SPAN not in spans
    assert all(exchange.headers["tracestate"] == "a=1" for exchange in origin.requests)


NONE = ["", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-x"]


@pytest.mark.parametrize("field", NONE)
def test_a_trace_begins_here(cache: Cache, origin: Origin, field: str) -> None:
    assert cache.get("/page", tracestate="a=1", traceparent=field).status == 200
    traces = {trace for trace, _ in places(origin).values()}
    assert len(traces) == 1 and traces != {TRACE}, "page and include are of one new trace"
    assert cache.get("/page").status == 200
    again = {trace for trace, _ in places(origin).values()}
    assert len(again) == 1 and again.isdisjoint(traces | {TRACE})
    assert all("tracestate" not in exchange.headers for exchange in origin.requests)


def test_a_version_to_come_is_understood(cache: Cache, origin: Origin) -> None:
    assert cache.get("/page", traceparent=f"01-{TRACE}-{SPAN}-01-more").status == 200
    assert {trace for trace, _ in places(origin).values()} == {TRACE}


def test_vcl_may_take_it_away(cache: Cache, origin: Origin) -> None:
    assert cache.get("/secret", traceparent=f"00-{TRACE}-{SPAN}-01").status == 200
    assert "traceparent" not in origin.requests[0].headers


def test_the_spans_are_those_that_the_backends_were_told(cache: Cache, origin: Origin) -> None:
    mark = "c" * 32
    assert cache.get("/page", traceparent=f"00-{mark}-{SPAN}-01").status == 200
    collector = Collector()
    try:

        def exported() -> bool:
            collector.spans.clear()
            words = ["-n", str(cache.workdir), "-d", "--otlp", collector.url]
            assert log.main([*words, "-q", f'ReqHeader:traceparent ~ "{mark}-{SPAN}"']) == 0
            return len(collector.spans) == 4

        wait_for(exported, "page, include and their fetches in the log")
    finally:
        collector.close()
    page, include = (next(s for s in collector.spans if s.kind == kind) for kind in ("server", "internal"))
    fetches = {span.attributes["url.path"]: span for span in collector.spans if span.kind == "client"}
    assert {span.trace for span in collector.spans} == {mark}
    assert (page.parent, include.parent) == (SPAN, page.span)
    assert (fetches["/page"].parent, fetches["/part"].parent) == (page.span, include.span)
    assert {target: span for target, (_, span) in places(origin).items()} == {
        path: span.span for path, span in fetches.items()
    }


def test_it_is_off_by_default(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("off") / "v", "-b", f"127.0.0.1:{origin.port}") as plain:
        assert plain.get("/part").status == 200
        assert "traceparent" not in origin.requests[-1].headers
        field = f"00-{TRACE}-{SPAN}-01"
        assert plain.get("/part?2", traceparent=field).status == 200
        assert origin.requests[-1].headers["traceparent"] == field
