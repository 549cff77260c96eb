"""VMOD saintmode: an object that a backend cannot deliver just now is fetched elsewhere, with the functions of
varnish-modules' VMOD of that name.

A saintmode object stands before one backend. `denylist` notes that this backend shall not be asked for the object that
was to be fetched, for some time. A backend with too many such objects counts as sick altogether.
"""

from __future__ import annotations

import json

from varnishpy.backends.director import Director
from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.log.tag_numbers import VCL_ERROR, VCL_LOG
from varnishpy.vmods.api import BACKEND, BOOL, DURATION, INT, PRIV_VCL, STRING, Ctx, VclFailure


class _Saint(Director):
    """A backend, and the objects it is not to be asked for."""

    type = "saintmode"

    def __init__(self, ctx: Ctx, vcl_name: str, backend: Director, threshold: int) -> None:
        super().__init__(vcl_name, ctx.vcl.name)
        self.backend = backend
        self.threshold = threshold
        self._lock = make_lock("vmod_saintmode")
        self._until: dict[bytes, float] = {}  # digest of the object, and wall-clock time
        ctx.vcl.add_director(self)

    def deny(self, digest: bytes, until: float) -> None:
        """Do not ask for an object before that time."""
        with self._lock:
            self._until[digest] = max(until, self._until.get(digest, until))

    def denied(self, now: float) -> set[bytes]:
        """The objects that it is not to be asked for; what is over is forgotten."""
        with self._lock:
            self._until = {digest: until for digest, until in self._until.items() if until > now}
            return set(self._until)

    def assess(self, ctx: Ctx | None) -> tuple[bool, float]:
        healthy, changed = self.backend.healthy(ctx)
        if not healthy or not self.threshold:
            return healthy, changed
        denied = self.denied(clock.now())
        fetch = None if ctx is None else ctx.bo
        reason = ""
        if fetch is not None and fetch.digest in denied:
            reason = "object denylisted"
        elif len(denied) >= self.threshold:
            reason = "hit threshold"
        if reason and ctx is not None:
            ctx.log(VCL_LOG, f"saintmode: unhealthy: {reason} for backend {self.backend.vcl_name}")
        return not reason, changed

    def resolve(self, ctx: Ctx | None) -> Director | None:
        return self.backend if self.healthy(ctx)[0] else None

    def release(self) -> None:
        super().release()
        with self._lock:
            self._until.clear()


class _Saints(list[_Saint]):
    """Those of a VCL."""


def denylist(ctx: Ctx, priv: PRIV_VCL, expires: DURATION) -> None:
    """Do not ask the backend that has just answered for this object again for so long; in vcl_backend_response."""
    fetch = ctx.bo
    if ctx.method != "backend_response" or fetch is None:
        ctx.log(VCL_ERROR, "saintmode.denylist() called outside of vcl_backend_response")
        return
    if not priv.of(_Saints):
        ctx.log(VCL_ERROR, "saintmode.denylist(): Saintmode is not configured")
        return
    saint = next((one for one in priv.of(_Saints) if one.backend is fetch.director_resp), None)
    if saint is None:
        ctx.log(VCL_ERROR, "saintmode.denylist(): Saintmode not configured for this backend.")
        return
    saint.deny(fetch.digest, ctx.now + expires)
    name = saint.backend.vcl_name
    ctx.log(VCL_LOG, f"saintmode: object put on denylist for backend {name} for {expires:.2f} seconds")


def blacklist(ctx: Ctx, priv: PRIV_VCL, expires: DURATION) -> None:
    """The older name of `denylist`."""
    denylist(ctx, priv, expires)


def status(ctx: Ctx, priv: PRIV_VCL) -> STRING:
    """All saintmode objects of this VCL as JSON."""
    rows = [
        {
            "name": saint.vcl_name,
            "backend": saint.backend.vcl_name,
            "count": str(len(saint.denied(clock.now()))),
            "threshold": str(saint.threshold),
        }
        for saint in priv.of(_Saints)
    ]
    return ctx.account(json.dumps({"saintmode": rows}))


class saintmode:
    """Stands before a backend. So many denied objects make it sick; 0 switches all of this off."""

    def __init__(self, ctx: Ctx, vcl_name: str, priv: PRIV_VCL, backend: BACKEND, threshold: INT) -> None:
        if backend is None:
            raise VclFailure(f"saintmode {vcl_name}: a backend is needed")
        self._director = _Saint(ctx, vcl_name, backend, max(threshold, 0))
        priv.of(_Saints).append(self._director)

    def vmod_fini(self, ctx: Ctx) -> None:
        """The VCL goes."""
        ctx.vcl.remove_director(self._director)
        self._director.release()

    def backend(self, ctx: Ctx) -> BACKEND:
        """The director to be used in place of the backend."""
        return self._director

    def denylist_count(self, ctx: Ctx) -> INT:
        """How many objects the backend is not to be asked for."""
        return len(self._director.denied(clock.now()))

    def blacklist_count(self, ctx: Ctx) -> INT:
        """The older name of `denylist_count`."""
        return self.denylist_count(ctx)

    def is_healthy(self, ctx: Ctx) -> BOOL:
        """Can the backend be used, as far as this is known here? In a fetch for this object, else for most."""
        return self._director.healthy(ctx)[0]
