"""VMOD xcounter: counters that VCL makes, with the functions of libvmod-xcounter.

Each is a segment of class XCNT, shown by ``varnishpy stat``, ``varnishstat`` and ``/metrics`` like any other. They go
with their VCL: one that is loaded anew begins at 0.
"""

from __future__ import annotations

from typing import Final, Literal

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.stats.columns import Column, CounterClass
from varnishpy.vmods.api import BOOL, DURATION, INT, PRIV_VCL, STRING, Ctx

_ORDER: Final = 95  # where displays show the class
_WORDS: Final = 1 << 64

Format = Literal["bitmap", "bytes", "duration", "integer"]
Type = Literal["bitmap", "counter", "gauge"]
Level = Literal["info", "debug", "diag"]


class _Counters(list["vsc"]):
    """Those of a VCL."""


def vmod_event(ctx: Ctx, priv: PRIV_VCL, event: str) -> None:
    """Counters may be hidden while their VCL is cold."""
    if event == "load":
        priv["loaded"] = clock.mono()
    elif event in ("warm", "cold"):
        for counter in priv.of(_Counters):
            counter.temper(event)


def elapsed(ctx: Ctx, priv: PRIV_VCL) -> DURATION:
    """How long ago this VCL was loaded."""
    return clock.mono() - (priv.find("loaded", float) or 0.0)


class vsc:
    """A counter, ``XCNT.<vcl>.<group><object>.val``; without the name of the VCL if *hidevclname* is set.

    *oneliner* explains it to those who look at it. With *hidecold* it is not shown while the VCL is cold.
    """

    def __init__(
        self,
        ctx: Ctx,
        vcl_name: str,
        priv: PRIV_VCL,
        format: Format = "integer",
        type: Type = "counter",
        level: Level = "info",
        oneliner: STRING = "xcounter",
        hidecold: BOOL = True,
        hidevclname: BOOL = False,
        groupname: STRING = "",
    ) -> None:
        text = (oneliner or "").encode("latin-1").decode("utf-8", "replace")
        column = Column("val", text, kind=type, level=level, format=format)
        table: CounterClass[str] = CounterClass("XCNT", "Counters of VCL", _ORDER, (column,))
        name = f"{groupname or ''}{vcl_name}"
        self._segment = stats.Segment(table, name if hidevclname else f"{ctx.vcl.name}.{name}", stats.registry)
        self._hidecold = hidecold
        if not hidecold:
            self._segment.show()
        priv.of(_Counters).append(self)

    def temper(self, event: str) -> None:
        """The VCL has become warm or cold."""
        if self._hidecold:
            if event == "warm":
                self._segment.show()
            else:
                self._segment.hide()

    def vmod_fini(self, ctx: Ctx) -> None:
        """The VCL goes."""
        self._segment.destroy()

    def incr(self, ctx: Ctx, d: INT, threadsafe: BOOL = True) -> None:
        """Add to it; a negative number is ignored. It is always safe with threads."""
        if d > 0:
            self._segment.add("val", d)

    def decr(self, ctx: Ctx, d: INT, threadsafe: BOOL = True) -> None:
        """Subtract from it; a negative number is ignored. It is always safe with threads."""
        if d > 0:
            self._segment.add("val", -d)

    def set_(self, ctx: Ctx, val: INT) -> None:
        """Set it; a negative number is ignored."""
        if val >= 0:
            self._segment.store("val", val)

    def get(self, ctx: Ctx) -> INT:
        """Its value: 64 bits, of which the highest is the sign."""
        return (self._segment.value("val") + _WORDS // 2) % _WORDS - _WORDS // 2
