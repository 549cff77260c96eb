"""``/metrics``: counters, latencies and figures of the process, for Prometheus.

Two formats of the same families and the same names: Prometheus' own text format 0.0.4, and OpenMetrics 1.0
(``application/openmetrics-text``) for who asks for it, as Prometheus itself does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from varnishpy import __version__, stats
from varnishpy.base.compiled import interpreter
from varnishpy.child import process_figures
from varnishpy.stats.columns import Column, CounterClass
from varnishpy.stats.latency import HANDLINGS, OF_FETCH, Histogram, Latencies, bounds
from varnishpy.stats.segments import Registry

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_UNITS = ("seconds", "bytes")


@dataclass(slots=True)
class Family:
    """A metric: ``samples`` are suffixes (``_total``, ``_bucket``, ...), labels and values as text."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    samples: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, value: float, labels: str = "", suffix: str = "") -> None:
        """Add a sample. ``labels``: as `labelled` makes them."""
        self.samples.append((suffix or ("_total" if self.kind == "counter" else ""), labels, str(value)))


def wanted(accept: str) -> str:
    """The content type to answer with, by the field Accept, in lower case (RFC 9110 section 12.5.1)."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0, "text/*": 0.0, "*/*": 0.0}
    for part in accept.split(","):
        kind, *parameters = [word.strip() for word in part.split(";")]
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        if kind in best:
            try:
                best[kind] = max(best[kind], float(quality))
            except ValueError:
                continue
    open_metrics = best.pop("application/openmetrics-text")
    return OPENMETRICS if open_metrics and open_metrics >= max(best["text/plain"], best["text/*"]) else PROMETHEUS


def render(families: Iterable[Family], kind: str) -> bytes:
    """The text. ``kind``: one of the two content types."""
    lines = []
    openmetrics = kind == OPENMETRICS
    for family in families:
        name = family.name + ("_total" if family.kind == "counter" and not openmetrics else "")
        lines.append(f"# TYPE {name} {family.kind}")
        unit = family.name.rpartition("_")[2]
        if openmetrics and unit in _UNITS:
            lines.append(f"# UNIT {name} {unit}")
        lines.append(f"# HELP {name} {_escaped(family.text, openmetrics)}")
        lines += [f"{family.name}{suffix}{labels} {value}" for suffix, labels, value in family.samples]
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def families(registry: Registry, latencies: Latencies) -> Iterator[Family]:
    """All there is."""
    build = Family("varnishpy_build_info", "gauge", "Version and interpreter.")
    build.add(1, labelled(version=__version__, interpreter=interpreter()))
    yield build
    yield from _latencies(latencies)
    yield from _counters(registry)
    for name, kind, text, value in process_figures.rows():
        figure = Family(name, kind, text)
        figure.add(value)
        yield figure


def _counters(registry: Registry) -> Iterator[Family]:
    """``varnishpy_<class>_<counter>[_total]{ident="..."}``.

    Those of backends have ``vcl`` and ``backend`` in place of ``ident``, and go on when the program is reloaded.
    """
    registry.collect()
    tables = list(dict.fromkeys(segment.table for segment in registry.all()))
    for table in tables:
        values = [(_labels_of(table, ident), snapshot) for ident, snapshot in registry.lines(table)]
        for column in table.columns:
            family = _family_of(f"varnishpy_{table.name.lower()}_{column.name}", column)
            for labels, snapshot in values:
                family.add(snapshot[column.name], labels)
            yield family


def _family_of(name: str, column: Column) -> Family:
    if column.format == "duration":  # uptime: it grows, and begins anew with each child
        return Family(f"{name}_seconds", "gauge", column.oneliner)
    return Family(name, "counter" if column.kind == "counter" else "gauge", column.oneliner)


def _latencies(latencies: Latencies) -> Iterator[Family]:
    requests = Family(
        "varnishpy_request_first_byte_seconds",
        "histogram",
        "From a request to the first octet of its response, by handling, and by the backend that the object is from.",
    )
    fetches = Family(
        "varnishpy_fetch_first_byte_seconds", "histogram", "From a request to a backend to the head of its response."
    )
    for handling, row in enumerate(latencies.rows):
        for backend, histogram in sorted(row.items()):
            if handling == OF_FETCH:
                _buckets(fetches, histogram, backend=backend)
            else:
                _buckets(requests, histogram, handling=HANDLINGS[handling], backend=backend)
    yield requests
    yield fetches


def _buckets(family: Family, histogram: Histogram, **labels: str) -> None:
    so_far = 0
    for bound, count in zip([*map(str, bounds()), "+Inf"], histogram.counts, strict=True):
        so_far += count
        family.add(so_far, labelled(**labels, le=bound), "_bucket")
    family.add(so_far, labelled(**labels), "_count")
    family.add(histogram.seconds, labelled(**labels), "_sum")


def labelled(**labels: str) -> str:
    """Labels as they stand behind a name."""
    return "{" + ",".join(f'{name}="{_escaped(value, True)}"' for name, value in labels.items()) + "}"


def _labels_of(table: CounterClass[str], ident: str) -> str:
    if table is stats.VBE:
        vcl, _, backend = ident.partition(".")  # a VCL's name has no dot
        return labelled(vcl=vcl, backend=backend)
    return labelled(ident=ident) if ident else ""


def _escaped(text: str, quotes: bool) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped
