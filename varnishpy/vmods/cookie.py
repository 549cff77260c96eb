"""VMOD cookie: taking a Cookie header apart and putting it together again (vmod_cookie(3))."""

from __future__ import annotations

from collections.abc import Callable

from varnishpy.http.dates import format_date as http_date
from varnishpy.log.tags import Tag
from varnishpy.vmods.api import BOOL, DURATION, PRIV_TASK, REGEX, STRING, TIME, Ctx, VclFailure

_DEBUG = int(Tag.Debug)


class _Cookies(dict[str, str]):
    """The cookies of a task, in their order."""


def parse(ctx: Ctx, priv: PRIV_TASK, cookieheader: STRING) -> None:
    """Take a Cookie header apart; what was there before goes."""
    if not cookieheader:
        ctx.log(_DEBUG, "cookie: nothing to parse")
        return
    cookies = priv.of(_Cookies)
    cookies.clear()
    count = 0
    for part in cookieheader.split(";"):
        name, equals, value = part.lstrip(" \t\r\n\v\f").partition("=")
        if not equals:
            break
        set_(ctx, priv, name, value)
        count += 1
    ctx.log(_DEBUG, f"cookie: parsed {count} cookies.")


def set_(ctx: Ctx, priv: PRIV_TASK, cookiename: STRING, value: STRING) -> None:
    """Empty ones are ignored."""
    if cookiename and value:
        priv.of(_Cookies)[ctx.account(cookiename)] = ctx.account(value)


def isset(ctx: Ctx, priv: PRIV_TASK, cookiename: STRING) -> BOOL:
    """Is there such a cookie?"""
    return bool(cookiename) and cookiename in priv.of(_Cookies)


def get(ctx: Ctx, priv: PRIV_TASK, cookiename: STRING) -> STRING:
    """The value of a cookie, or null."""
    return priv.of(_Cookies).get(cookiename) if cookiename else None


def get_re(ctx: Ctx, priv: PRIV_TASK, expression: REGEX) -> STRING:
    """The first whose name matches."""
    for name, value in priv.of(_Cookies).items():
        ctx.log(_DEBUG, f"cookie: checking {name}")
        if expression.search(name):
            return value
    return None


def delete(ctx: Ctx, priv: PRIV_TASK, cookiename: STRING) -> None:
    """Drop a cookie."""
    if cookiename:
        priv.of(_Cookies).pop(cookiename, None)


def clean(ctx: Ctx, priv: PRIV_TASK) -> None:
    """Drop all cookies."""
    priv.of(_Cookies).clear()


def _retain(priv: PRIV_TASK, wanted: Callable[[str], bool]) -> None:
    priv[_Cookies] = _Cookies((name, value) for name, value in priv.of(_Cookies).items() if wanted(name))


def _names(text: STRING) -> set[str]:
    return {part.lstrip() for part in (text or "").split(",")} - {""}


def keep(ctx: Ctx, priv: PRIV_TASK, filterstring: STRING) -> None:
    """Keep only these (names, parted by commas)."""
    wanted = _names(filterstring)
    _retain(priv, lambda name: name in wanted)


def filter_(ctx: Ctx, priv: PRIV_TASK, filterstring: STRING) -> None:
    """Drop these (names, parted by commas)."""
    unwanted = _names(filterstring)
    _retain(priv, lambda name: name not in unwanted)


def keep_re(ctx: Ctx, priv: PRIV_TASK, expression: REGEX) -> None:
    """Keep those whose name matches."""
    for name, value in list(priv.of(_Cookies).items()):
        if not expression.search(name):
            ctx.log(_DEBUG, f"Removing cookie {name} (value: {value})")
            del priv.of(_Cookies)[name]


def filter_re(ctx: Ctx, priv: PRIV_TASK, expression: REGEX) -> None:
    """Drop those whose name matches."""
    for name, value in list(priv.of(_Cookies).items()):
        if expression.search(name):
            ctx.log(_DEBUG, f"Removing matching cookie {name} (value: {value})")
            del priv.of(_Cookies)[name]


def get_string(ctx: Ctx, priv: PRIV_TASK) -> STRING:
    """All of them, as a Cookie header has them."""
    return ctx.account("; ".join(f"{name}={value}" for name, value in priv.of(_Cookies).items()))


def format_date(ctx: Ctx, now: TIME, timedelta: DURATION) -> STRING:
    """A date for Set-Cookie (RFC 9110 section 5.6.7), so long after *now*. One that cannot be written fails the VCL."""
    try:
        return http_date(now + timedelta)
    except (ValueError, OverflowError, OSError):
        raise VclFailure("cookie.format_date(): cannot format date") from None


def format_rfc1123(ctx: Ctx, now: TIME, timedelta: DURATION) -> STRING:
    """The name of `format_date` before Varnish 8."""
    return format_date(ctx, now, timedelta)
