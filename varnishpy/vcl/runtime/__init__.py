"""What generated code calls, as ``rt``: the parts of VCL that are more than an attribute.

Everything that can go wrong raises `VclFailure`; `Vcl.run` turns it into a VCL_Error record and the action ``fail``.
"""

from varnishpy.base.regex import compile_pattern as regex
from varnishpy.http.coding import accepts_gzip
from varnishpy.vcl.acl import Acl as acl
from varnishpy.vcl.acl import acl_match
from varnishpy.vcl.context import PrivateData as private
from varnishpy.vcl.context import VclFailure, run_once
from varnishpy.vcl.runtime.actions import ban, call_sub, hash_data, resolve, select, sub, synth, trace
from varnishpy.vcl.runtime.client import (
    client_identity,
    is_streaming,
    req_filters,
    resp_do_esi,
    resp_filters,
    session_timeout,
    set_client_identity,
    set_req_esi,
    set_req_filters,
    set_resp_do_esi,
    set_session_timeout,
    set_trace,
)
from varnishpy.vcl.runtime.fetch import (
    backend_ip,
    bereq_filters,
    bereq_timeout,
    beresp_filters,
    beresp_flag,
    beresp_time,
    hit_for_pass,
    set_beresp_flag,
    set_retry_connect,
    set_transit_buffer,
    set_uncacheable,
    task_deadline,
    transit_buffer,
    unset_bereq_body,
)
from varnishpy.vcl.runtime.messages import (
    cache_control,
    set_body,
    set_header,
    set_method,
    set_proto,
    set_reason,
    set_status,
    set_url,
)
from varnishpy.vcl.runtime.objects import (
    age,
    grace,
    keep,
    object_hits,
    object_storage,
    object_uncacheable,
    object_valid,
    set_grace,
    set_keep,
    set_storage_name,
    set_ttl,
    stevedore,
    storage_name,
    storage_property,
    ttl,
)
from varnishpy.vcl.runtime.privates import priv_task, priv_top
from varnishpy.vcl.runtime.strings import (
    blob_string,
    compare,
    int_div,
    int_mod,
    int_string,
    ip_string,
    lower,
    name_of,
    or_null,
    real_div,
    real_string,
    regsub,
    same_ip,
    search,
    time_string,
    upper,
)
from varnishpy.vcl.values import HeaderRef, SockAddr
from varnishpy.vcl.vmodfind import load_module as vmod

__all__ = [
    "HeaderRef", "SockAddr", "VclFailure", "accepts_gzip", "acl", "acl_match", "age", "backend_ip", "ban",
    "bereq_filters", "bereq_timeout", "beresp_filters", "beresp_flag", "beresp_time", "blob_string", "cache_control",
    "call_sub", "client_identity", "compare", "grace", "hash_data", "hit_for_pass", "int_div", "int_mod", "int_string",
    "ip_string", "is_streaming", "keep", "lower", "name_of", "object_hits", "object_storage", "object_uncacheable",
    "object_valid", "or_null", "priv_task", "priv_top", "private", "real_div", "real_string", "regex", "regsub",
    "req_filters", "resolve", "resp_do_esi", "resp_filters", "run_once", "same_ip", "search", "select",
    "session_timeout", "set_beresp_flag", "set_body", "set_client_identity", "set_grace", "set_header", "set_keep",
    "set_method", "set_proto", "set_reason", "set_req_esi", "set_req_filters", "set_resp_do_esi", "set_retry_connect",
    "set_session_timeout", "set_status", "set_storage_name", "set_trace", "set_transit_buffer", "set_ttl",
    "set_uncacheable", "set_url", "stevedore", "storage_name", "storage_property", "sub", "synth", "task_deadline",
    "time_string", "trace", "transit_buffer", "ttl", "unset_bereq_body", "upper", "vmod",
]  # fmt: skip
