"""What the stats socket answers as JSON: counters, latencies, and log transactions as lines."""

from __future__ import annotations

import json
import time

from varnishpy import __version__
from varnishpy.base.compiled import interpreter
from varnishpy.log.grouping import Transaction
from varnishpy.stats.latency import HANDLINGS, Latencies, bounds
from varnishpy.stats.segments import Registry

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


def latencies_json(latencies: Latencies) -> object:
    """Latencies for ``/latencies``: bounds of the buckets in seconds, and what was counted in each."""
    rows = [
        {"handling": HANDLINGS[handling], "backend": backend, "counts": found.counts, "seconds": found.seconds}
        for handling, row in enumerate(latencies.rows)
        for backend, found in sorted(row.items())
    ]
    return {"bounds": bounds(), "histograms": rows}


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
