"""Objects, their life, and where they are stored: ``obj.*``, ``obj_stale.*``, ``beresp.ttl`` and the like."""

from __future__ import annotations

from varnishpy.base.panic import present
from varnishpy.cache.objcore import OC_ASK, OC_DYING, OC_SUPERSEDED, OC_TRANSIENT, ObjectCore
from varnishpy.log.tag_numbers import TTL
from varnishpy.storage.stevedore import Stevedore
from varnishpy.vcl.context import Ctx

_REFRESHED = OC_ASK | OC_SUPERSEDED


def _reference_time(ctx: Ctx) -> float:
    """Against what a TTL is read: on the client side the time of the request, but in vcl_deliver and fetches now."""
    if ctx.bo is not None or ctx.method == "deliver":
        return ctx.now
    return ctx.request().t_req


def age(ctx: Ctx, oc: ObjectCore) -> float:
    return _reference_time(ctx) - oc.t_origin


def ttl(ctx: Ctx, oc: ObjectCore) -> float:
    return max(oc.ttl, 0.0) - (_reference_time(ctx) - oc.t_origin)


def grace(ctx: Ctx, oc: ObjectCore) -> float:
    return max(oc.grace, 0.0)


def keep(ctx: Ctx, oc: ObjectCore) -> float:
    return max(oc.keep, 0.0)


def set_ttl(ctx: Ctx, oc: ObjectCore, value: float) -> None:
    oc.ttl = max(value + _reference_time(ctx) - oc.t_origin, 0.0)
    log_ttl(ctx, oc)


def set_grace(ctx: Ctx, oc: ObjectCore, value: float) -> None:
    oc.grace = max(value, 0.0)
    log_ttl(ctx, oc)


def set_keep(ctx: Ctx, oc: ObjectCore, value: float) -> None:
    oc.keep = max(value, 0.0)
    log_ttl(ctx, oc)


def log_ttl(ctx: Ctx, oc: ObjectCore) -> None:
    """The times of an object being fetched, as VCL has just set them."""
    what = "uncacheable" if ctx.fetch().uncacheable else "cacheable"
    ctx.log(TTL, f"VCL {oc.ttl:.0f} {oc.grace:.0f} {oc.keep:.0f} {oc.t_origin:.0f} {what}")


def object_hits(ctx: Ctx, oc: ObjectCore) -> int:
    return oc.hits if ctx.method == "hit" or ctx.request().is_hit else 0


def object_uncacheable(oc: ObjectCore) -> bool:
    return bool(oc.flags & OC_TRANSIENT)


def object_valid(oc: ObjectCore) -> bool:
    flags = oc.flags
    # where each request asks by itself, another one may have refreshed the object meanwhile
    return not flags & OC_DYING or (flags & _REFRESHED) == _REFRESHED


def stevedore(ctx: Ctx, name: str) -> Stevedore | None:
    return ctx.vcl.host.stevedore(name)


def storage_name(value: Stevedore | None) -> str | None:
    return None if value is None else value.vcl_name


def set_storage_name(ctx: Ctx, name: str) -> None:
    found = ctx.vcl.host.stevedore(name)
    if found is not None:
        ctx.fetch().storage_hint = found


def storage_property(value: Stevedore | None, name: str) -> int:
    """``storage.NAME.free_space``, ``used_space`` and ``happy``."""
    if value is None:
        return name == "happy"
    found: int = getattr(value, name)
    return found


def object_storage(oc: ObjectCore) -> Stevedore:
    return present(oc.stobj, "oc->stobj").stevedore
