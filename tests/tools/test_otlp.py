"""``varnishpy log --otlp``: a tree of transactions arrives at a collector as a trace."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.tools.conftest import NOW, Instance
from tests.tools.otlp_receiver import Collector
from varnishpy import log as log_room
from varnishpy.log.tags import Tag
from varnishpy.tools import log

Text = pytest.CaptureFixture[str]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def export(instance: Instance, collector: Collector, *arguments: str) -> None:
    instance.child.flush()
    assert log.main(["-n", instance.n, "-d", "--otlp", collector.url, *arguments]) == 0


def logged(vxid: int, kind: str, parent: int, reason: str, *records: tuple[Tag, str]) -> None:
    task = log_room.TaskLog(vxid, log_room.CLIENT if kind == "req" else log_room.BACKEND)
    task.begin(kind, parent, reason)
    task.start_clock(NOW)
    task.timestamp("Start", NOW)
    for tag, text in records:
        if tag == Tag.Link:
            link, child, why = text.split()
            task.link(link, int(child), why)
        else:
            task.put(tag, text)
    task.timestamp("Resp" if kind == "req" else "BerespBody", NOW + 0.5)
    task.end()


def test_a_tree_is_a_trace(instance: Instance, collector: Collector) -> None:
    export(instance, collector)
    assert collector.paths == ["/v1/traces"]
    found = collector.by_vxid()
    assert sorted(found, key=str) == [1001, 1002, 1003, 1004]
    top, fetch, include = found[1001], found[1002], found[1003]
    assert (top.kind, fetch.kind, include.kind) == ("server", "client", "internal")
    assert (top.name, fetch.name, include.name) == ("GET", "GET", "esi GET")
    assert top.parent == "" and fetch.parent == include.parent == top.span
    assert top.trace == fetch.trace == include.trace != found[1004].trace
    assert (top.start, top.end) == (1700000000250000000, 1700000001000000000)
    assert top.events[:2] == [("Start", top.start), ("Process", top.start + 500000000)]
    assert [name for name, _ in top.events] == ["Start", "Process", "Resp", "log"]
    assert (top.failed, fetch.failed) == (False, True), "the backend has answered 503"
    assert {name: top.attributes[name] for name in top.attributes if not name.startswith("varnishpy.")} == {
        "http.request.method": "GET", "url.path": "/a", "url.query": "b=c", "url.scheme": "http",
        "network.protocol.name": "http", "network.protocol.version": "1.1", "http.response.status_code": 200,
        "http.response.body.size": 300, "server.address": "example.com", "client.address": "127.0.0.1",
        "client.port": 41234, "user_agent.original": 'curl "q" \\x',
    }  # fmt: skip
    assert (top.attributes["varnishpy.handling"], fetch.attributes["varnishpy.backend"]) == ("miss", "default")
    assert top.service == "varnishpy"


def test_the_same_log_gives_the_same_ids(instance: Instance, collector: Collector) -> None:
    export(instance, collector)
    first = {(span.trace, span.span) for span in collector.spans}
    export(instance, collector)
    assert len(first) == 4 and {(span.trace, span.span) for span in collector.spans} == first


def test_a_clients_trace_goes_on(instance: Instance, collector: Collector) -> None:
    """Without trace_context: the client's field went through as it was."""
    fields = [(Tag.ReqMethod, "GET"), (Tag.ReqHeader, f"Traceparent: {CLIENT}"), (Tag.VCL_call, "RECV")]
    logged(3001, "req", 1, "rxreq", *fields, (Tag.ReqHeader, "traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"))
    export(instance, collector)
    span = collector.by_vxid()[3001]
    assert (span.trace, span.parent) == (TRACE, CLIENT.split("-")[2])


def test_places_that_the_cache_took(instance: Instance, collector: Collector) -> None:
    own, fetched = f"00-{TRACE}-{'a' * 16}-01", f"00-{TRACE}-{'b' * 16}-01"
    client = [(Tag.ReqHeader, f"traceparent: {CLIENT}"), (Tag.ReqUnset, f"traceparent: {CLIENT}")]
    taken = [(Tag.ReqHeader, f"traceparent: {own}"), (Tag.Notice, f"traceparent {own}"), (Tag.VCL_call, "RECV")]
    logged(3001, "req", 1, "rxreq", (Tag.ReqMethod, "GET"), *client, *taken, (Tag.Link, "bereq 3002 fetch"))
    sent = [(Tag.BereqHeader, f"traceparent: {fetched}"), (Tag.Notice, f"traceparent {fetched}")]
    logged(3002, "bereq", 3001, "fetch", (Tag.BereqMethod, "GET"), *sent, (Tag.VCL_call, "BACKEND_FETCH"))
    logged(3003, "req", 1, "rxreq", (Tag.ReqMethod, "GET"), *taken)
    export(instance, collector)
    found = collector.by_vxid()
    assert (found[3001].span, found[3001].parent) == ("a" * 16, CLIENT.split("-")[2])
    assert (found[3002].span, found[3002].parent) == ("b" * 16, "a" * 16)
    assert found[3003].parent == "", "the field is our own: the trace begins here"


def test_what_is_not_sampled_is_not_sent(instance: Instance, collector: Collector) -> None:
    field = f"traceparent: {CLIENT[:-1]}0"
    logged(3001, "req", 1, "rxreq", (Tag.ReqMethod, "GET"), (Tag.ReqHeader, field), (Tag.VCL_call, "RECV"))
    export(instance, collector)
    assert collector.spans and 3001 not in collector.by_vxid()


def test_a_path_of_ones_own_and_a_query(instance: Instance, collector: Collector) -> None:
    instance.child.flush()
    words = ["-n", instance.n, "-d", "--otlp", f"{collector.url}/own/traces", "-q", 'ReqURL eq "/pipe"']
    assert log.main(words) == 0
    assert collector.paths == ["/own/traces"] and list(collector.by_vxid()) == [1004]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json"], "-j does not go with --otlp, which writes nothing"),
        (["-w", "x"], "-w does not go with --otlp, which writes nothing"),
        (["-g", "raw"], "--otlp needs whole requests: -g request, or no -g"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str, capsys: Text) -> None:
    assert log.main(["--otlp", "http://127.0.0.1:1", *arguments]) == 1
    assert capsys.readouterr().err == message + "\n"


def test_what_is_no_collector(capsys: Text) -> None:
    assert log.main(["--otlp", "127.0.0.1:4318"]) == 1
    assert "takes the URL of a collector" in capsys.readouterr().err


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: Text) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "varnishpy.tools.otlp", raising=False)
    assert log.main(["--otlp", "http://127.0.0.1:4318"]) == 1
    assert "pip install 'varnishpy[otel]'" in capsys.readouterr().err
