"""Going back: a request or fetch as it was before VCL touched it (``std.rollback``, ``return (vcl(...))``, failure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.request.fetchstate import cleanup
from varnishpy.vcl import context

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.request.request import Request
    from varnishpy.threads.worker import Worker


def rollback_request(wrk: Worker, req: Request) -> None:
    """``req.*`` as received; the private data of VMODs ends, workspace used since is given back."""
    context.end_task(req)
    req.http.copy_from(req.http0)
    req.filter_list = None
    req.req_filter_list = None
    if req.ws.overflowed:
        wrk.stats.ws_client_overflow += 1
    req.ws.rollback(req.ws_snapshot)


def rollback_fetch(bo: BusyObject) -> None:
    """``bereq.*`` as first built; the connection, if there is one, is given up."""
    if bo.body_reader is not None and bo.body_reader.kind != "none":
        bo.doclose = "RESP_CLOSE"
    cleanup(bo)
    context.end_task(bo)
    bo.bereq.copy_from(bo.bereq0)
    bo.filter_list = None
    bo.bereq_filter_list = None
    bo.err_reason = None
    bo.ws.rollback(bo.ws_snapshot)
