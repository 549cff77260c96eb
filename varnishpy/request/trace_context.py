"""W3C Trace Context (https://www.w3.org/TR/trace-context/): a request is one step of a trace, each fetch the next.

With ``feature=+trace_context`` a request's ``traceparent`` names the trace, or a new trace begins with it. The request
gets an id of its own in it, and so does each fetch, whose ``traceparent`` says so to the backend. VCL sees these
fields, and may take them away. What was chosen stands in the log as ``Notice traceparent ...``, for who makes spans of
transactions (``varnishpy log --otlp``).
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from varnishpy.log.tag_numbers import NOTICE

if TYPE_CHECKING:
    from varnishpy.http.message import Message
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.request import Request

NOTE: Final = "traceparent "  # what the records begin with
# section 3.2.2; versions to come may have more fields behind these
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_SAMPLED: Final = 1


class TraceContext(NamedTuple):
    """A place in a trace: ids in hexadecimal, lower case."""

    trace: str
    span: str
    sampled: bool

    def text(self) -> str:
        """As ``traceparent`` has it."""
        return f"00-{self.trace}-{self.span}-{int(self.sampled):02x}"


def parse_traceparent(text: str | None) -> TraceContext | None:
    """What a ``traceparent`` says; None if it is none."""
    found = _FORM.match(text) if text is not None else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not int(trace, 16) or not int(span, 16):
        return None
    return TraceContext(trace, span, bool(int(flags, 16) & _SAMPLED))


def enter_trace(req: Request) -> None:
    """Give a request its place in the trace that its client names, or in a new one; an include is in its page's."""
    http = req.http
    first = req.topreq.http
    came = parse_traceparent(first.get("traceparent")) if first is not http or http.count("traceparent") == 1 else None
    if came is None or first.get("tracestate") is None:
        http.unset("tracestate")  # it belongs to a trace that we do not go on with (section 3.3.1)
    if came is None:
        came = TraceContext(secrets.token_hex(16), "", True)
    _take_place(http, came, req.log)


def pass_trace_on(bereq: Message, log: TaskLog) -> None:
    """Give a fetch its place in the trace of its request, unless VCL has taken that away."""
    came = parse_traceparent(bereq.get("traceparent"))
    if came is not None:
        _take_place(bereq, came, log)


def _take_place(http: Message, came: TraceContext, log: TaskLog) -> None:
    text = TraceContext(came.trace, secrets.token_hex(8), came.sampled).text()
    http.set("traceparent", text)
    log.put(NOTICE, NOTE + text)
