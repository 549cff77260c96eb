"""Every variable of VCL, in one table (vcl-var(7)).

A row says what the variable is called, its type, in which subroutines it may be read, set and unset (the words of
`methods.mask`), which VCL versions know it, and how the generated code gets at it: pieces of Python in which ``{req}``,
``{bo}``, ``{http_req}`` ... stand for local names that the code generator sets up at the head of a subroutine
(`LOCALS`), and ``{value}`` for what is being assigned. ``rt`` is `varnishpy.vcl.runtime`.
"""

from __future__ import annotations

from dataclasses import dataclass

from varnishpy.params.bits import FEATURE_BITS
from varnishpy.vcl import methods
from varnishpy.vcl.types import TYPES, VclType

LOCALS = {
    "req": "ctx.req",
    "bo": "ctx.bo",
    "sess": "ctx.sess",
    "http_req": "ctx.http_req",
    "http_req_top": "ctx.http_req_top",
    "http_resp": "ctx.http_resp",
    "http_bereq": "ctx.http_bereq",
    "http_beresp": "ctx.http_beresp",
    "oc": "ctx.req.objcore",
    "stale": "ctx.bo.stale_oc",
    "fetched": "ctx.bo.objcore",
}
# header variables: the message that each prefix reads
HEADER_MESSAGES = {
    "req": "{http_req}",
    "req_top": "{http_req_top}",
    "bereq": "{http_bereq}",
    "beresp": "{http_beresp}",
    "resp": "{http_resp}",
    "obj": "{oc}.stobj.headers",
    "obj_stale": "{stale}.stobj.headers",
}


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    type: VclType
    readable: int
    writable: int
    unsettable: int
    read: str
    write: str
    unset: str
    since: int
    until: int

    @property
    def wildcard(self) -> bool:
        return self.name.endswith(".*")

    @property
    def read_may_be_null(self) -> bool:
        """A STRING that reads as ``None`` at times."""
        return self.name in _NULLABLE


_NULLABLE = frozenset(
    {"beresp.backend.name", "beresp.storage_hint", "server.identity", "local.endpoint", "local.socket"}
)
_RESP = "vcl_deliver vcl_synth"
_BERESP = "vcl_backend_response vcl_backend_error vcl_backend_refresh"
_OBJ = "vcl_hit vcl_deliver"
_REFRESH = "vcl_backend_refresh"
_HASHED = "vcl_hit vcl_miss vcl_pass vcl_purge vcl_deliver vcl_synth vcl_pipe"
_BEREQ = "vcl_pipe backend"

_TABLE: list[Variable] = []


def _add(
    name: str,
    kind: str,
    readable: str = "",
    writable: str = "",
    unsettable: str = "",
    *,
    read: str = "",
    write: str = "",
    unset: str = "",
    since: int = 0,
    until: int = 99,
) -> None:
    row = Variable(
        name,
        TYPES[kind],
        methods.mask(readable),
        methods.mask(writable),
        methods.mask(unsettable),
        read,
        write,
        unset,
        since,
        until,
    )
    _TABLE.append(row)


def _header(prefix: str, readable: str, changeable: str = "") -> None:
    message = HEADER_MESSAGES[prefix]
    _add(f"{prefix}.http.*", "HEADER", readable, changeable, changeable, read=message, write=message, unset=message)


def _protected(prefix: str, readable: str) -> None:
    """Headers that frame a message: VCL may look at them only."""
    for name in ("content-length", "transfer-encoding"):
        _add(f"{prefix}.http.{name}", "HEADER", readable, read=HEADER_MESSAGES[prefix])


def _proto(prefix: str, where: str, message: str) -> None:
    """Writable in VCL 4.0, readable since."""
    name = f"{prefix}.proto"
    write = f"rt.set_proto(ctx, {message}, {name!r}, {{value}})"
    _add(name, "STRING", where, where, read=f"{message}.proto", write=write, until=40)
    _add(name, "STRING", where, read=f"{message}.proto", since=41)


def _flag(name: str, where: str, attribute: str) -> None:
    _add(name, "BOOL", where, where, read=attribute, write=f"{attribute} = {{value}}")


# -- where a connection comes from ------------------------------------------------------------------------------------

_add(
    "client.identity", "STRING", "both", "client",
    read="rt.client_identity(ctx)", write="rt.set_client_identity(ctx, {value})",
)  # fmt: skip
for _end in ("client", "server", "local", "remote"):
    _add(f"{_end}.ip", "IP", "both", read=f"{{sess}}.{_end}_ip")
_add("server.hostname", "STRING", "all", read="ctx.vcl.host.hostname")
_add("server.identity", "STRING", "all", read="ctx.vcl.host.identity")
_add("local.endpoint", "STRING", "both", read="{sess}.listen.endpoint", since=41)
_add("local.socket", "STRING", "both", read="{sess}.listen.name", since=41)

# -- the client's request ---------------------------------------------------------------------------------------------

_add("req", "HTTP", "client", read="{http_req}")
_add(
    "req.backend_hint", "BACKEND", "client", "client",
    read="{req}.director_hint", write="{req}.director_hint = {value}",
)  # fmt: skip
_add("req.can_gzip", "BOOL", "client", read="rt.accepts_gzip({http_req})")
_add(
    "req.esi", "BOOL", "client", "client",
    read="not {req}.disable_esi", write="rt.set_req_esi({req}, {value})", until=40,
)  # fmt: skip
_add("req.esi_level", "INT", "client", read="{req}.esi_level")
_add(
    "req.filters", "STRING", "vcl_recv", "vcl_recv",
    read="rt.req_filters(ctx)", write="rt.set_req_filters(ctx, {value})",
)  # fmt: skip
for _name in ("req.max_age", "req.ttl"):
    _add(
        _name, "DURATION", "client", "client", "client",
        read="{req}.d_ttl", write="{req}.d_ttl = max({value}, 0.0)", unset="{req}.d_ttl = -1.0",
    )  # fmt: skip
_add(
    "req.grace", "DURATION", "client", "client", "client",
    read="{req}.d_grace", write="{req}.d_grace = max({value}, 0.0)", unset="{req}.d_grace = -1.0",
)  # fmt: skip
_add("req.hash", "BLOB", _HASHED, read="{req}.digest")
for _name in ("hash_always_miss", "hash_ignore_busy", "hash_ignore_vary"):
    _flag(f"req.{_name}", "client", f"{{req}}.{_name}")
_header("req", "client", "client")
_protected("req", "client")
_add("req.is_hitmiss", "BOOL", "vcl_miss vcl_deliver vcl_pass vcl_synth", read="{req}.is_hitmiss")
_add("req.is_hitpass", "BOOL", "vcl_pass vcl_deliver vcl_synth", read="{req}.is_hitpass")
_add(
    "req.method", "STRING", "client", "client",
    read="{http_req}.method", write="rt.set_method(ctx, {http_req}, 'req.method', {value})",
)  # fmt: skip
_proto("req", "client", "{http_req}")
_add("req.restarts", "INT", "client", read="{req}.restarts")
_add("req.storage", "STEVEDORE", "client", "client", read="{req}.storage_hint", write="{req}.storage_hint = {value}")
_add("req.time", "TIME", "client", read="{req}.t_req")
_add("req.trace", "BOOL", "client", "client", read="{req}.vcl_trace", write="rt.set_trace(ctx, {req}, {value})")
_add("req.transport", "STRING", "client", read="{req}.transport.name")
_add(
    "req.url", "STRING", "client", "client",
    read="{http_req}.url", write="rt.set_url(ctx, {http_req}, 'req.url', {value})",
)  # fmt: skip
_add("req.xid", "INT", "client", read="{req}.vxid")

_header("req_top", "client")
_add("req_top.method", "STRING", "client", read="{http_req_top}.method")
_add("req_top.proto", "STRING", "client", read="{http_req_top}.proto")
_add("req_top.time", "TIME", "client", read="{req}.topreq.t_req")
_add("req_top.url", "STRING", "client", read="{http_req_top}.url")

# -- the request to the backend ---------------------------------------------------------------------------------------

_add("bereq", "HTTP", "backend", read="{http_bereq}")
_add("bereq.backend", "BACKEND", _BEREQ, _BEREQ, read="{bo}.director_req", write="{bo}.director_req = {value}")
_add("bereq.body", "BODY", "", "", "vcl_backend_fetch", unset="rt.unset_bereq_body(ctx)")
for _name, _where in (
    ("connect_timeout", _BEREQ),
    ("first_byte_timeout", "backend"),
    ("between_bytes_timeout", "backend"),
):
    _add(
        f"bereq.{_name}", "DURATION", _where, _where, _BEREQ,
        read=f"rt.bereq_timeout({{bo}}, {_name!r})", write=f"{{bo}}.{_name} = max({{value}}, 0.0)",
        unset=f"{{bo}}.{_name} = None",
    )  # fmt: skip
_add(
    "bereq.filters", "STRING", "vcl_backend_fetch", "vcl_backend_fetch",
    read="rt.bereq_filters(ctx)", write="{bo}.bereq_filter_list = {value}",
)  # fmt: skip
_add("bereq.hash", "BLOB", _BEREQ, read="{bo}.digest")
_header("bereq", _BEREQ, _BEREQ)
_protected("bereq", "backend")
_add("bereq.is_bgfetch", "BOOL", "backend", read="{bo}.is_bgfetch")
_add("bereq.is_hitmiss", "BOOL", "backend", read="{bo}.is_hitmiss")
_add("bereq.is_hitpass", "BOOL", "backend", read="{bo}.is_hitpass")
_add(
    "bereq.method", "STRING", _BEREQ, _BEREQ,
    read="{http_bereq}.method", write="rt.set_method(ctx, {http_bereq}, 'bereq.method', {value})",
)  # fmt: skip
_proto("bereq", _BEREQ, "{http_bereq}")
_add("bereq.retries", "INT", "backend", read="{bo}.retries")
_add(
    "bereq.retry_connect", "BOOL", "backend", "backend",
    read="({bo}.no_retry is None)", write="rt.set_retry_connect({bo}, {value})",
)  # fmt: skip
_add(
    "bereq.task_deadline", "DURATION", "vcl_pipe", "vcl_pipe", "vcl_pipe",
    read="rt.task_deadline({bo})", write="{bo}.task_deadline = max({value}, 0.0)", unset="{bo}.task_deadline = None",
)  # fmt: skip
_add("bereq.time", "TIME", _BEREQ, read="{bo}.t_first")
_add("bereq.trace", "BOOL", "backend", "backend", read="{bo}.vcl_trace", write="rt.set_trace(ctx, {bo}, {value})")
_add("bereq.uncacheable", "BOOL", "backend", read="({bo}.do_pass or {bo}.uncacheable)")
_add(
    "bereq.url", "STRING", _BEREQ, _BEREQ,
    read="{http_bereq}.url", write="rt.set_url(ctx, {http_bereq}, 'bereq.url', {value})",
)  # fmt: skip
_add("bereq.xid", "INT", _BEREQ, read="{bo}.vxid")

# -- the backend's response -------------------------------------------------------------------------------------------

_add("beresp", "HTTP", _BERESP, read="{http_beresp}")
_add("beresp.age", "DURATION", _BERESP, read="rt.age(ctx, {fetched})")
_add("beresp.backend", "BACKEND", _BERESP, read="{bo}.director_resp")
_add("beresp.backend.ip", "IP", "vcl_backend_response", read="rt.backend_ip(ctx)", until=40)
_add("beresp.backend.name", "STRING", _BERESP, read="rt.name_of({bo}.director_resp)")
_add("beresp.body", "BODY", "", "vcl_backend_error", write="{bo}.synth_body")
_add("beresp.cache_control", "STRING", _BERESP, read="rt.cache_control({http_beresp})")
for _name in ("do_esi", "do_gunzip", "do_gzip"):
    _add(
        f"beresp.{_name}", "BOOL", _BERESP, _BERESP,
        read=f"rt.beresp_flag({{bo}}, {_name!r})", write=f"rt.set_beresp_flag({{bo}}, {_name!r}, {{value}})",
    )  # fmt: skip
_flag("beresp.do_stream", _BERESP, "{bo}.do_stream")
_add(
    "beresp.filters", "STRING", "vcl_backend_response", "vcl_backend_response",
    read="rt.beresp_filters(ctx)", write="{bo}.filter_list = {value}",
)  # fmt: skip
for _name in ("ttl", "grace", "keep"):
    _add(
        f"beresp.{_name}", "DURATION", _BERESP, _BERESP,
        read=f"rt.{_name}(ctx, {{fetched}})", write=f"rt.set_{_name}(ctx, {{fetched}}, {{value}})",
    )  # fmt: skip
_header("beresp", _BERESP, _BERESP)
_protected("beresp", _BERESP)
_proto("beresp", _BERESP, "{http_beresp}")
_add(
    "beresp.reason", "STRING", _BERESP, _BERESP,
    read="{http_beresp}.reason", write="rt.set_reason(ctx, {http_beresp}, 'beresp.reason', {value})",
)  # fmt: skip
_add(
    "beresp.status", "INT", _BERESP, _BERESP,
    read="{http_beresp}.status", write="rt.set_status({http_beresp}, 'beresp', {value})",
)  # fmt: skip
_add("beresp.storage", "STEVEDORE", _BERESP, _BERESP, read="{bo}.storage_hint", write="{bo}.storage_hint = {value}")
_add("beresp.storage_hint", "STRING", _BERESP, _BERESP, read="rt.storage_name({bo}.storage_hint)",
     write="rt.set_storage_name(ctx, {value})", until=40)  # fmt: skip
_add(
    "beresp.tier", "BOOL", "vcl_backend_response", "vcl_backend_response",
    read="({bo}.tier if {bo}.tier is not None else not {bo}.bereq.has('authorization'))",
    write="{bo}.tier = {value}",
)  # fmt: skip
_add("beresp.time", "TIME", _BERESP, read="rt.beresp_time({bo})")
_add(
    "beresp.transit_buffer", "BYTES", "vcl_backend_response", "vcl_backend_response",
    read="rt.transit_buffer({bo})", write="rt.set_transit_buffer(ctx, {value})",
)  # fmt: skip
_add(
    "beresp.uncacheable", "BOOL", _BERESP, _BERESP,
    read="{bo}.uncacheable", write="rt.set_uncacheable(ctx, {value})",
)  # fmt: skip
_add("beresp.was_304", "BOOL", _BERESP, read="{bo}.was_304")

# -- objects in the cache ---------------------------------------------------------------------------------------------

for _prefix, _core, _where, _hit in (("obj", "{oc}", _OBJ, "vcl_hit"), ("obj_stale", "{stale}", _REFRESH, _REFRESH)):
    _add(f"{_prefix}.age", "DURATION", _where, read=f"rt.age(ctx, {_core})")
    _add(f"{_prefix}.can_esi", "BOOL", _where, read=f"('ESIDATA' in {_core}.stobj.attrs)")
    for _name in ("ttl", "grace", "keep"):
        _add(f"{_prefix}.{_name}", "DURATION", _where, read=f"rt.{_name}(ctx, {_core})")
    _header(_prefix, _hit)
    _add(f"{_prefix}.proto", "STRING", _hit, read=f"{_core}.stobj.headers.proto")
    _add(f"{_prefix}.reason", "STRING", _hit, read=f"{_core}.stobj.headers.reason")
    _add(f"{_prefix}.status", "INT", _hit, read=f"{_core}.stobj.headers.status")
    _add(f"{_prefix}.storage", "STEVEDORE", _where, read=f"rt.object_storage({_core})")
    _add(f"{_prefix}.time", "TIME", _where, read=f"{_core}.t_origin")
_add("obj.hits", "INT", _OBJ, read="rt.object_hits(ctx, {oc})")
_add("obj.uncacheable", "BOOL", "vcl_deliver", read="rt.object_uncacheable({oc})")
_add("obj_stale.hits", "INT", _REFRESH, read="{stale}.hits")
_add("obj_stale.uncacheable", "BOOL", _REFRESH, read="rt.object_uncacheable({stale})")
_add("obj_stale.is_valid", "BOOL", _REFRESH, read="rt.object_valid({stale})")

# -- the response -----------------------------------------------------------------------------------------------------

_add("resp", "HTTP", _RESP, read="{http_resp}")
_add("resp.body", "BODY", "", "vcl_synth", write="{req}.synth_body")
_add(
    "resp.do_esi", "BOOL", _RESP, _RESP,
    read="rt.resp_do_esi({req})", write="rt.set_resp_do_esi({req}, {value})", since=41,
)  # fmt: skip
_add("resp.filters", "STRING", _RESP, _RESP, read="rt.resp_filters(ctx)", write="{req}.filter_list = {value}")
_header("resp", _RESP, _RESP)
_protected("resp", _RESP)
_add("resp.is_streaming", "BOOL", _RESP, read="rt.is_streaming({req})")
_proto("resp", _RESP, "{http_resp}")
_add(
    "resp.reason", "STRING", _RESP, _RESP,
    read="{http_resp}.reason", write="rt.set_reason(ctx, {http_resp}, 'resp.reason', {value})",
)  # fmt: skip
_add(
    "resp.status", "INT", _RESP, _RESP,
    read="{http_resp}.status", write="rt.set_status({http_resp}, 'resp', {value})",
)  # fmt: skip
_add("resp.time", "TIME", _RESP, read="{req}.t_resp")

# -- the rest ---------------------------------------------------------------------------------------------------------

_add("now", "TIME", "all", read="ctx.now")
for _name in ("idle_send_timeout", "send_timeout", "timeout_idle", "timeout_linger"):
    _add(
        f"sess.{_name}", "DURATION", "client", "client", "client",
        read=f"rt.session_timeout({{sess}}, {_name!r})",
        write=f"rt.set_session_timeout({{sess}}, {_name!r}, {{value}})",
        unset=f"rt.set_session_timeout({{sess}}, {_name!r}, None)",
    )  # fmt: skip
_add("sess.xid", "INT", "both", read="{sess}.vxid", since=41)
_PARAMETERS = {
    "DURATION": (
        "backend_idle_timeout backend_wait_timeout between_bytes_timeout connect_timeout default_grace default_keep "
        "default_ttl first_byte_timeout idle_send_timeout pipe_task_deadline pipe_timeout send_timeout shortlived "
        "timeout_idle uncacheable_ttl"
    ),
    "INT": "backend_wait_limit max_esi_depth max_restarts max_retries",
    "BYTES": "transit_buffer",
}
for _kind, _names in _PARAMETERS.items():
    for _name in _names.split():
        _add(f"param.{_name}", _kind, "all", read=f"params.{_name}")

for _name in FEATURE_BITS:
    _add(f"feature.{_name}", "BOOL", "all", read=f"params.feature.{_name}")

VARIABLES: tuple[Variable, ...] = tuple(_TABLE)
