"""VMOD xkey: surrogate keys, by which all objects that belong together are purged at once.

An object's keys are what stands in its headers ``xkey`` (or ``X-HashTwo``) when it enters the cache, parted by commas
and blanks. `purge` and `softpurge` are those of varnish-modules; what they take besides the keys, and `header`, are
more than it has. All VCLs share one index. It is there while any of them imports this module, and knows the objects
that were in the cache before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from varnishpy.cache.keys import Source
from varnishpy.vmods.api import DURATION, INT, NOT_GIVEN, PRIV_VCL, STRING, Ctx, NotGiven, VclFailure

if TYPE_CHECKING:
    from varnishpy.cache.keys import KeyIndex

Format = Literal["words", "commas", "strings"]

_HEADERS = ("xkey", "x-hashtwo")
_UNCHANGED = float("nan")


class _Wanted(list["Source"]):
    """The headers that a VCL has keys read from."""


def _index(ctx: Ctx) -> KeyIndex:
    return ctx.vcl.host.key_index()


def vmod_event(ctx: Ctx, priv: PRIV_VCL, event: str) -> None:
    """The index is there while any VCL imports this module."""
    index = _index(ctx)
    if event == "load":
        priv.of(_Wanted).extend(index.want(header) for header in _HEADERS)
    elif event == "discard":
        for source in priv.of(_Wanted):
            index.unwant(source)


def purge(ctx: Ctx, keys: STRING, namespace: STRING = "", format: Format = "words") -> INT:
    """Remove the objects that have any of the keys; how many there were, each counted for every key it has.

    *namespace* and *format* are explained at `header`.
    """
    return _index(ctx).purge(keys or "", namespace or "", format)


def softpurge(
    ctx: Ctx,
    keys: STRING,
    ttl: DURATION = 0.0,
    grace: DURATION | NotGiven = NOT_GIVEN,
    keep: DURATION | NotGiven = NOT_GIVEN,
    namespace: STRING = "",
    format: Format = "words",
) -> INT:
    """Make the objects stale that have any of the keys: grace and conditional fetches may still use them.

    None of the times is made longer; *ttl* counts from now, *grace* and *keep* stay where they are not given. Counted
    as `purge` does; objects that are stale already are left out.
    """
    return _index(ctx).soften(
        keys or "",
        ctx.now,
        ttl,
        _UNCHANGED if grace is NOT_GIVEN else grace,
        _UNCHANGED if keep is NOT_GIVEN else keep,
        namespace or "",
        format,
    )


def header(ctx: Ctx, priv: PRIV_VCL, name: STRING, namespace: STRING = "", format: Format = "words") -> None:
    """Take keys from one more header of objects, such as ``Surrogate-Key``; in vcl_init.

    They go into *namespace*, where `purge` and `softpurge` find them if they are given the same one. *format* says how
    they stand in the header: ``words`` parted by commas and blanks (``Surrogate-Key``), ``commas`` parted by commas, so
    that they may have blanks in them (``Cache-Tag``), or ``strings``, a list of quoted strings (``Cache-Groups``, RFC
    9875).
    """
    if ctx.method != "init":
        raise VclFailure("xkey.header() is for vcl_init")
    if not name:
        raise VclFailure("xkey.header(): a header's name is needed")
    priv.of(_Wanted).append(_index(ctx).want(name, namespace or "", format))
