"""Steps of a fetch, first half: build the request, send it, receive the head of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.backends.director import resolve
from varnishpy.backends.errors import FetchError
from varnishpy.backends.http1_client import BODY_GONE
from varnishpy.base.panic import present
from varnishpy.cache.objcore import OC_DYING, OC_HFM, OC_PRIVATE
from varnishpy.http import freshness
from varnishpy.http.coding import beyond_gzip
from varnishpy.http.dates import format_date
from varnishpy.log.tag_numbers import BEREQ_METHOD, BERESP_METHOD, ERROR, TTL
from varnishpy.params import params
from varnishpy.request import bodystatus
from varnishpy.request.conditional import strong_last_modified
from varnishpy.request.fetchstate import error_once, set_state, timestamp
from varnishpy.request.header_rules import FETCH, PASS, connection_options, count_hop, filter_headers, kept_for_trailers
from varnishpy.request.reqbody import CachedBody, take_body
from varnishpy.request.trace_context import pass_trace_on
from varnishpy.request.transport import BodyError
from varnishpy.request.vclstep import run_backend_vcl
from varnishpy.stats.latency import OF_FETCH
from varnishpy.storage.boc import BocState
from varnishpy.storage.object import ObjectFlag
from varnishpy.vcl.context import Ctx

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.worker import Worker


_BODYLESS_METHODS: Final = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))


def step_mkbereq(wrk: Worker, bo: BusyObject) -> str:
    """Make bereq from the client's request."""
    req = bo.client_req
    oc = bo.objcore
    assert req is not None and oc is not None
    bereq0 = bo.bereq0
    bereq0.attach(bo.log, BEREQ_METHOD, bo.ws)
    source = req.http
    bereq0.method = source.method
    bereq0.url = source.url
    bereq0.proto = source.proto
    passing = bo.uncacheable
    if passing:
        bereq0.headers = filter_headers(source.headers, PASS, req.hop_headers, kept_for_trailers())
    else:
        bereq0.headers = filter_headers(source.headers, FETCH, req.hop_headers)
    if not bo.ws.account(bereq0.size() + len(bereq0.url) + len(bereq0.method) + 16):
        bereq0.failed = True
    bereq0.log_request()
    if not params.feature.cache_compat:
        count_hop(bereq0)
    if not passing:
        if bereq0.method != "GET":
            bereq0.set_method("GET")
        if params.http_gzip_support and bereq0.values("accept-encoding") != ["gzip"]:
            coding = beyond_gzip(bereq0.get("accept-encoding"))
            bereq0.set("Accept-Encoding", f"{coding}, gzip" if coding else "gzip")
    if bereq0.proto != "HTTP/1.1":
        bereq0.set_proto("HTTP/1.1")
    make_conditional(bo)
    bereq = bo.bereq
    bereq.copy_from(bereq0)
    bereq.attach(bo.log, BEREQ_METHOD, bo.ws)
    bereq.failed = bereq0.failed
    bo.ws_snapshot = bo.ws.snapshot()
    if req.body_status.available == 0:
        set_state(wrk, bo, BocState.REQ_DONE)
    elif req.body_status is bodystatus.CACHED:
        bo.bereq_body = take_body(req, bo.log)
        set_state(wrk, bo, BocState.REQ_DONE)
    return "startfetch" if passing or bo.env.tier is None else "tier"


def make_conditional(bo: BusyObject) -> None:
    """Ask for the body only if it has changed, when there is a stale object that could serve."""
    stale = bo.stale_oc
    if stale is None or bo.uncacheable or stale.flags & (OC_DYING | OC_HFM):
        return
    stobj = stale.stobj
    if stobj is None or not stobj.flags & ObjectFlag.IMSCAND or not (stale.boc is not None or stobj.length):
        return
    modified = strong_last_modified(stobj.headers)
    if modified is not None:
        bo.bereq0.add("If-Modified-Since", modified)
    etag = stobj.headers.get("etag")
    if etag is not None:
        bo.bereq0.add("If-None-Match", etag)


def step_retry(wrk: Worker, bo: BusyObject) -> str:
    """Another attempt, as another transaction."""
    if bo.no_retry == BODY_GONE:  # VCL's own reason forbids only to send again what a reused connection lost
        bo.log.put(ERROR, f"Retry not possible, {bo.no_retry}")
        return "fail"
    now = timestamp(bo, "Retry")
    bo.storage_hint = None
    bo.do_esi = False
    bo.do_stream = True
    bo.was_304 = False
    bo.err_code = 0
    bo.err_reason = None
    bo.connect_timeout = None
    bo.first_byte_timeout = None
    bo.between_bytes_timeout = None
    bo.doclose = None
    bo.failed = None
    bo.vxid = wrk.next_vxid()
    bo.log.change_id("bereq", "retry", bo.vxid)
    bo.log.timestamp("Start", now)
    bo.bereq.log_request()
    return "startfetch"


def step_startfetch(wrk: Worker, bo: BusyObject) -> str:
    """vcl_backend_fetch, the request, the response's headers, vcl_backend_response."""
    env = bo.env
    bereq = bo.bereq
    stale = bo.stale_oc
    if not bo.uncacheable and stale is not None and stale.flags & OC_DYING:
        bereq.unset("if-modified-since")
        bereq.unset("if-none-match")
    if bo.uncacheable:
        bo.storage_hint = env.transient
    else:
        bo.storage_hint = env.default_stevedore if env.next_stevedore is None else env.next_stevedore()
    if bo.retries > 0:
        bereq.unset("x-varnish")
    bereq.set("X-Varnish", str(bo.vxid))
    if params.feature.trace_context:
        pass_trace_on(bereq, bo.log)
    if bo.bereq_body is None and bo.client_req is None:  # nothing will be sent: say so, or say nothing
        if bereq.method in _BODYLESS_METHODS:
            bereq.unset("content-length")
        elif bereq.values("content-length") != ["0"]:  # where the client said so, the field keeps its place
            bereq.set("Content-Length", "0")
    action = run_backend_vcl(wrk, bo, "backend_fetch")
    if action in ("abandon", "fail"):
        return "fail"
    beresp = bo.beresp
    beresp.attach(bo.log, BERESP_METHOD, bo.ws)
    beresp.headers = []
    beresp.failed = False
    if action == "error":
        bo.failed = "error"  # asked for, not failed: not counted
        return "error"
    bo.failed = None
    asked = timestamp(bo, "Fetch")
    if not _get_response(wrk, bo):
        bo.t_resp = timestamp(bo, "Beresp")
        return "error"
    now = bo.t_resp = timestamp(bo, "Beresp")
    wrk.latencies.observe(OF_FETCH, present(bo.director_resp, "a response comes from a backend").vcl_name, now - asked)
    why, bo.hop_headers = connection_options(beresp, "RESP_CLOSE")
    reader = bo.body_reader
    if why is not None and (why == "RX_BAD" or reader is None or reader.kind != "eof"):
        bo.doclose = why  # a body that ends with its connection has closed that already
    if not beresp.has("date"):
        beresp.add("Date", format_date(now))
    for name in ("Cache-Control", "Vary"):
        if beresp.count(name.lower()) > 1:
            beresp.collect(name)
    _set_times(bo, now, asked)
    return "judge"


def _get_response(wrk: Worker, bo: BusyObject) -> bool:
    """Send bereq and receive the head of beresp; False, logged, when that failed."""
    req = bo.client_req
    if req is not None and bo.bereq_body is None and not bo.drop_body:
        try:
            bo.bereq_body = take_body(req, bo.log)
        except BodyError as exc:
            error_once(bo, f"req.body read error: {exc}")
            return False
    elif isinstance(bo.bereq_body, CachedBody):
        bo.bereq_body.rewind()
    backend = resolve(bo.director_req, Ctx.for_fetch(bo), bo.log)
    bo.director_resp = backend
    if backend is None:
        bo.failed = "no backend"  # logged, like what get_response raises
        return False
    try:
        backend.get_response(wrk, bo)
    except FetchError as failure:
        bo.failed = str(failure)
        return False
    bo.director_open = True
    return True


def drop_body(bo: BusyObject) -> None:
    """``unset bereq.body``: the backend gets none."""
    body, bo.bereq_body = bo.bereq_body, None
    if body is not None:
        body.discard()
    bo.drop_body = True
    for name in ("content-length", "transfer-encoding"):
        bo.bereq.unset(name)


def _set_times(bo: BusyObject, now: float, asked: float) -> None:
    """What RFC 9111 says of the response's lifetime; ``asked`` is when the request was sent."""
    oc = bo.objcore
    assert oc is not None
    times = freshness.compute(
        bo.beresp,
        now,
        params,
        private=bool(oc.flags & OC_PRIVATE),
        uncacheable=bo.uncacheable,
        policy=freshness.current_policy(),
        asked=asked,
    )
    oc.t_origin = times.t_origin
    oc.ttl = times.ttl
    oc.grace = times.grace
    oc.keep = times.keep
    if times.record is not None:
        bo.log.put(TTL, times.record)
