"""The backend side: ``bereq.*`` and ``beresp.*``."""

from __future__ import annotations

from varnishpy.base.panic import present
from varnishpy.log.tag_numbers import ERROR, TTL, VCL_ERROR
from varnishpy.params import params
from varnishpy.vcl.context import Ctx
from varnishpy.vcl.runtime.client import refuse_if_fixed
from varnishpy.vcl.runtime.objects import log_ttl
from varnishpy.vcl.tasks import FetchTask
from varnishpy.vcl.values import SockAddr

_RETRY_DISABLED = "retry disabled from VCL"


def bereq_timeout(bo: FetchTask, name: str) -> float:
    """As VCL set it, or the parameter; a backend's own value is known only once it was chosen."""
    value: float | None = getattr(bo, name)
    if value is None and bo.director_req is not None:
        value = getattr(bo.director_req, name, None)
    return float(getattr(params, name)) if value is None else value


def task_deadline(bo: FetchTask) -> float:
    value = bo.task_deadline
    return params.pipe_task_deadline if value is None else value


def unset_bereq_body(ctx: Ctx) -> None:
    present(ctx.http_bereq, "ctx->http_bereq").unset("content-length")
    ctx.vcl.host.drop_bereq_body(ctx)


def bereq_filters(ctx: Ctx) -> str:
    return ctx.fetch().bereq_filter_list or ""


def set_retry_connect(bo: FetchTask, value: bool) -> None:
    if not value and bo.no_retry is None:
        bo.no_retry = _RETRY_DISABLED
    elif value and bo.no_retry == _RETRY_DISABLED:
        bo.no_retry = None


def backend_ip(ctx: Ctx) -> SockAddr | None:
    bo = ctx.fetch()
    found = None if bo.director_resp is None else bo.director_resp.get_ip(bo)
    return None if found is None else SockAddr(*found)


def beresp_flag(bo: FetchTask, name: str) -> bool:
    refuse_if_fixed(bo.filter_list, "beresp.filters", f"beresp.{name}")
    return bool(getattr(bo, name))


def set_beresp_flag(bo: FetchTask, name: str, value: bool) -> None:
    refuse_if_fixed(bo.filter_list, "beresp.filters", f"beresp.{name}")
    setattr(bo, name, value)


def beresp_filters(ctx: Ctx) -> str:
    filters = ctx.fetch().filter_list
    return filters if filters is not None else ctx.vcl.host.default_beresp_filters(ctx)


def beresp_time(bo: FetchTask) -> float:
    return bo.t_resp or bo.t_prev


def transit_buffer(bo: FetchTask) -> int:
    return params.transit_buffer if bo.transit_buffer is None else bo.transit_buffer


def set_transit_buffer(ctx: Ctx, value: int) -> None:
    bo = ctx.fetch()
    if not bo.uncacheable:
        ctx.log(ERROR, "Ignoring beresp.transit_buffer on cacheable object")
        return
    bo.transit_buffer = max(value, 0)


def set_uncacheable(ctx: Ctx, value: bool) -> None:
    bo = ctx.fetch()
    if bo.uncacheable and not value:
        ctx.log(VCL_ERROR, "Ignoring attempt to reset beresp.uncacheable")
    elif value:
        bo.uncacheable = True
    log_ttl(ctx, present(bo.objcore, "bo->fetch_objcore"))


def hit_for_pass(ctx: Ctx, duration: float) -> None:
    if ctx.bo is None:
        ctx.log(ERROR, "Note: Ignoring DURATION argument to return(pass);")
        return
    oc = present(ctx.bo.objcore, "bo->fetch_objcore")
    oc.ttl = duration
    oc.grace = oc.keep = 0.0
    ctx.log(TTL, f"HFP {oc.ttl:.0f} {oc.grace:.0f} {oc.keep:.0f} {oc.t_origin:.0f} uncacheable")
