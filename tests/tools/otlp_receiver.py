"""A collector of OpenTelemetry traces: takes OTLP over HTTP on loopback and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Received:
    """A span: ids in hexadecimal, times in nanoseconds."""

    trace: str
    span: str
    parent: str
    name: str
    kind: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, object]
    events: list[tuple[str, int]]
    service: object


def _attributes(rows: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for row in rows if isinstance(rows, list) else list(rows):  # type: ignore[call-overload]
        found[row.key] = getattr(row.value, row.value.WhichOneof("value"))
    return found


def _read(span: trace_pb2.Span, service: object) -> Received:
    return Received(
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        kind=KINDS[span.kind],
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        events=[(event.name, event.time_unix_nano) for event in span.events],
        service=service,
    )


class Collector:
    """Listens until `close`; ``url`` is what ``--otlp`` is given."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.spans: list[Received] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, path: str, body: bytes) -> None:
        self.paths.append(path)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(group.resource.attributes).get("service.name")
            self.spans += [_read(span, service) for scope in group.scope_spans for span in scope.spans]

    def by_vxid(self) -> dict[object, Received]:
        return {span.attributes["varnishpy.vxid"]: span for span in self.spans}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(20)
