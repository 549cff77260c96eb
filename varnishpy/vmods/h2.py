"""VMOD h2: the HTTP/2 session of a request, and its defence against rapid resets (vmod_h2(3)).

The functions that take an argument set the value for this session, and return what held before.
"""

from __future__ import annotations

from typing import Any

from varnishpy.vmods.api import BOOL, DURATION, INT, NOT_GIVEN, REAL, Ctx, restrict


def _connection(ctx: Ctx) -> Any:
    """The HTTP/2 connection, or ``None`` for HTTP/1."""
    if ctx.req.transport.name != "HTTP/2":
        return None
    priv = ctx.sess.transport_priv
    return getattr(priv, "h2", priv)


def _attribute(ctx: Ctx, name: str, value: Any) -> float:
    connection = _connection(ctx)
    if connection is None:
        return -1
    before = getattr(connection, name)
    if value is not NOT_GIVEN and value >= 0:
        setattr(connection, name, value)
    return float(before)


@restrict("client")
def is_(ctx: Ctx) -> BOOL:
    return _connection(ctx) is not None


@restrict("client")
def rapid_reset(ctx: Ctx, threshold: DURATION = NOT_GIVEN) -> DURATION:
    return _attribute(ctx, "reset_age", threshold)


@restrict("client")
def rapid_reset_limit(ctx: Ctx, number: INT = NOT_GIVEN) -> INT:
    before = int(_attribute(ctx, "reset_limit", number))
    connection = _connection(ctx)
    if connection is not None and number is not NOT_GIVEN and number != before:
        connection.reset_budget = float(number)
    return before


@restrict("client")
def rapid_reset_period(ctx: Ctx, duration: DURATION = NOT_GIVEN) -> DURATION:
    return _attribute(ctx, "reset_period", duration)


@restrict("client")
def rapid_reset_budget(ctx: Ctx) -> REAL:
    return _attribute(ctx, "reset_budget", NOT_GIVEN)
