"""``varnishpy log --otlp``: trees of transactions as traces, sent to a collector by OpenTelemetry's own exporter.

A client's request is a span of the kind server; its includes and restarts are spans inside it, and each fetch is one of
the kind client. With ``feature=+trace_context`` the ids are those that the cache took from its client and gave to its
backends (``request/trace_context.py``), so that the spans of all three are one trace. Without it a client's
``traceparent`` is the parent all the same, and what has no id gets one that follows from its transaction.

The queue holds 2048 spans; what does not fit is dropped, and the exporter says so. The SDK's environment variables
count: OTEL_BSP_MAX_QUEUE_SIZE, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS, ...
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from varnishpy import __version__
from varnishpy.log.grouping import Transaction, parse_link
from varnishpy.log.selection import Selection
from varnishpy.log.tags import Tag
from varnishpy.request.trace_context import NOTE, TraceContext, parse_traceparent
from varnishpy.tools.log_json import Digest, Object, digest_of

_SCOPE = InstrumentationScope("varnishpy", __version__)
_TRACES = "/v1/traces"
_NANO = 1000  # nanoseconds in the microseconds that the log has

Value = str | int | float | bool


class OtlpExport:
    """Takes groups of transactions (``-g request``) and sends their spans.

    :param url: the collector; without a path ``/v1/traces`` is meant (OTLP's default)
    :param instance: what this cache is called
    """

    def __init__(self, url: str, instance: str, selection: Selection) -> None:
        self._selection = selection
        self._seed = f"{socket.gethostname()} {instance}"
        self._resource = Resource.create(
            {"service.name": "varnishpy", "service.version": __version__, "service.instance.id": instance}
        )
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint(url)))

    def group(self, group: list[Transaction]) -> None:
        """Queue the spans of a group."""
        for span in spans(group, self._selection, self._seed, self._resource):
            self._processor.on_end(span)

    def close(self) -> None:
        """Send what is queued, and end."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def endpoint(url: str) -> str:
    """The collector's whole address."""
    return url.rstrip("/") + _TRACES if urlsplit(url).path in ("", "/") else url


def spans(group: list[Transaction], selection: Selection, seed: str, resource: Resource) -> list[ReadableSpan]:
    """A span for each request and fetch of a group; none if its top is neither, or took no time that the log tells.

    :param seed: what tells this cache from others, for ids that nobody has chosen
    """
    members = [transaction for transaction in group if transaction.kind in ("req", "bereq")]
    if not members:
        return []
    digests = [digest_of(transaction, selection) for transaction in members]
    own, parent = _places(members[0])
    started = min(digests[0].times().values(), default=0.0)
    trace = own.trace if own else parent.trace if parent else _hash(f"{seed} {members[0].vxid} {started}", 32)
    sampled = own.sampled if own else parent.sampled if parent else True
    contexts: dict[int, SpanContext] = {}
    made = []
    for transaction, digest in zip(members, digests, strict=True):
        mine = own if transaction is members[0] else _places(transaction)[0]
        span = mine.span if mine and mine.trace == trace else _hash(f"{trace} {transaction.vxid}", 16)
        context = contexts[transaction.vxid] = _context(TraceContext(trace, span, sampled), False)
        above = contexts.get(_begun_by(transaction))
        if above is None and parent is not None and parent.trace == trace:
            above = _context(parent, True)
        if digest.times():
            made.append(_span(transaction, digest, context, above, resource))
    return made


def _hash(text: str, digits: int) -> str:
    """An id that is not zero, from what it is the id of."""
    return hashlib.sha256(text.encode()).hexdigest()[: digits - 1] + "1"


def _context(place: TraceContext, remote: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(place.trace, 16), int(place.span, 16), remote, flags)


def _places(transaction: Transaction) -> tuple[TraceContext | None, TraceContext | None]:
    """The place in a trace that a transaction took, and the one from which it was asked."""
    own = parent = None
    for record in transaction.records:
        text = record.text
        if record.tag == Tag.Notice and text.startswith(NOTE):
            own = parse_traceparent(text.removeprefix(NOTE))
        elif record.tag == Tag.ReqHeader and own is None and parent is None and text[:12].lower() == "traceparent:":
            parent = parse_traceparent(text[12:].strip(" \t"))
        elif record.tag == Tag.VCL_call:
            break  # what follows is VCL's
    if own is not None and parent == own:
        parent = None  # the field is the one that we have set
    return own, parent


def _begun_by(transaction: Transaction) -> int:
    """The id of the transaction that this one belongs to."""
    for record in transaction.records:
        if record.tag == Tag.Begin:
            begin = parse_link(record.text)
            return begin.vxid if begin is not None else 0
    return 0


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * _NANO


def _span(
    transaction: Transaction, digest: Digest, context: SpanContext, parent: SpanContext | None, resource: Resource
) -> ReadableSpan:
    made = digest.made()
    times = digest.times()
    client = transaction.kind == "req"
    served = client and transaction.reason not in ("esi", "restart")
    method = digest.request.get("method", "")
    status = digest.response.get("status", 0)
    failed = not isinstance(status, int) or not status or status >= (500 if client else 400)
    errors = made.get("errors")
    why = str(errors[0]) if isinstance(errors, list) and errors else None
    return ReadableSpan(
        name=f"{method}" if served or not client else f"{transaction.reason} {method}",
        context=context,
        parent=parent,
        resource=resource,
        attributes=_attributes(transaction, digest, made),
        events=_events(made),
        kind=SpanKind.SERVER if served else SpanKind.INTERNAL if client else SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, why) if failed else Status(),
        start_time=_nanoseconds(min(times.values())),
        end_time=_nanoseconds(max(times.values())),
        instrumentation_scope=_SCOPE,
    )


def _events(made: Object) -> list[Event]:
    """The timestamps, and at the end of them what VCL logged and what went wrong."""
    found: list[Event] = []
    timeline = made["timeline"]
    moment = 0
    for row in timeline if isinstance(timeline, list) else []:
        moment = _nanoseconds(row["timestamp"])
        found.append(Event(row["name"], timestamp=moment))
    for name, texts in (("log", made.get("logs")), ("error", made.get("errors"))):
        for text in texts if isinstance(texts, list) else []:
            found.append(Event(name, {"message": text}, moment))
    return found


def _first(fields: list[tuple[str, str]], name: str) -> str:
    return next((value for known, value in fields if known.lower() == name), "")


def _part(made: Object, name: str, key: str) -> object:
    part = made.get(name)
    return part.get(key) if isinstance(part, dict) else None


# names of OpenTelemetry's semantic conventions for HTTP, and ours; both sides, the client's, the backend's
_BOTH: dict[str, Callable[[Transaction, Digest, Object], object]] = {
    "http.request.method": lambda transaction, digest, made: digest.request.get("method"),
    "url.path": lambda transaction, digest, made: urlsplit(str(digest.request.get("url", ""))).path,
    "url.query": lambda transaction, digest, made: urlsplit(str(digest.request.get("url", ""))).query,
    "network.protocol.name": lambda transaction, digest, made: "http",
    "network.protocol.version": lambda transaction, digest, made: _version(digest),
    "http.response.status_code": lambda transaction, digest, made: digest.response.get("status"),
    "http.response.body.size": lambda transaction, digest, made: digest.response.get("bodyBytes"),
    "varnishpy.vxid": lambda transaction, digest, made: transaction.vxid,
    "varnishpy.reason": lambda transaction, digest, made: transaction.reason,
    "varnishpy.handling": lambda transaction, digest, made: made.get("handling"),
    "varnishpy.vcl": lambda transaction, digest, made: made.get("vcl"),
}
_CLIENT: dict[str, Callable[[Transaction, Digest, Object], object]] = {
    "server.address": lambda transaction, digest, made: _first(digest.request_fields(), "host"),
    "client.address": lambda transaction, digest, made: _part(made, "client", "rAddr"),
    "client.port": lambda transaction, digest, made: _part(made, "client", "rPort"),
    "url.scheme": lambda transaction, digest, made: _part(made, "client", "proto"),
    "user_agent.original": lambda transaction, digest, made: _first(digest.request_fields(), "user-agent"),
}
_BACKEND: dict[str, Callable[[Transaction, Digest, Object], object]] = {
    "server.address": lambda transaction, digest, made: _part(made, "backend", "rAddr"),
    "server.port": lambda transaction, digest, made: _part(made, "backend", "rPort"),
    "varnishpy.backend": lambda transaction, digest, made: _part(made, "backend", "name"),
    "varnishpy.storage": lambda transaction, digest, made: made.get("storage"),
}


def _version(digest: Digest) -> str:
    return str(digest.request.get("proto", "")).removeprefix("HTTP/").removesuffix(".0")


def _attributes(transaction: Transaction, digest: Digest, made: Object) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value_of in {**_BOTH, **(_CLIENT if transaction.kind == "req" else _BACKEND)}.items():
        value = value_of(transaction, digest, made)
        if isinstance(value, str | int | float) and value != "":
            found[name] = value
    return found
