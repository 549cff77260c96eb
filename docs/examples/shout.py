"""A VMOD that shouts."""

from __future__ import annotations

from varnishpy.vmods.api import INT, STRING, Ctx, VclFailure


def loud(ctx: Ctx, text: STRING, times: INT = 1) -> STRING:
    """The text in capitals, so many times."""
    if times < 1:
        raise VclFailure("shout.loud: times must be at least 1")
    return (text or "").upper() * times
