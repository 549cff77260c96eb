"""Running a VCL method for a request or fetch, as every step of the state machines does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.params import params
from varnishpy.vcl.context import Ctx

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.request.request import Request
    from varnishpy.threads.worker import Worker


def client_left(wrk: Worker, req: Request) -> bool:
    """Has the client gone? Once found gone it stays so."""
    if req.req_reset:
        return True
    if not params.feature.vcl_req_reset:
        return False
    top = req.topreq
    if not top.transport.client_gone(top):
        return False
    _note_reset(wrk, req)
    return True


def _note_reset(wrk: Worker, req: Request) -> None:
    now = clock.now()
    req.log.timestamp("Reset", now)
    req.t_prev = now
    wrk.stats.req_reset += 1
    req.req_reset = True


def run_vcl(wrk: Worker, req: Request, method: str) -> tuple[str, Ctx | None]:
    """Run a client-side method; the action, and the context of a method that was run.

    None is where the client left, nor where it is known what the method returns.
    """
    if req.req_reset:
        return "fail", None
    if params.feature.vcl_req_reset:  # as client_left, without the call
        top = req.topreq
        if top.transport.client_gone(top):
            _note_reset(wrk, req)
            return "fail", None
    vcl = req.vcl
    assert vcl is not None
    fixed = vcl.fixed.get(method)
    if fixed is not None and not req.vcl_trace:
        req.log.put_records(fixed.records)
        return fixed.action, None
    ctx = req.ctx
    if ctx is None or ctx.vcl is not vcl:
        ctx = req.ctx = Ctx.for_request(req)
    else:
        ctx.renew(req)
    action = vcl.run(method, ctx)
    if action == "fail":
        wrk.stats.vcl_fail += 1
    return action, ctx


def run_backend_vcl(wrk: Worker, bo: BusyObject, method: str) -> str:
    """Run a backend-side method."""
    vcl = bo.vcl
    assert vcl is not None
    fixed = vcl.fixed.get(method)
    if fixed is not None and not bo.vcl_trace:
        bo.log.put_records(fixed.records)
        return fixed.action
    action = vcl.run(method, Ctx.for_fetch(bo))
    if action == "fail":
        wrk.stats.vcl_fail += 1
    return action
