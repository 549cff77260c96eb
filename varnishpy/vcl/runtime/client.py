"""The client side: ``client.*``, ``req.*``, ``resp.*`` and ``sess.*``."""

from __future__ import annotations

from varnishpy.log.tag_numbers import LOST_HEADER
from varnishpy.params import params
from varnishpy.vcl.context import Ctx, VclFailure
from varnishpy.vcl.runtime.strings import ip_string
from varnishpy.vcl.tasks import ClientSession, ClientTask, FetchTask


def client_identity(ctx: Ctx) -> str:
    identity = (ctx.fetch() if ctx.req is None else ctx.req).client_identity
    return identity if identity is not None else ip_string(ctx.session().client_ip)


def set_client_identity(ctx: Ctx, value: str) -> None:
    if ctx.ws is not None and not ctx.ws.account(len(value) + 1):
        ctx.log(LOST_HEADER, "client.identity")
        return
    ctx.request().client_identity = value


def set_req_esi(req: ClientTask, value: bool) -> None:
    if req.esi_level == 0:  # as the reference: included requests follow the first
        req.disable_esi = not value


def req_filters(ctx: Ctx) -> str:
    return ctx.request().req_filter_list or ""


def set_req_filters(ctx: Ctx, value: str) -> None:
    req = ctx.request()
    if not req.body_to_come():
        raise VclFailure("req.filters not settable")
    req.req_filter_list = ctx.account(value)


def resp_do_esi(req: ClientTask) -> bool:
    refuse_if_fixed(req.filter_list, "resp.filters", "resp.do_esi")
    return not req.disable_esi


def set_resp_do_esi(req: ClientTask, value: bool) -> None:
    refuse_if_fixed(req.filter_list, "resp.filters", "resp.do_esi")
    req.disable_esi = not value


def refuse_if_fixed(filters: str | None, what: str, name: str) -> None:
    """A filter list that VCL has set says all: what else would choose filters has no meaning any more."""
    if filters is not None:
        raise VclFailure(f"{what} are already fixed, {name} is undefined")


def resp_filters(ctx: Ctx) -> str:
    """As VCL set it, or what delivery would choose."""
    filters = ctx.request().filter_list
    return filters if filters is not None else ctx.vcl.host.default_resp_filters(ctx)


def is_streaming(req: ClientTask) -> bool:
    return req.objcore is not None and req.objcore.boc is not None


def set_trace(ctx: Ctx, task: ClientTask | FetchTask, value: bool) -> None:
    task.vcl_trace = value
    ctx.trace = value


def session_timeout(sess: ClientSession, name: str) -> float:
    value: float | None = getattr(sess, name)
    return float(getattr(params, name)) if value is None else value


def set_session_timeout(sess: ClientSession, name: str, value: float | None) -> None:
    setattr(sess, name, None if value is None else max(value, 0.0))
