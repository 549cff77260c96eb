"""What the stats socket answers: counters as JSON and for Prometheus, log transactions as JSON lines."""

from __future__ import annotations

import json
import time

from varnishpy import __version__, stats
from varnishpy.base.compiled import interpreter
from varnishpy.log.grouping import Transaction
from varnishpy.stats.segments import Registry, Segment

_FLAGS = {"counter": "c", "gauge": "g", "bitmap": "b"}


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("latin-1")
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def to_json(value: object) -> bytes:
    """JSON text of whatever a provider returns."""
    return json.dumps(value, default=_plain).encode() + b"\n"


def counters_json(registry: Registry) -> bytes:
    """All counters in the shape of ``varnishstat -j``, with their level and documentation besides."""
    registry.collect()
    counters: dict[str, object] = {}
    for segment in registry.all():
        values = segment.snapshot()
        for column in segment.table.columns:
            value = values[column.name]
            counters[f"{segment.name}.{column.name}"] = {
                "description": column.oneliner,
                "doc": column.doc,
                "flag": _FLAGS[column.kind],
                "format": column.format,
                "level": column.level,
                "value": max(value, 0) if column.kind == "gauge" else value,
            }
    document = {
        "version": 1,
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "program": f"varnishpy-{__version__}",
        "interpreter": interpreter(),
        "counters": counters,
    }
    return to_json(document)


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_label(value)}"' for name, value in labels.items()) + "}"


def _labels_of(segment: Segment) -> str:
    if segment.table is stats.VBE:
        vcl, _, backend = segment.ident.partition(".")  # a VCL's name has no dot
        return _labels(vcl=vcl, backend=backend)
    return _labels(ident=segment.ident) if segment.ident else ""


def metrics(registry: Registry) -> bytes:
    """All counters in Prometheus' text format: ``varnishpy_<class>_<counter>[_total]{ident="..."}``.

    Those of backends have ``vcl`` and ``backend`` in place of ``ident``: what is summed by backend goes on when another
    VCL is used.
    """
    registry.collect()
    classes: dict[str, list[Segment]] = {}
    for segment in registry.all():
        classes.setdefault(segment.table.name, []).append(segment)
    build = _labels(version=__version__, interpreter=interpreter())
    lines = [
        "# HELP varnishpy_build_info Version and interpreter.",
        "# TYPE varnishpy_build_info gauge",
        f"varnishpy_build_info{build} 1",
    ]
    for segments in classes.values():
        table = segments[0].table
        values = [(segment, segment.snapshot()) for segment in segments]
        for column in table.columns:
            name = f"varnishpy_{table.name.lower()}_{column.name}"
            counts = column.kind == "counter" and column.format != "duration"
            name += "_total" if counts else ""
            lines.append(f"# HELP {name} {column.oneliner}")
            lines.append(f"# TYPE {name} {'counter' if counts else 'gauge'}")
            for segment, snapshot in values:
                lines.append(f"{name}{_labels_of(segment)} {snapshot[column.name]}")
    return ("\n".join(lines) + "\n").encode()


def group_json(group: list[Transaction]) -> bytes:
    """A group of transactions as one line of JSON."""
    return to_json(
        [
            {
                "level": transaction.level,
                "vxid": transaction.vxid,
                "parent": transaction.parent,
                "type": transaction.kind,
                "reason": transaction.reason,
                "records": [
                    {
                        "tag": record.name,
                        "vxid": record.vxid,
                        "side": record.type_letter,
                        "value": record.data.hex() if record.binary else record.text,
                    }
                    for record in transaction.records
                ],
            }
            for transaction in group
        ]
    )
