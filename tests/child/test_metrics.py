"""``/metrics``: read by the parsers of Prometheus' own client library, in both formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from varnishpy import stats
from varnishpy.child.metrics import OPENMETRICS, PROMETHEUS, families, render, wanted
from varnishpy.stats import latency
from varnishpy.stats.latency import OF_FETCH, OF_HIT, Latencies
from varnishpy.stats.lineage import of_backend
from varnishpy.stats.segments import MOST_PAST, Registry

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def buckets() -> Iterator[None]:
    before = latency.bounds()
    latency.set_bounds([0.001, 1.0])
    yield
    latency.set_bounds(before)


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.add(stats.Counters(stats.MAIN))
    backend = made.new(stats.VBE, 'boot.odd"name')
    backend.inc("req", 3)
    backend.set("happy", 1 << 63)
    made.new(stats.SMA, "s0").set("g_bytes", 4096)
    return made


@pytest.fixture
def latencies() -> Latencies:
    made = Latencies()
    for seconds in (0.0005, 0.5, 7.0):
        made.observe(OF_HIT, "web", seconds)
    made.observe(OF_FETCH, "web", 0.25)
    return made


def read(kind: str, registry: Registry, latencies: Latencies) -> dict[str, Metric]:
    text = render(families(registry, latencies), kind).decode()
    assert text.endswith("# EOF\n") == (kind == OPENMETRICS)
    parse = read_openmetrics if kind == OPENMETRICS else read_prometheus
    return {metric.name: metric for metric in parse(text)}


@pytest.mark.parametrize("kind", [PROMETHEUS, OPENMETRICS])
def test_every_sample_can_be_read(kind: str, registry: Registry, latencies: Latencies) -> None:
    found = read(kind, registry, latencies)
    (requests,) = found["varnishpy_vbe_req"].samples
    assert (requests.name, requests.value) == ("varnishpy_vbe_req_total", 3)
    assert requests.labels == {"vcl": "boot", "backend": 'odd"name'}
    assert found["varnishpy_sma_g_bytes"].samples[0].labels == {"ident": "s0"}
    assert found["varnishpy_main_uptime_seconds"].type == "gauge"
    assert found["varnishpy_build_info"].samples[0].value == 1
    assert found["process_cpu_seconds"].type == "counter"
    assert all(metric.documentation for metric in found.values())


@pytest.mark.parametrize("kind", [PROMETHEUS, OPENMETRICS])
def test_histograms(kind: str, registry: Registry, latencies: Latencies) -> None:
    found = read(kind, registry, latencies)
    requests = found["varnishpy_request_first_byte_seconds"]
    assert requests.type == "histogram"
    labels = {"handling": "hit", "backend": "web"}
    buckets = {s.labels["le"]: s.value for s in requests.samples if s.name.endswith("_bucket")}
    assert buckets == {"0.001": 1, "1.0": 2, "+Inf": 3}
    rest = {s.name.rpartition("_")[2]: (s.value, s.labels) for s in requests.samples if "le" not in s.labels}
    assert rest == {"count": (3, labels), "sum": (7.5005, labels)}
    fetches = found["varnishpy_fetch_first_byte_seconds"]
    assert [s.value for s in fetches.samples if s.name.endswith("_sum")] == [0.25]


def test_both_formats_have_the_same_samples(registry: Registry, latencies: Latencies) -> None:
    """Prometheus chooses by itself: a series must not change its name with the format."""
    names = [
        {(s.name, *s.labels.values()) for metric in read(kind, registry, latencies).values() for s in metric.samples}
        for kind in (PROMETHEUS, OPENMETRICS)
    ]
    assert names[0] == names[1] and len(names[0]) > 200


def test_openmetrics_tells_units(registry: Registry, latencies: Latencies) -> None:
    units = {metric.name: metric.unit for metric in read(OPENMETRICS, registry, latencies).values() if metric.unit}
    assert units["varnishpy_request_first_byte_seconds"] == "seconds"
    assert units["varnishpy_sma_g_bytes"] == "bytes"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/html,*/*;q=0.8", PROMETHEUS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", OPENMETRICS),
        ("application/openmetrics-text; q=0.3, text/plain; q=0.5", PROMETHEUS),
        ("application/openmetrics-text;q=0,*/*", PROMETHEUS),
        ("application/openmetrics-text;q=many", PROMETHEUS),
    ],
)
def test_who_asks_for_openmetrics_gets_it(accept: str, kind: str) -> None:
    assert wanted(accept) == kind


def test_the_dashboard_shows_what_there_is(registry: Registry, latencies: Latencies) -> None:
    """Each series that a panel asks for is one of ours, and so is each label."""
    known: dict[str, set[str]] = {}
    for metric in read(PROMETHEUS, registry, latencies).values():
        for sample in metric.samples:
            known.setdefault(sample.name, {"instance"}).update(sample.labels)
    dashboard = json.loads((ROOT / "docs" / "examples" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) > 15
    for expression in asked:
        series = set(re.findall(r"\b(?:varnishpy|process)_[a-z0-9_]+", expression))
        labels = {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")}
        assert series and series <= set(known), expression
        assert all(labels <= known[name] for name in series), expression


def requests(registry: Registry) -> dict[tuple[str, str], float]:
    found = read(PROMETHEUS, registry, Latencies())["varnishpy_vbe_req"]
    return {(sample.labels["vcl"], sample.labels["backend"]): sample.value for sample in found.samples}


def test_a_backends_series_goes_on_when_the_program_is_reloaded() -> None:
    registry = Registry()
    registry.lineage[stats.VBE] = of_backend
    names = ["boot", "reload_1764208553000000", "reload_20261127_021500_77"]
    total = 0
    before = None
    for number, name in enumerate(names, 1):
        backend = registry.new(stats.VBE, f"{name}.default")
        registry.new(stats.VBE, "mine.default").destroy()
        backend.inc("req", number)
        backend.set("conn", number)
        total += number
        assert requests(registry) == {("boot", "default"): total}, "both are shown for a moment"
        if before is not None:
            before.hide()
            assert requests(registry) == {("boot", "default"): total}
            before.inc("req")  # a fetch that still runs
            before.destroy()
            total += 1
            assert requests(registry) == {("boot", "default"): total}
        conn = read(PROMETHEUS, registry, Latencies())["varnishpy_vbe_conn"]
        assert [sample.value for sample in conn.samples] == [number], "a gauge is of now"
        before = backend


def test_names_that_a_user_gave_are_kept() -> None:
    registry = Registry()
    registry.lineage[stats.VBE] = of_backend
    for name in ("boot", "reload_page", "v2"):
        registry.new(stats.VBE, f"{name}.web").inc("req")
    assert requests(registry) == {("boot", "web"): 1, ("reload_page", "web"): 1, ("v2", "web"): 1}


def test_the_past_has_a_limit() -> None:
    registry = Registry()
    registry.lineage[stats.VBE] = of_backend
    for number in range(MOST_PAST + 1):
        gone = registry.new(stats.VBE, f"reload_1.b{number}")
        gone.inc("req")
        gone.destroy()
    for number in (0, MOST_PAST):
        registry.new(stats.VBE, f"boot.b{number}")
    assert requests(registry) == {("boot", "b0"): 1, ("boot", f"b{MOST_PAST}"): 0}
