"""What generated code calls: the parts of VCL that are more than an attribute.

Everything that can go wrong raises `VclFailure`; `Vcl.run` turns it into a VCL_Error record and the action ``fail``.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Hashable
from typing import Any

from varnishpy.backends.director import resolve as follow
from varnishpy.base.ipaddr import packed
from varnishpy.base.regex import Regex, RegexMatchError, compile_pattern
from varnishpy.cache.objcore import OC_ASK, OC_DYING, OC_SUPERSEDED, OC_TRANSIENT
from varnishpy.http.coding import accepts_gzip as accepts_gzip
from varnishpy.http.dates import format_date
from varnishpy.http.freshness import current_directives
from varnishpy.http.message import Message
from varnishpy.http.status import reason as reason_phrase
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.vcl.acl import Acl as acl
from varnishpy.vcl.acl import acl_match
from varnishpy.vcl.context import Ctx, PrivateData, VclFailure, VclSub, run_once
from varnishpy.vcl.values import HeaderRef, SockAddr
from varnishpy.vcl.vmodfind import load_module as vmod

__all__ = [
    "HeaderRef",
    "SockAddr",
    "VclFailure",
    "acl",
    "acl_match",
    "run_once",
    "vmod",
]

_ERROR = int(Tag.Error)
_VCL_ERROR = int(Tag.VCL_Error)
_VCL_TRACE = int(Tag.VCL_trace)
_TTL = int(Tag.TTL)
_HASH = int(Tag.Hash)
_LOST_HEADER = int(Tag.LostHeader)
_INT_LIMIT = 999_999_999_999_999  # RFC 8941 section 3.3.1
_REAL_LIMIT = 999_999_999_999.999
# what a field value cannot hold: controls but for the tab
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_RETRY_DISABLED = "retry disabled from VCL"

regex = compile_pattern
private = PrivateData


def sub(name: str, function: Any, allowed: list[str]) -> VclSub:
    return VclSub(name, function, frozenset(allowed))


def trace(ctx: Ctx, number: int) -> None:
    """A VCL_trace record: the program, and which point of it was passed."""
    source, line, column = ctx.vcl.references[number - 1]
    ctx.log(_VCL_TRACE, f"{ctx.vcl.name} {number} {source}.{line}.{column}")


# -- strings -----------------------------------------------------------------------------------------------------------


def int_string(value: int) -> str:
    if not -_INT_LIMIT <= value <= _INT_LIMIT:
        raise VclFailure(f"INT overflow converting to string (0x{value & 0xFFFFFFFFFFFFFFFF:x})")
    return str(value)


def real_string(value: float) -> str:
    if not -_REAL_LIMIT <= value <= _REAL_LIMIT:
        raise VclFailure(f"REAL overflow converting to string ({value:e})")
    return f"{value:.3f}"


def time_string(value: float) -> str:
    try:
        return format_date(value)
    except (ValueError, OverflowError, OSError):
        raise VclFailure("Unformattable VCL_TIME") from None


def same_ip(one: SockAddr | None, other: SockAddr | None) -> bool:
    """``==`` of two addresses: their ports do not count."""
    if one is None or other is None:
        raise VclFailure("VRT_ipcmp: Illegal IP")
    return one.ip == other.ip or packed(one.ip) == packed(other.ip)


def ip_string(value: SockAddr | None) -> str:
    if value is None:
        raise VclFailure("VRT_IP_string: Illegal IP")
    return value.ip


def blob_string(value: bytes | None) -> str | None:
    """A blob as VCL writes it: base64 between colons."""
    return None if value is None else f":{base64.b64encode(value).decode('ascii')}:"


def name_of(value: Any) -> str | None:
    """The name of a backend, director or probe."""
    return None if value is None else str(value.vcl_name)


def or_null(value: str | None) -> str:
    """``synthetic()`` shows what is missing."""
    return "(null)" if value is None else value


_UPPER = {number: number - 32 for number in range(ord("a"), ord("z") + 1)}
_LOWER = {number: number + 32 for number in range(ord("A"), ord("Z") + 1)}


def upper(ctx: Ctx, value: str | None) -> str | None:
    """ASCII letters only: other octets have no case on the wire."""
    return None if value is None else ctx.account(value.upper() if value.isascii() else value.translate(_UPPER))


def lower(ctx: Ctx, value: str | None) -> str | None:
    return None if value is None else ctx.account(value.lower() if value.isascii() else value.translate(_LOWER))


def compare(left: str | None, operator: str, right: str | None) -> bool:
    """Compare where either may be null: that is unequal to everything and greater than everything."""
    order = 1 if left is None or right is None else (left > right) - (left < right)
    return {
        "==": order == 0,
        "!=": order != 0,
        "<": order < 0,
        ">": order > 0,
        "<=": order <= 0,
        ">=": order >= 0,
    }[operator]


def search(pattern: Regex | None, subject: str) -> bool:
    if pattern is None:
        raise VclFailure("Regexp matching failed: no pattern")
    return bool(pattern.search(subject))


def regsub(ctx: Ctx, subject: str, pattern: Regex, replacement: str, every: bool) -> str:
    try:
        result = pattern.sub(subject, replacement, every)
    except RegexMatchError as error:
        raise VclFailure(f"regsub: Regexp matching failed: {error}") from None
    if result is None:
        return subject
    if ctx.ws is not None and not ctx.ws.account(len(result) + 1):
        raise VclFailure("regsub: Out of workspace")
    return result


# -- numbers -----------------------------------------------------------------------------------------------------------


def int_div(left: int, right: int) -> int:
    """Division that rounds towards zero."""
    if right == 0:
        raise VclFailure("Division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def int_mod(left: int, right: int) -> int:
    return left - right * int_div(left, right)


def real_div(left: float, right: float) -> float:
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return left / right


# -- messages ----------------------------------------------------------------------------------------------------------


def set_header(ctx: Ctx, message: Message, name: str, value: str) -> None:
    if not value.isprintable() and _BAD_VALUE(value) is not None and params.feature.validate_headers:
        raise VclFailure(f"Bad header {name}: {_visible(value)}")
    message.assign(name, value)


def _visible(value: str) -> str:
    return value.replace("\r", "\\r").replace("\n", "\\n")


def _first_line(message: Message, name: str, value: str) -> str:
    if message.ws is not None and not message.ws.account(len(value) + 1):
        raise VclFailure(f"Workspace overflow ({name})")
    if not value:
        raise VclFailure(f"Setting {name} to empty string")
    return value


def set_method(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_method(_first_line(message, name, value))


def set_url(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_url(_first_line(message, name, value))


def set_proto(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_proto(_first_line(message, name, value))


def set_reason(ctx: Ctx, message: Message, name: str, value: str) -> None:
    message.set_reason(_first_line(message, name, value))


def set_status(message: Message, name: str, value: int) -> None:
    """Statuses above 999 are for VCL's own use: only the last three digits are sent."""
    if value < 0:
        raise VclFailure(f"{name}.status ({value}) is negative")
    if value > 65535:
        raise VclFailure(f"{name}.status ({value}) > 65535")
    if value % 1000 < 100:
        raise VclFailure(f"illegal {name}.status ({value}) (..0##)")
    message.set_status(value)
    message.set_reason(reason_phrase(value % 1000))


def set_body(target: list[bytes], value: bytes) -> None:
    target[:] = [value]


# -- client side -------------------------------------------------------------------------------------------------------


def client_identity(ctx: Ctx) -> str:
    task = ctx.req if ctx.req is not None else ctx.bo
    identity: str | None = task.client_identity
    return identity if identity is not None else ip_string(ctx.sess.client_ip)


def set_client_identity(ctx: Ctx, value: str) -> None:
    if ctx.ws is not None and not ctx.ws.account(len(value) + 1):
        ctx.log(_LOST_HEADER, "client.identity")
        return
    ctx.req.client_identity = value


def set_req_esi(req: Any, value: bool) -> None:
    if req.esi_level == 0:  # as the reference: included requests follow the first
        req.disable_esi = not value


def req_filters(ctx: Ctx) -> str:
    return ctx.req.req_filter_list or ""


def set_req_filters(ctx: Ctx, value: str) -> None:
    ctx.req.req_filter_list = ctx.account(value)


def resp_do_esi(req: Any) -> bool:
    _filters_open(req.filter_list, "resp.filters", "resp.do_esi")
    return not req.disable_esi


def set_resp_do_esi(req: Any, value: bool) -> None:
    _filters_open(req.filter_list, "resp.filters", "resp.do_esi")
    req.disable_esi = not value


def _filters_open(filters: str | None, what: str, name: str) -> None:
    if filters is not None:
        raise VclFailure(f"{what} are already fixed, {name} is undefined")


def resp_filters(ctx: Ctx) -> str:
    """As VCL set it, or what delivery would choose."""
    filters: str | None = ctx.req.filter_list
    return filters if filters is not None else ctx.vcl.host.default_resp_filters(ctx)


def is_streaming(req: Any) -> bool:
    return req.objcore is not None and req.objcore.boc is not None


def set_trace(ctx: Ctx, task: Any, value: bool) -> None:
    task.vcl_trace = value
    ctx.trace = value


def session_timeout(sess: Any, name: str) -> float:
    value = getattr(sess, name)
    return float(getattr(params, name)) if value is None else float(value)


def set_session_timeout(sess: Any, name: str, value: float | None) -> None:
    setattr(sess, name, None if value is None else max(value, 0.0))


# -- backend side ------------------------------------------------------------------------------------------------------


def bereq_timeout(bo: Any, name: str) -> float:
    """As VCL set it, or the parameter; a backend's own value is known only once it was chosen."""
    value = getattr(bo, name)
    if value is None and bo.director_req is not None:
        value = getattr(bo.director_req, name, None)
    return float(getattr(params, name)) if value is None else float(value)


def task_deadline(bo: Any) -> float:
    value = bo.task_deadline
    return float(params.pipe_task_deadline) if value is None else float(value)


def unset_bereq_body(ctx: Ctx) -> None:
    ctx.http_bereq.unset("content-length")
    ctx.vcl.host.drop_bereq_body(ctx)


def bereq_filters(ctx: Ctx) -> str:
    return ctx.bo.bereq_filter_list or ""


def set_retry_connect(bo: Any, value: bool) -> None:
    if not value and bo.no_retry is None:
        bo.no_retry = _RETRY_DISABLED
    elif value and bo.no_retry == _RETRY_DISABLED:
        bo.no_retry = None


def backend_ip(ctx: Ctx) -> SockAddr | None:
    director = ctx.bo.director_resp
    found = None if director is None else director.get_ip(ctx.bo)
    return None if found is None else SockAddr(*found)


def beresp_flag(bo: Any, name: str) -> bool:
    _filters_open(bo.filter_list, "beresp.filters", f"beresp.{name}")
    return bool(getattr(bo, name))


def set_beresp_flag(bo: Any, name: str, value: bool) -> None:
    _filters_open(bo.filter_list, "beresp.filters", f"beresp.{name}")
    setattr(bo, name, value)


def cache_control(beresp: Message) -> str:
    """``beresp.cache_control``: the directives that are obeyed, wherever they stand."""
    return current_directives(beresp)


def beresp_filters(ctx: Ctx) -> str:
    filters: str | None = ctx.bo.filter_list
    return filters if filters is not None else ctx.vcl.host.default_beresp_filters(ctx)


def beresp_time(bo: Any) -> float:
    return float(bo.t_resp or bo.t_prev)


def transit_buffer(bo: Any) -> int:
    return int(params.transit_buffer if bo.transit_buffer is None else bo.transit_buffer)


def set_transit_buffer(ctx: Ctx, value: int) -> None:
    if not ctx.bo.uncacheable:
        ctx.log(_ERROR, "Ignoring beresp.transit_buffer on cacheable object")
        return
    ctx.bo.transit_buffer = max(value, 0)


def set_uncacheable(ctx: Ctx, value: bool) -> None:
    bo = ctx.bo
    if bo.uncacheable and not value:
        ctx.log(_VCL_ERROR, "Ignoring attempt to reset beresp.uncacheable")
    elif value:
        bo.uncacheable = True
    _log_ttl(ctx, bo.objcore)


def hit_for_pass(ctx: Ctx, duration: float) -> None:
    if ctx.bo is None:
        ctx.log(_ERROR, "Note: Ignoring DURATION argument to return(pass);")
        return
    oc = ctx.bo.objcore
    oc.ttl = duration
    oc.grace = oc.keep = 0.0
    ctx.log(_TTL, f"HFP {oc.ttl:.0f} {oc.grace:.0f} {oc.keep:.0f} {oc.t_origin:.0f} uncacheable")


# -- objects and their life --------------------------------------------------------------------------------------------


def _reference_time(ctx: Ctx) -> float:
    """Against what a TTL is read: on the client side the time of the request, but in vcl_deliver and fetches now."""
    if ctx.bo is not None or ctx.method == "deliver":
        return ctx.now
    return float(ctx.req.t_req)


def age(ctx: Ctx, oc: Any) -> float:
    return _reference_time(ctx) - float(oc.t_origin)


def ttl(ctx: Ctx, oc: Any) -> float:
    return max(float(oc.ttl), 0.0) - (_reference_time(ctx) - float(oc.t_origin))


def grace(ctx: Ctx, oc: Any) -> float:
    return max(float(oc.grace), 0.0)


def keep(ctx: Ctx, oc: Any) -> float:
    return max(float(oc.keep), 0.0)


def set_ttl(ctx: Ctx, oc: Any, value: float) -> None:
    oc.ttl = max(value + _reference_time(ctx) - oc.t_origin, 0.0)
    _log_ttl(ctx, oc)


def set_grace(ctx: Ctx, oc: Any, value: float) -> None:
    oc.grace = max(value, 0.0)
    _log_ttl(ctx, oc)


def set_keep(ctx: Ctx, oc: Any, value: float) -> None:
    oc.keep = max(value, 0.0)
    _log_ttl(ctx, oc)


def _log_ttl(ctx: Ctx, oc: Any) -> None:
    what = "uncacheable" if ctx.bo.uncacheable else "cacheable"
    ctx.log(_TTL, f"VCL {oc.ttl:.0f} {oc.grace:.0f} {oc.keep:.0f} {oc.t_origin:.0f} {what}")


def object_hits(ctx: Ctx, oc: Any) -> int:
    return int(oc.hits) if ctx.method == "hit" or ctx.req.is_hit else 0


def object_uncacheable(oc: Any) -> bool:
    return bool(oc.flags & OC_TRANSIENT)


_REFRESHED = OC_ASK | OC_SUPERSEDED


def object_valid(oc: Any) -> bool:
    flags = oc.flags
    # where each request asks by itself, another one may have refreshed the object meanwhile
    return not flags & OC_DYING or (flags & _REFRESHED) == _REFRESHED


# -- storage -----------------------------------------------------------------------------------------------------------


def stevedore(ctx: Ctx, name: str) -> Any:
    return ctx.vcl.host.stevedore(name)


def storage_name(value: Any) -> str | None:
    return None if value is None else f"storage.{value.ident}"


def set_storage_name(ctx: Ctx, name: str) -> None:
    found = ctx.vcl.host.stevedore(name)
    if found is not None:
        ctx.bo.storage_hint = found


def storage_property(value: Any, name: str) -> Any:
    if value is None:
        return name == "happy" or 0
    found = getattr(value, name)
    return found() if callable(found) else found


def object_storage(oc: Any) -> Any:
    return oc.stobj.stevedore


# -- actions -----------------------------------------------------------------------------------------------------------


def synth(ctx: Ctx, status: int, reason: str | None) -> None:
    """``return (synth(...))``, ``return (error(...))``."""
    if not 0 <= status <= 65535:
        raise VclFailure(f"return(synth()) status code ({status}) {'is negative' if status < 0 else '> 65535'}")
    if status % 1000 < 100:
        raise VclFailure(f"illegal return(synth()) status code ({status}) (..0##)")
    task = ctx.req if ctx.req is not None else ctx.bo
    task.err_code = status
    task.err_reason = reason if reason is not None else reason_phrase(status % 1000)


def select(ctx: Ctx, label: str) -> None:
    """``return (vcl(label))``: the state machine does the rest."""
    ctx.selected = (ctx.vcl.labels[label], label)


def hash_data(ctx: Ctx, *texts: str | None) -> None:
    parts = ctx.req.hash_parts
    log = ctx.vsl
    for text in texts:
        if text is None:
            parts.append("\0")  # what is not there differs from what is empty
        else:
            parts.append(text)
            log.put(_HASH, text)
    parts.append("\0")


def ban(ctx: Ctx, spec: str | None) -> str | None:
    """Add a ban; what is wrong with it is logged, and returned."""
    error = "Null argument" if spec is None else ctx.vcl.host.ban(spec)
    if error is not None:
        ctx.log(_VCL_ERROR, f"ban(): {error}")
    return error


def resolve(ctx: Ctx, director: Any) -> Any:
    """The backend that a director chooses now, through all directors between them."""
    return None if director is None else follow(director, ctx)


def call_sub(ctx: Ctx, value: VclSub | None, reference: int) -> None:
    if value is None:
        source, line, _column = ctx.vcl.references[reference - 1]
        raise VclFailure(f"Tried to call NULL SUB near source {source} line {line}")
    value.call(ctx)


# -- private data of VMODs ---------------------------------------------------------------------------------------------


def priv_task(ctx: Ctx, vmod_name: Hashable) -> PrivateData:
    """A VMOD's own data for this request or fetch (on the CLI: for this event).

    :param vmod_name: the VMOD's name in this VCL, or what else a VMOD tells its data apart by
    """
    task = ctx.task()
    if task is None:
        return _private_of(ctx.vcl.event_privs, ctx, vmod_name)
    if task.privs is None:
        task.privs = {}
    return _private_of(task.privs, ctx, vmod_name)


def priv_top(ctx: Ctx, vmod_name: Hashable) -> PrivateData:
    """A VMOD's own data for a client request and everything it includes."""
    if ctx.req is None:
        raise VclFailure("PRIV_TOP is only accessible in client VCL context")
    top = ctx.req.topreq
    if top.privs is None:
        top.privs = {}
    return _private_of(top.privs, ctx, (vmod_name, "top"))


def _private_of(store: dict[Any, PrivateData], ctx: Ctx, key: Any) -> PrivateData:
    full = (ctx.vcl.name, key)
    found = store.get(full)
    if found is None:
        found = store[full] = PrivateData()
    return found
