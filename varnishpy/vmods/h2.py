"""VMOD h2: the HTTP/2 session of a request, and its defence against rapid resets (vmod_h2(3)).

The functions that take an argument set the value for this session, and return what held before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.vmods.api import BOOL, DURATION, INT, NOT_GIVEN, REAL, Ctx, NotGiven, restrict

if TYPE_CHECKING:
    from varnishpy.h2.budgets import ResetBudget


def _budget(ctx: Ctx) -> ResetBudget | None:
    """What pays for resets in this session, or ``None`` for HTTP/1."""
    h2 = ctx.session().h2
    return None if h2 is None else h2.resets


@restrict("client")
def is_(ctx: Ctx) -> BOOL:
    return _budget(ctx) is not None


@restrict("client")
def rapid_reset(ctx: Ctx, threshold: DURATION | NotGiven = NOT_GIVEN) -> DURATION:
    budget = _budget(ctx)
    if budget is None:
        return -1.0
    before = budget.age
    if threshold is not NOT_GIVEN and threshold >= 0:
        budget.age = threshold
    return before


@restrict("client")
def rapid_reset_limit(ctx: Ctx, number: INT | NotGiven = NOT_GIVEN) -> INT:
    budget = _budget(ctx)
    if budget is None:
        return -1
    before = budget.limit
    if number is not NOT_GIVEN and number >= 0 and number != before:
        budget.limit = number
        budget.left = float(number)
    return before


@restrict("client")
def rapid_reset_period(ctx: Ctx, duration: DURATION | NotGiven = NOT_GIVEN) -> DURATION:
    budget = _budget(ctx)
    if budget is None:
        return -1.0
    before = budget.period
    if duration is not NOT_GIVEN and duration > 0:
        budget.period = duration
    return before


@restrict("client")
def rapid_reset_budget(ctx: Ctx) -> REAL:
    budget = _budget(ctx)
    return -1.0 if budget is None else budget.left
