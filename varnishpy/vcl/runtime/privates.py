"""Private data of VMODs."""

from __future__ import annotations

from collections.abc import Hashable

from varnishpy.vcl.context import Ctx, PrivateData, VclFailure


def priv_task(ctx: Ctx, vmod_name: Hashable) -> PrivateData:
    """A VMOD's own data for this request or fetch (on the CLI: for this event).

    :param vmod_name: the VMOD's name in this VCL, or what else a VMOD tells its data apart by
    """
    task = ctx.task()
    if task is None:
        return _private_of(ctx.vcl.event_privs, ctx, vmod_name)
    if task.privs is None:
        task.privs = {}
    return _private_of(task.privs, ctx, vmod_name)


def priv_top(ctx: Ctx, vmod_name: Hashable) -> PrivateData:
    """A VMOD's own data for a client request and everything it includes."""
    req = ctx.req
    if req is None:
        raise VclFailure("PRIV_TOP is only accessible in client VCL context")
    top = req.top()
    if top.privs is None:
        top.privs = {}
    return _private_of(top.privs, ctx, (vmod_name, "top"))


def _private_of(store: dict[Hashable, PrivateData], ctx: Ctx, key: Hashable) -> PrivateData:
    full = (ctx.vcl.name, key)
    found = store.get(full)
    if found is None:
        found = store[full] = PrivateData()
    return found
