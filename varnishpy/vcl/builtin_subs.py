"""What every hit runs of the built-in VCL, compiled like other modules. See `Module`.

Made by tools/genvcl (``make docs``) from builtin.vcl: do not edit.
"""

from __future__ import annotations

from typing import Final

from varnishpy.params import params
from varnishpy.vcl import runtime as rt
from varnishpy.vcl.context import Ctx, Method

m2: Final = rt.regex("[[:upper:]]").search
m4: Final = rt.regex("^/").search


def sub_vcl_recv(ctx: Ctx) -> str | None:
    if (action := sub_vcl_builtin_recv(ctx)) is not None:
        return action
    return "hash"


def sub_vcl_hash(ctx: Ctx) -> str | None:
    sub_vcl_builtin_hash(ctx)
    return "lookup"


def sub_vcl_builtin_recv(ctx: Ctx) -> str | None:
    if (action := sub_vcl_req_url(ctx)) is not None:
        return action
    if (action := sub_vcl_req_host(ctx)) is not None:
        return action
    if (action := sub_vcl_req_method(ctx)) is not None:
        return action
    if (action := sub_vcl_req_authorization(ctx)) is not None:
        return action
    if (action := sub_vcl_req_cookie(ctx)) is not None:
        return action
    return None


def sub_vcl_req_host(ctx: Ctx) -> str | None:
    req = ctx.req
    assert req is not None
    http_req = ctx.http_req
    assert http_req is not None
    if m2(http_req.get("host") or ""):
        rt.set_header(ctx, http_req, "host", (rt.lower(ctx, http_req.get("host")) or ""))
    if (not (http_req.has("host"))) and (req.esi_level == 0) and (http_req.proto == "HTTP/1.1"):
        rt.synth(ctx, 400, None)
        return "synth"
    return None


def sub_vcl_req_url(ctx: Ctx) -> str | None:
    http_req = ctx.http_req
    assert http_req is not None
    if (http_req.url == "*") and (http_req.method == "OPTIONS"):
        return None
    if (not m4(http_req.url)) and (http_req.method != "CONNECT"):
        rt.synth(ctx, 400, None)
        return "synth"
    return None


def sub_vcl_req_method(ctx: Ctx) -> str | None:
    http_req = ctx.http_req
    assert http_req is not None
    if (http_req.method == "CONNECT") or (
        (not params.feature.any_method)
        and (http_req.method != "GET")
        and (http_req.method != "HEAD")
        and (http_req.method != "PUT")
        and (http_req.method != "POST")
        and (http_req.method != "TRACE")
        and (http_req.method != "OPTIONS")
        and (http_req.method != "DELETE")
        and (http_req.method != "PATCH")
    ):
        rt.set_header(ctx, http_req, "Connection", "close")
        rt.synth(ctx, 501, None)
        return "synth"
    if (http_req.method != "GET") and (http_req.method != "HEAD"):
        return "pass"
    return None


def sub_vcl_req_authorization(ctx: Ctx) -> str | None:
    http_req = ctx.http_req
    assert http_req is not None
    if (http_req.has("authorization")) and (not params.feature.authorization):
        return "pass"
    return None


def sub_vcl_req_cookie(ctx: Ctx) -> str | None:
    http_req = ctx.http_req
    assert http_req is not None
    if (http_req.has("cookie")) and (not params.feature.cookies):
        return "pass"
    return None


def sub_vcl_builtin_hash(ctx: Ctx) -> str | None:
    sess = ctx.sess
    assert sess is not None
    http_req = ctx.http_req
    assert http_req is not None
    rt.hash_data(ctx, http_req.url)
    if http_req.has("host"):
        rt.hash_data(ctx, http_req.get("host"))
    else:
        rt.hash_data(ctx, rt.ip_string(sess.server_ip))
    return None


SUBS: Final[dict[str, Method]] = {
    "sub_vcl_recv": sub_vcl_recv,
    "sub_vcl_hash": sub_vcl_hash,
    "sub_vcl_builtin_recv": sub_vcl_builtin_recv,
    "sub_vcl_req_host": sub_vcl_req_host,
    "sub_vcl_req_url": sub_vcl_req_url,
    "sub_vcl_req_method": sub_vcl_req_method,
    "sub_vcl_req_authorization": sub_vcl_req_authorization,
    "sub_vcl_req_cookie": sub_vcl_req_cookie,
    "sub_vcl_builtin_hash": sub_vcl_builtin_hash,
}
