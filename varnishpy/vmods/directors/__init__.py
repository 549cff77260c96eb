"""VMOD directors: ways of choosing among backends (vmod_directors(3))."""

from __future__ import annotations

from varnishpy.vmods.api import BACKEND, STRING, Ctx, restrict
from varnishpy.vmods.directors.shard import shard
from varnishpy.vmods.directors.shard_param import shard_param
from varnishpy.vmods.directors.simple import fallback, hash_, random, round_robin

__all__ = ["fallback", "hash_", "lookup", "random", "round_robin", "shard", "shard_param"]


@restrict("housekeeping")
def lookup(ctx: Ctx, name: STRING, /) -> BACKEND:
    """A backend or director of this VCL by its name."""
    return next((director for director in ctx.vcl.directors() if director.vcl_name == name), None)
