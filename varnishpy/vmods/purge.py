"""VMOD purge: removing all variants of an object (vmod_purge(3))."""

from __future__ import annotations

from math import nan

from varnishpy.vmods.api import DURATION, INT, Ctx, restrict


@restrict("vcl_hit vcl_miss")
def hard(ctx: Ctx) -> INT:
    """At once; how many objects."""
    return int(ctx.vcl.host.purge(ctx, 0.0, 0.0, 0.0))


@restrict("vcl_hit vcl_miss")
def soft(ctx: Ctx, ttl: DURATION = 0.0, grace: DURATION = -1.0, keep: DURATION = -1.0) -> INT:
    """Shorten their lives; a negative grace or keep stays as it is."""
    return int(ctx.vcl.host.purge(ctx, ttl, nan if grace < 0 else grace, nan if keep < 0 else keep))
