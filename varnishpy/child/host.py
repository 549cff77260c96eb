"""What VCL programs get from the cache process: backends, storage, and services of the rooms above vcl/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from varnishpy.backends.registry import BackendError, Backends
from varnishpy.base.panic import present
from varnishpy.http1.elsewhere import Elsewhere, Wrapper
from varnishpy.request import bereq, deliver, filters, reqbody, rollback
from varnishpy.request.busyobj import BusyObject
from varnishpy.request.request import Request
from varnishpy.vcl import counts
from varnishpy.vcl.context import VclFailure
from varnishpy.vcl.loader import Maker, Vcl, VclLoadError

if TYPE_CHECKING:
    from varnishpy.backends.director import Director
    from varnishpy.cache.keys import KeyIndex
    from varnishpy.cache.limits import SharedLimits
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.http1.transport import Http1Transport
    from varnishpy.request.env import Env
    from varnishpy.storage.stevedore import Stevedore
    from varnishpy.vcl.context import Ctx
    from varnishpy.vcl.specs import BackendSpec


def _request(ctx: Ctx) -> Request:
    req = ctx.request()
    assert isinstance(req, Request)
    return req


def _fetch(ctx: Ctx) -> BusyObject:
    bo = ctx.fetch()
    assert isinstance(bo, BusyObject)
    return bo


class Host:
    """The `VclHost` of the child."""

    def __init__(self, env: Env, backends: Backends) -> None:
        self._env = env
        self._backends = backends
        self.identity = env.identity
        self.hostname = env.hostname

    def new_backend(self, vcl: Vcl, spec: BackendSpec, via: Director | None) -> Director:
        """A backend of a program, cold."""
        try:
            return self._backends.new(spec, vcl.name, via, vcl.default_probe)
        except BackendError as error:
            raise VclLoadError(f"{error}\n") from None

    def stevedore(self, name: str) -> Stevedore | None:
        """A storage by name, or None."""
        return self._env.stevedores.get(name)

    def ban(self, spec: str) -> str | None:
        """Add a ban; what is wrong with it, or None."""
        return self._env.bans.ban_string(spec)

    def drop_bereq_body(self, ctx: Ctx) -> None:
        """``unset bereq.body``"""
        bereq.drop_body(_fetch(ctx))

    def rollback(self, ctx: Ctx, which: str) -> None:
        """``std.rollback``"""
        if which == "req":
            req = _request(ctx)
            if req.wrk is None:
                raise VclFailure("req is not available here")
            if ctx.method == "pipe":
                raise VclFailure("Cannot rollback in vcl_pipe {}")
            rollback.rollback_request(req.wrk, req)
            deliver.redo_response(req, ctx.method)
        else:
            rollback.rollback_fetch(_fetch(ctx))

    def cache_req_body(self, ctx: Ctx, size: int) -> int:
        """``std.cache_req_body``"""
        if ctx.req is None:
            raise VclFailure("std.cache_req_body() is for the client side")
        return reqbody.cache_body(_request(ctx), size)

    def purge(self, ctx: Ctx, ttl: float, grace: float, keep: float) -> int:
        """``purge.soft`` and ``purge.hard``"""
        req = ctx.req
        if req is None or ctx.method not in ("hit", "miss"):
            raise VclFailure("purge can only happen in vcl_hit{} or vcl_miss{}")
        return self._env.hash.purge(present(req.wrk, "req->wrk"), req.digest, req.t_req, ttl, grace, keep)

    def add_filters(self, vcl: Vcl, fetch: Mapping[str, Maker], delivery: Mapping[str, Maker]) -> None:
        """Register processors of a VMOD for one VCL."""
        registry = filters.of_vcl(vcl)
        try:
            for name, processor in fetch.items():
                registry.add_fetch(name, cast(filters.FetchFactory, processor))
            for name, processor in delivery.items():
                registry.add_delivery(name, cast(filters.DeliveryFactory, processor))
        except filters.FilterError as error:
            raise VclFailure(str(error)) from None

    def forget(self, vcl: Vcl) -> None:
        """A VCL is gone."""
        counts.write_program(vcl.name, vcl.module.names)
        filters.forget_vcl(vcl)

    def subscribe(self, listener: Callable[[str, ObjectCore], None]) -> None:
        """Be told of objects that come and go."""
        self._env.hash.expiry.subscribe(listener)

    def unsubscribe(self, listener: Callable[[str, ObjectCore], None]) -> None:
        """Undo `subscribe`."""
        self._env.hash.expiry.unsubscribe(listener)

    def key_index(self) -> KeyIndex:
        """Objects by their keys."""
        return self._env.hash.keys

    def shared_limits(self) -> SharedLimits | None:
        """Those of the tier, if there is one."""
        return self._env.tier

    def deliver_elsewhere(self, ctx: Ctx, name: str, wrap: Wrapper | None) -> None:
        """Have the response of a request sent by a task of its own."""
        req = _request(ctx)
        if req.transport is not self._env.transports.get("HTTP1"):
            raise VclFailure("Only works on built-in http1 transport")
        req.transport = Elsewhere(cast("Http1Transport", req.transport), name, wrap)

    def default_resp_filters(self, ctx: Ctx) -> str:
        """The delivery filters of the request as it stands."""
        return filters.default_delivery_filters(_request(ctx))

    def default_beresp_filters(self, ctx: Ctx) -> str:
        """The fetch filters of the fetch as it stands."""
        return filters.default_fetch_filters(_fetch(ctx))
