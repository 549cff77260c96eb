"""VMOD std: basic functions (vmod_std(3))."""

from __future__ import annotations

import calendar
import math
import os
import re
import socket
import syslog as _syslog
import time as _time
from typing import Final, TypeVar

from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.base.shell_pattern import glob_regex
from varnishpy.base.testable_random import testable_random
from varnishpy.cache.objcore import OC_PRIVATE
from varnishpy.http import freshness
from varnishpy.http.dates import parse_date
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.vcl import runtime
from varnishpy.vcl.addresses import AddressError, lookup, split_port
from varnishpy.vcl.context import PrivateData
from varnishpy.vcl.types import DURATION_UNITS, bytes_unit
from varnishpy.vmods.api import (
    BACKEND,
    BLOB,
    BOOL,
    BYTES,
    DURATION,
    HEADER,
    HTTP,
    INT,
    IP,
    NOT_GIVEN,
    PRIV_CALL,
    REAL,
    STRANDS,
    STRING,
    SUB,
    TIME,
    Ctx,
    NotGiven,
    SockAddr,
    VclFailure,
    blocking,
    restrict,
)

_VCL_LOG = int(Tag.VCL_Log)
_ERROR = int(Tag.Error)
_TTL = int(Tag.TTL)
_INT_MOST = 999_999_999_999_999
_REAL_MOST: Final = 999_999_999_999.999  # RFC 8941 section 3.3.2
_MOST_DIGITS: Final = 15  # RFC 8941 section 3.3.1
_DURATION_TEXT = re.compile(r"\s*(-?(?:[0-9]{1,15}(?:\.[0-9]*)?|\.[0-9]+))\s*(ms|[smhdwy])\s*")
_BYTES_TEXT = re.compile(r"\s*(-?(?:[0-9]{1,15}|[0-9]{1,12}\.[0-9]{1,3}))\s*([kmgtpKMGTP]?[bB]?)\s*")
_NUMBER_TEXT = re.compile(r"\s*(-?)([0-9]*)\s*(\.([0-9]*)\s*)?")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")

# -- numbers -----------------------------------------------------------------------------------------------------------


_SORTED_PARAMETER: Final = 16  # octets of workspace that a parameter needs while querysort sorts it


def random(ctx: Ctx, lo: REAL, hi: REAL) -> REAL:
    """A random number between two."""
    return lo + testable_random() * (hi - lo)


def round_(ctx: Ctx, r: REAL) -> REAL:
    """Halves go away from zero, unlike Python's."""
    return math.copysign(math.floor(abs(r) + 0.5), r) if math.isfinite(r) else r


# -- strings -----------------------------------------------------------------------------------------------------------


def collect(ctx: Ctx, hdr: HEADER, sep: STRING = ", ") -> None:
    """Fold the lines of a header into one, joined by *sep*. One of `obj` fails the VCL."""
    if hdr.where in ("obj", "obj_stale"):
        raise VclFailure(f"std.collect(): header argument is read-only {hdr.where}.http.{hdr.name}")
    hdr.message(ctx).collect(hdr.name, sep if sep is not None else ", ")


def querysort(ctx: Ctx, url: STRING, /) -> STRING:
    """Sort the parameters after the first ``?``, dropping empty ones; as it was where the workspace is full."""
    if url is None:
        return None
    path, _, query = url.partition("?")
    if "&" not in query:
        return url
    arguments = sorted(part for part in query.split("&") if part)
    if ctx.ws is not None:
        if not ctx.ws.account(len(url) + 1):
            return url
        if ctx.ws.free < _SORTED_PARAMETER * max(len(arguments), 2):
            ctx.ws.mark_overflow()
            return url
    return f"{path}?{'&'.join(arguments)}"


def toupper(ctx: Ctx, s: STRANDS) -> STRING:
    """In upper case."""
    return runtime.upper(ctx, s)


def tolower(ctx: Ctx, s: STRANDS) -> STRING:
    """In lower case."""
    return runtime.lower(ctx, s)


def strstr(ctx: Ctx, s1: STRING, s2: STRING) -> STRING:
    """From the first occurrence on, or null: true and false in a condition."""
    if s1 is None or s2 is None:
        return None
    at = s1.find(s2)
    return None if at < 0 else s1[at:]


def fnmatch(
    ctx: Ctx, pattern: STRING, subject: STRING, pathname: BOOL = True, noescape: BOOL = False, period: BOOL = False
) -> BOOL:
    """Does a shell pattern match (fnmatch(3))? A null argument fails the VCL."""
    for name, value in (("pattern", pattern), ("subject", subject)):
        if value is None:
            raise VclFailure(f"std.fnmatch(): {name} is NULL")
    return glob_regex(pattern or "", pathname, noescape, period).fullmatch(subject or "") is not None


# -- files -------------------------------------------------------------------------------------------------------------


def _read(ctx: Ctx, priv: PrivateData, name: STRING) -> bytes | None:
    """A file's content, read once per place of use."""
    if name is None:
        return None
    content = priv.find(name, bytes)
    if content is None:
        try:
            with open(name.encode("latin-1"), "rb") as stream:
                priv[name] = content = stream.read()
        except OSError as error:
            ctx.log(_ERROR, f"Could not read file '{name}' errno {error.errno}")
    return content


def fileread(ctx: Ctx, priv: PRIV_CALL, name: STRING, /) -> STRING:
    """The content of a file, read once for each place of use; null, and an Error record, if it cannot be read."""
    content = _read(ctx, priv, name)
    return None if content is None else content.decode("latin-1")


def blobread(ctx: Ctx, priv: PRIV_CALL, name: STRING, /) -> BLOB:
    """As `fileread`, as octets."""
    return _read(ctx, priv, name)


def file_exists(ctx: Ctx, path: STRING) -> BOOL:
    """Is there a file of that path?"""
    return path is not None and os.path.exists(path.encode("latin-1"))


# -- looking at values -------------------------------------------------------------------------------------------------


def healthy(ctx: Ctx, be: BACKEND) -> BOOL:
    """Can the backend be used?"""
    return be is not None and bool(be.healthy(ctx)[0])


def port(ctx: Ctx, ip: IP) -> INT:
    """The port of an address."""
    return -1 if ip is None else ip.port


T = TypeVar("T")


# -- converting --------------------------------------------------------------------------------------------------------


def _only(name: str, text: STRING | NotGiven, *numbers: float | NotGiven) -> tuple[str | None, float]:
    """The one argument that was given: the text, or ``None`` and the number."""
    given = [number for number in numbers if number is not NOT_GIVEN]
    if len(given) + (text is not NOT_GIVEN) != 1:
        what = "Pass only one argument" if given else "Missing mandatory argument"
        raise VclFailure(f"std.{name}: {what}")
    return (text or "", 0.0) if text is not NOT_GIVEN else (None, given[0])


def _fallback(name: str, fallback: T | NotGiven, text: str = "conversion failed") -> T:
    if fallback is NOT_GIVEN:
        raise VclFailure(f"std.{name}: {text}")
    return fallback


def _number(text: str) -> tuple[float | None, str]:
    """The number that a text is, digits behind the third of a fraction left out; or ``None``, and why it is none."""
    found = _NUMBER_TEXT.match(text)
    assert found is not None  # it matches nothing, too
    sign, digits, point, fraction = found.groups()
    if len(digits) > _MOST_DIGITS or (point and int(digits or "0") > _REAL_MOST):
        return None, "Too many digits"
    if not digits and not fraction:
        return None, "Invalid number"
    if found.end() < len(text):
        return None, ""
    return float(f"{sign}{digits or 0}.{(fraction or '')[:3]}"), ""


def _conversion_failed(text: STRING | NotGiven, why: str) -> str:
    return f"conversion failed: {why}" if why and text is not None else "conversion failed"


def duration(
    ctx: Ctx,
    s: STRING | NotGiven = NOT_GIVEN,
    fallback: DURATION | NotGiven = NOT_GIVEN,
    real: REAL | NotGiven = NOT_GIVEN,
    integer: INT | NotGiven = NOT_GIVEN,
) -> DURATION:
    """A duration from one of the arguments; if it is none, *fallback*, without which the VCL fails."""
    text, value = _only("duration", s, real, integer)
    if text is None:
        return float(value)
    found = _DURATION_TEXT.fullmatch(text)
    if found is None:
        return _fallback("duration", fallback)
    return float(found.group(1)) * DURATION_UNITS[found.group(2)]


def bytes_(
    ctx: Ctx,
    s: STRING | NotGiven = NOT_GIVEN,
    fallback: BYTES | NotGiven = NOT_GIVEN,
    real: REAL | NotGiven = NOT_GIVEN,
    integer: INT | NotGiven = NOT_GIVEN,
) -> BYTES:
    text, value = _only("bytes", s, real, integer)
    if text is not None:
        found = _BYTES_TEXT.fullmatch(text)
        if found is None:
            return _fallback("bytes", fallback)
        number = float(found.group(1))
        unit = bytes_unit(found.group(2)) or 1 if found.group(2) else 1
        if number < 0 or (unit == 1 and not number.is_integer()):
            return _fallback("bytes", fallback)
        value = math.floor(number * unit + 0.5)
    if not math.isfinite(value) or not 0 <= value <= _INT_MOST:
        return _fallback("bytes", fallback)
    return int(value)


def integer(
    ctx: Ctx,
    s: STRING | NotGiven = NOT_GIVEN,
    fallback: INT | NotGiven = NOT_GIVEN,
    bool_: BOOL | NotGiven = NOT_GIVEN,
    bytes_: BYTES | NotGiven = NOT_GIVEN,
    duration: DURATION | NotGiven = NOT_GIVEN,
    real: REAL | NotGiven = NOT_GIVEN,
    time_: TIME | NotGiven = NOT_GIVEN,
) -> INT:
    """A whole number from one of the arguments; if it is none, *fallback*, without which the VCL fails."""
    text, value = _only("integer", s, bool_, bytes_, duration, real, time_)
    if text is not None:
        number, why = _number(text)
        if number is None or not number.is_integer():
            return _fallback("integer", fallback, _conversion_failed(s, why))
        value = number
    if not math.isfinite(value) or abs(value) > _INT_MOST:
        return _fallback("integer", fallback)
    return int(value)


def real(
    ctx: Ctx,
    s: STRING | NotGiven = NOT_GIVEN,
    fallback: REAL | NotGiven = NOT_GIVEN,
    integer: INT | NotGiven = NOT_GIVEN,
    bool_: BOOL | NotGiven = NOT_GIVEN,
    bytes_: BYTES | NotGiven = NOT_GIVEN,
    duration: DURATION | NotGiven = NOT_GIVEN,
    time_: TIME | NotGiven = NOT_GIVEN,
) -> REAL:
    """A number from one of the arguments; if it is none, *fallback*, without which the VCL fails."""
    text, value = _only("real", s, integer, bool_, bytes_, duration, time_)
    if text is None:
        return float(value)
    number, why = _number(text)
    if number is not None and abs(number) > _REAL_MOST:
        number, why = None, "Too many digits"
    return number if number is not None else _fallback("real", fallback, _conversion_failed(s, why))


def time_(
    ctx: Ctx,
    s: STRING | NotGiven = NOT_GIVEN,
    fallback: TIME | NotGiven = NOT_GIVEN,
    real: REAL | NotGiven = NOT_GIVEN,
    integer: INT | NotGiven = NOT_GIVEN,
) -> TIME:
    text, value = _only("time", s, real, integer)
    if text is not None:
        moment = _moment(text)
        return _fallback("time", fallback) if moment is None else moment
    return float(value)


def _moment(text: str) -> float | None:
    """Seconds since the epoch: a date as HTTP writes it, an ISO 8601 one, or a number."""
    text = text.strip()
    number, _ = _number(text)
    if number is not None:
        return number if number > 0 else None
    if _ISO_DATE.fullmatch(text):
        try:
            return float(calendar.timegm(_time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
        except ValueError:
            return None
    moment = parse_date(text)
    return moment if moment > 0 else None


def strftime(ctx: Ctx, time: TIME, format: STRING) -> STRING:
    """A moment as text (strftime(3)), in UTC."""
    try:
        return _time.strftime(format or "", _time.gmtime(time)).encode("utf-8", "replace").decode("latin-1")
    except (ValueError, OverflowError, OSError):
        return ""


def ip(
    ctx: Ctx, s: STRING, fallback: IP | NotGiven = NOT_GIVEN, resolve: BOOL = True, p: STRING | NotGiven = NOT_GIVEN
) -> IP:
    """The first address of a name or number; if there is none, *fallback*, without which the VCL fails.

    *resolve* false: numbers only.
    """
    default = p if p is not NOT_GIVEN and p else "80"
    try:
        if not s:
            raise AddressError("empty")
        if resolve:
            with blocking():  # it may have to ask a name server
                address, number = lookup(s, default)[0]
        else:
            split_port(s, default)
            address, number = lookup(s, default, numeric=True)[0]
    except (AddressError, IndexError):
        return _fallback("ip", fallback)
    return SockAddr(address, number)


# -- logging -----------------------------------------------------------------------------------------------------------


def log(ctx: Ctx, s: STRANDS) -> None:
    """A VCL_Log record."""
    ctx.log(_VCL_LOG, s)


def syslog(ctx: Ctx, priority: INT, s: STRANDS) -> None:
    """A message to syslog, with a priority of facility and level."""
    _syslog.syslog(priority, s.encode("latin-1").decode("utf-8", "replace"))


def timestamp(ctx: Ctx, s: STRING) -> None:
    """A Timestamp record with that label. In vcl_pipe it fails the VCL."""
    if s is None or ctx.vsl is None:
        return
    if ctx.bo is not None and ctx.req is not None:
        raise VclFailure("std.timestamp() not allowed in vcl_pipe")
    moment = clock.now()
    ctx.vsl.timestamp(s, moment)
    task = ctx.task()
    if task is not None:
        task.t_prev = moment


# -- control -----------------------------------------------------------------------------------------------------------


def syntax(ctx: Ctx, version: REAL, /) -> BOOL:
    """Is the VCL of this version, or a later one?"""
    return version * 10.0 <= ctx.syntax


def getenv(ctx: Ctx, name: STRING) -> STRING:
    """An environment variable, or null."""
    value = os.environb.get(name.encode("latin-1")) if name else None
    return None if value is None else value.decode("latin-1")


@restrict("vcl_recv")
def cache_req_body(ctx: Ctx, size: BYTES) -> BOOL:
    """Keep the body of the request if it is no larger than *size*; false if it cannot be kept."""
    return ctx.vcl.host.cache_req_body(ctx, max(size, 0)) >= 0


@restrict("vcl_recv")
def late_100_continue(ctx: Ctx, late: BOOL) -> None:
    """Send the 100 that the client waits for only when its body is wanted."""
    ctx.request().late100cont = late


@restrict("client")
def set_ip_tos(ctx: Ctx, tos: INT) -> None:
    """Set the TOS (IPv6: traffic class) of the client's connection."""
    sess = ctx.session()
    if sess.listen.is_uds:
        return
    v6 = ":" in sess.local_ip.ip
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if v6 else (socket.IPPROTO_IP, socket.IP_TOS)
    connection = socket.socket(fileno=os.dup(sess.fd))
    with connection:
        connection.setsockopt(level, option, tos)


@restrict("backend vcl_recv vcl_pass vcl_hash vcl_purge vcl_miss vcl_hit vcl_deliver vcl_synth")
def rollback(ctx: Ctx, h: HTTP) -> None:
    """Make a message what it was when it came. Others than `req` and `bereq` fail the VCL."""
    if h is ctx.http_req:
        ctx.vcl.host.rollback(ctx, "req")
    elif h is ctx.http_bereq:
        ctx.vcl.host.rollback(ctx, "bereq")
    else:
        raise VclFailure("std.rollback(): only req or bereq can be rolled back")


def ban(ctx: Ctx, spec: STRING, /) -> BOOL:
    """Add a ban; false if there is a mistake in it, which `ban_error` tells."""
    error = runtime.ban(ctx, spec)
    runtime.priv_task(ctx, "std.ban")["error"] = error
    return error is None


def ban_error(ctx: Ctx) -> STRING:
    """What was wrong with the last ban of this task; empty if nothing was."""
    return runtime.priv_task(ctx, "std.ban").find("error", str) or ""


def now(ctx: Ctx) -> TIME:
    """The time as it is, not as it was when the subroutine began."""
    return clock.now()


def timed_call(ctx: Ctx, sub: SUB, /) -> DURATION:
    """Call a subroutine and measure how long it took."""
    start = clock.mono()
    sub.call(ctx)
    return clock.mono() - start


@restrict("vcl_backend_response vcl_backend_refresh")
def rfc_ttl(ctx: Ctx) -> None:
    """Compute TTL, grace and keep anew from the headers as they are now (RFC 9111)."""
    bo = ctx.fetch()
    core = present(bo.objcore, "bo->fetch_objcore")
    private = bool(core.flags & OC_PRIVATE)
    policy = freshness.current_policy()
    times = freshness.compute(bo.beresp, ctx.now, params, private=private, uncacheable=bo.uncacheable, policy=policy)
    core.t_origin, core.ttl, core.grace, core.keep = times.t_origin, times.ttl, times.grace, times.keep
    if times.record is not None:
        ctx.log(_TTL, times.record)


# -- older forms of `integer`, `real` and `time` -----------------------------------------------------------------------


def real2integer(ctx: Ctx, r: REAL, fallback: INT) -> INT:
    """Rounded; *fallback* if it is no number that fits."""
    rounded = round_(ctx, r)
    return int(rounded) if math.isfinite(rounded) and abs(rounded) <= _INT_MOST else fallback


def real2time(ctx: Ctx, r: REAL, fallback: TIME) -> TIME:
    """As a moment; *fallback* if it is none."""
    return r if math.isfinite(r) else fallback


def time2integer(ctx: Ctx, t: TIME, fallback: INT) -> INT:
    """Seconds since 1970, rounded; *fallback* if they do not fit."""
    return real2integer(ctx, t, fallback)


def time2real(ctx: Ctx, t: TIME, fallback: REAL) -> REAL:
    """Seconds since 1970; *fallback* if it is no number."""
    return t if math.isfinite(t) else fallback
