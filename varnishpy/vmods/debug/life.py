"""The life of a VCL program: events, what keeps it warm, objects of the cache, counters, a say in lookups."""

from __future__ import annotations

import threading
from typing import Literal

from varnishpy import stats
from varnishpy.backends.director import Director
from varnishpy.base.locks import make_lock
from varnishpy.cache.catflap import Verdict
from varnishpy.cache.objcore import ObjectCore
from varnishpy.log import vsl
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.vcl.loader import VclHold
from varnishpy.vcl.specs import BackendSpec
from varnishpy.vmods._lifetime import Importers
from varnishpy.vmods.api import DURATION, INT, PRIV_VCL, Ctx, VclFailure, restrict
from varnishpy.vmods.debug.filters import DELIVERY, FETCH

_DEBUG = int(Tag.Debug)


# -- temperature -------------------------------------------------------------------------------------------------------


def vcl_discard_delay(ctx: Ctx, priv: PRIV_VCL, delay: DURATION, /) -> None:
    """Seconds for which the VCL, once sent cold, stays *cooling*."""
    if delay <= 0:
        raise VclFailure("debug.vcl_discard_delay(): a delay must be positive")
    priv["delay"] = delay


def vcl_prevent_cold(ctx: Ctx, priv: PRIV_VCL) -> None:
    priv["warm"] = ctx.vcl.hold(f"vmod-debug ref on {ctx.vcl.name}", keeps_warm=True)


def vcl_allow_cold(ctx: Ctx, priv: PRIV_VCL) -> None:
    hold = priv.pop("warm")
    assert isinstance(hold, VclHold)
    hold.release()


def cold_backend(ctx: Ctx, priv: PRIV_VCL) -> None:
    """Have a backend made when the VCL is cold, which is a panic."""
    priv["cold_backend"] = True


def cooling_backend(ctx: Ctx, priv: PRIV_VCL) -> None:
    """Have a backend made when the VCL is cooling, which fails."""
    priv["cooling_backend"] = True


class _Dummy(Director):
    """There while the VCL is warm."""

    type = "debug.dummy"


def vmod_event(ctx: Ctx, priv: PRIV_VCL, event: str) -> None:
    """Tell the log of it; two parameters set to 42 make it refuse."""
    if event == "load":
        if params.nuke_limit == 42:
            raise VclFailure("nuke_limit is not the answer.")
        priv["text"] = "FOO"
        ctx.vcl.host.add_filters(ctx.vcl, FETCH, DELIVERY)
        _importers.hear(priv, event)
    elif event == "warm":
        _warm(ctx, priv)
    elif event == "cold":
        _cold(ctx, priv)
    elif event == "discard":
        listener = priv.pop("listener", None)
        if isinstance(listener, _Listener):
            ctx.vcl.host.unsubscribe(listener.hear)
            ctx.log(_DEBUG, "Unsubscribed from Object Events")
        _importers.hear(priv, event)


def _warm(ctx: Ctx, priv: PRIV_VCL) -> None:
    vcl = ctx.vcl
    ctx.log(_DEBUG, f"{vcl.name}: VCL_EVENT_WARM")
    if params.max_esi_depth == 42:
        raise VclFailure("max_esi_depth is not the answer.")
    if not priv.get("cold_backend"):
        priv["hold"] = vcl.hold(f"vmod-debug ref on {vcl.name}")
    priv["dummy"] = dummy = _Dummy("dir_warmcold", vcl.name)
    vcl.add_director(dummy)


def _cold(ctx: Ctx, priv: PRIV_VCL) -> None:
    vcl = ctx.vcl
    ctx.log(_DEBUG, f"{vcl.name}: VCL_EVENT_COLD")
    dummy = priv.pop("dummy", None)
    if isinstance(dummy, _Dummy):
        vcl.remove_director(dummy)
    if priv.get("cold_backend"):
        vcl.add_director(_doomed(ctx))
    if priv.get("cooling_backend"):
        try:
            vcl.add_director(_doomed(ctx))
        except VclFailure as failure:
            ctx.log(_DEBUG, str(failure))
        else:
            raise VclFailure("debug: a backend was made while the VCL was cooling")
    hold = priv.pop("hold", None)
    if not isinstance(hold, VclHold):
        return
    delay = priv.find("delay", float)
    if delay:
        timer = threading.Timer(delay, hold.release)
        timer.daemon = True
        timer.start()
    else:
        hold.release()


def _doomed(ctx: Ctx) -> Director:
    return _Dummy(BackendSpec("doomed", path="/").vcl_name, ctx.vcl.name)


# -- objects -----------------------------------------------------------------------------------------------------------


class _Listener:
    """Has the log tell of objects; as a bound method it is equal to itself, whoever asks for it."""

    def hear(self, event: str, oc: ObjectCore) -> None:
        vsl(_DEBUG, 0, f"Object Event: {event} {id(oc):#x}")


def register_obj_events(ctx: Ctx, priv: PRIV_VCL) -> None:
    """Have the log tell of objects that come and go."""

    if "listener" in priv:
        raise VclFailure("debug.register_obj_events(): done before")
    listener = priv["listener"] = _Listener()
    ctx.vcl.host.subscribe(listener.hear)
    vsl(_DEBUG, 0, "Subscribed to Object Events")


class _Simple:
    """Takes the newest object, whatever its age, or none."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def judge(self, oc: ObjectCore) -> Verdict:
        return self._verdict

    def choose(self, oc: ObjectCore | None) -> ObjectCore | None:
        return oc


class _Last:
    """Takes the oldest object."""

    def __init__(self) -> None:
        self._last: ObjectCore | None = None

    def judge(self, oc: ObjectCore) -> Verdict:
        self._last = oc
        return Verdict.CONTINUE

    def choose(self, oc: ObjectCore | None) -> ObjectCore | None:
        return oc if self._last is None else self._last


@restrict("client")
def catflap(ctx: Ctx, type: Literal["miss", "first", "last"]) -> None:
    """Have a say in what the next lookup of this request finds."""
    if ctx.request().catflap is not None:
        raise VclFailure("debug.catflap(): there is one")
    if type == "last":
        ctx.request().catflap = _Last()
    else:
        ctx.request().catflap = _Simple(Verdict.HIT if type == "first" else Verdict.MISS)


# -- counters ----------------------------------------------------------------------------------------------------------


class _Counters:
    """The segment DEBUG, shared by all VCLs that import this VMOD; it goes with the last of them."""

    def __init__(self) -> None:
        self._lock = make_lock("vmod_debug")
        self._segment: stats.Counters[stats.DebugName] | None = None

    def make(self) -> None:
        with self._lock:
            if self._segment is None:
                self._segment = stats.new_segment(stats.DEBUG)

    def count(self, n: int) -> None:
        with self._lock:
            if self._segment is None:
                raise VclFailure("debug.vsc_count(): there are no counters")
            self._segment.inc("count", n)

    def destroy(self) -> None:
        with self._lock:
            if self._segment is not None:
                self._segment.destroy()
            self._segment = None


_counters = _Counters()
_importers = Importers("vmod_debug", _counters.destroy, _counters.destroy)


def vsc_new(ctx: Ctx) -> None:
    _counters.make()


def vsc_count(ctx: Ctx, val: INT = 1) -> None:
    _counters.count(val)


def vsc_destroy(ctx: Ctx) -> None:
    _counters.destroy()
