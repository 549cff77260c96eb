"""Steps of a request, last part: make the response, from an object or in VCL, and hand it to the transport."""

from __future__ import annotations

import traceback
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.cache.objcore import OC_FAILED, OC_PRIVATE
from varnishpy.http.dates import format_date
from varnishpy.http.message import HEADER, PROTOCOL, REASON, STATUS, Field, Message
from varnishpy.http.status import reason
from varnishpy.log.tag_numbers import ERROR, FILTERS, RESP_METHOD, STORAGE
from varnishpy.params import params
from varnishpy.request.cache_status import cache_status
from varnishpy.request.conditional import not_modified, weaken_etag
from varnishpy.request.filters import default_delivery_filters, open_delivery, unpacks
from varnishpy.request.header_rules import CLOSE, append
from varnishpy.request.reqbody import ignore_body
from varnishpy.request.request import STEP_DISEMBARK, STEP_DONE, Request, Step
from varnishpy.request.transport import DELIVERED_TAKEN, Delivered
from varnishpy.request.vclstep import run_vcl
from varnishpy.request.vdp import Chain, DeliveryContext, DeliveryProcessor, ProcessorError, PullSource, Pump
from varnishpy.request.vdp_range import RangeDelivery
from varnishpy.request.via import SERVER, add_via
from varnishpy.stats.latency import OF_HIT, OF_MISS, OF_PASS
from varnishpy.storage.boc import BOC_FINISHED, BOC_STREAM
from varnishpy.storage.object import ObjectFlag, StoredObject
from varnishpy.storage.objectsource import open_body
from varnishpy.storage.prepared import Prepared
from varnishpy.storage.room import NoSpace
from varnishpy.storage.source import BytesSource, Source, TrailedSource

if TYPE_CHECKING:
    from varnishpy.threads.worker import Worker

_RESP_PROTOCOL: Final = RESP_METHOD + PROTOCOL
_RESP_STATUS: Final = RESP_METHOD + STATUS
_RESP_REASON: Final = RESP_METHOD + REASON
_RESP_HEADER: Final = RESP_METHOD + HEADER
_CONDITIONAL_METHODS: Final = frozenset(("GET", "HEAD"))  # RFC 9110 sections 13.2.1 and 13.1.3
# what describes a content that is not sent and guides no cache (RFC 9110 section 15.4.5)
_NOT_IN_304: Final = ("content-type", "content-language", "content-encoding", "content-range")
_PUMP_LIMIT: Final = 1 << 18  # octets a request thread may compute ahead of the client


def _new_response(req: Request) -> None:
    resp = req.resp
    if resp.log is not None:  # used before: this is another response to the same request
        resp = req.resp = Message()
    resp.attach(req.log, RESP_METHOD, req.ws)


def redo_response(req: Request, method: str) -> None:
    """``resp`` as the method that VCL is in found it: what that made of it is rolled back."""
    if method not in ("deliver", "synth"):
        return
    resp = req.resp  # the same message: VCL has it in hand
    resp.headers = []
    resp.failed = False
    if method == "deliver":
        setup_deliver(req)
    else:
        setup_synth(req)


# -- from an object ----------------------------------------------------------------------------------------------------


_ACCEPT_RANGES: Final = Field("Accept-Ranges", "bytes", constant=True)


def setup_deliver(req: Request) -> None:
    """``resp`` as vcl_deliver finds it: the object's head, and what every response has."""
    oc = req.objcore
    assert oc is not None
    stobj = oc.stobj
    assert stobj is not None
    prepared = stobj.prepared
    if prepared is None:
        prepared = Prepared(stobj.headers)
        if req.is_hit:
            stobj.stevedore.was_hit(stobj, prepared)
    req.prepared = prepared
    resp = req.resp
    resp.status = prepared.status
    resp.reason = prepared.reason
    resp.headers = prepared.headers.copy()  # they stay with the object: no workspace is charged
    req.log.put_records(prepared.records)

    resp.add("X-Varnish", f"{req.vxid} {oc.xid}" if req.is_hit else str(req.vxid))
    age = int(req.t_prev - oc.t_origin)
    resp.add("Age", str(age) if age > 0 else "0")
    add_via(resp, req.env, prepared.proto, prepared.has_via)
    if params.feature.cache_status and req.topreq is req:
        append(resp, "Cache-Status", cache_status(req, oc))
    if stobj.flags & ObjectFlag.GZIPED and unpacks(req, stobj):
        weaken_etag(resp)


def step_deliver(wrk: Worker, req: Request) -> str:
    """Headers of the object, vcl_deliver, and whether the client needs the body at all."""
    oc = req.objcore
    assert oc is not None
    stobj = oc.stobj
    assert stobj is not None
    last_use = oc.last_lru
    if last_use and req.t_prev - last_use >= params.lru_interval:
        stobj.stevedore.lru.touch(oc, req.t_prev)

    log = req.log
    _new_response(req)
    setup_deliver(req)
    resp = req.resp
    prepared = req.prepared
    assert prepared is not None
    status = prepared.status
    if status == 200 and params.http_range_support and not oc.flags & OC_PRIVATE:
        if prepared.has_ranges:
            resp.unset("accept-ranges")
        resp.add_field(_ACCEPT_RANGES)

    req.t_resp = clock.now()
    action, _ = run_vcl(wrk, req, "deliver")
    if action != "deliver":
        _drop_object(wrk, req)
        return "vclfail" if action == "fail" else action  # restart, synth
    now = clock.now()
    log.timestamp("Process", now)
    req.t_prev = now
    if req.topreq is req:
        handling = OF_PASS if oc.flags & OC_PRIVATE else OF_HIT if req.is_hit else OF_MISS
        wrk.latencies.observe(handling, oc.origin, now - req.t_req)
    if req.topreq is req and resp.status == 200 and req.http0.method in _CONDITIONAL_METHODS:
        compat = params.feature.cache_compat
        if not_modified(req.http, resp, req.t_req, stobj.last_modified, compat):
            _put_status(resp, 304)
            if not compat:
                for name in _NOT_IN_304:
                    resp.unset(name)
    return "transmit"


def _put_status(resp: Message, status: int) -> None:
    resp.set_proto("HTTP/1.1")
    resp.set_status(status)
    resp.set_reason(reason(status))


def _drop_object(wrk: Worker, req: Request) -> None:
    """The response will be another one."""
    oc, req.objcore = req.objcore, None
    assert oc is not None
    if oc.is_transient:
        req.env.hash.cancel(oc)
    req.env.hash.deref(wrk, oc)


# -- from VCL ----------------------------------------------------------------------------------------------------------


def setup_synth(req: Request) -> float:
    """``resp`` as vcl_synth finds it; returns the time of its Date."""
    resp = req.resp
    resp.set_proto("HTTP/1.1")
    resp.set_status(req.err_code)
    resp.set_reason(reason(req.err_code) if req.err_reason is None else req.err_reason)
    now = clock.now()
    resp.add("Date", format_date(now))
    resp.add_field(SERVER)
    resp.add("X-Varnish", str(req.vxid))
    if req.want100cont:
        # neither ask for the body nor wait for it: close, unless VCL takes this header away
        resp.add_field(CLOSE)
    return now


def step_synth(wrk: Worker, req: Request) -> str | Step:
    """vcl_synth makes the response."""
    req.prepared = None
    wrk.stats.s_synth += 1
    if req.err_code < 100:
        req.err_code = 501
    _new_response(req)
    now = setup_synth(req)
    resp = req.resp
    req.filter_list = None
    req.synth_body.clear()
    req.t_resp = now
    action, _ = run_vcl(wrk, req, "synth")
    now = clock.now()
    req.log.timestamp("Process", now)
    req.t_prev = now
    if action == "fail":
        if req.esi_level == 0:
            return _bare_failure(wrk, req)
        action = "deliver"
    if action == "restart" and req.restarts <= req.max_restarts:
        return "restart"

    length = sum(map(len, req.synth_body))
    resp.set("Content-Length", str(length))
    if req.doclose is None and (resp.has_token("connection", "close") or req.http.has_token("connection", "close")):
        req.doclose = "RESP_CLOSE"
    ignore_body(req)
    if not _store_synthetic(req):
        log = req.log
        log.put(ERROR, "Could not get storage")
        req.doclose = "OVERLOAD"
        now = clock.now()
        log.timestamp("Resp", now)
        req.t_prev = now
        return STEP_DONE
    wrk.stats.transit_stored += length
    return "transmit"


def _store_synthetic(req: Request) -> bool:
    """Charge Transient with the body that VCL made, until the request is over; False when there is no room."""
    transient = req.env.transient
    if transient is None:
        return True
    try:
        stored = req.synth_stored = StoredObject(transient)
    except NoSpace as exc:
        req.log.put(ERROR, str(exc))
        return False
    req.log.put(STORAGE, f"{transient.name} {transient.ident}")
    try:
        stored.extend(b"".join(req.synth_body))
    except NoSpace:
        return False
    return True


def _bare_failure(wrk: Worker, req: Request) -> Step:
    """VCL failed even here: a status line is all that is left."""
    ignore_body(req)
    req.transport.minimal_response(wrk, req, 408 if req.req_reset else 500)
    req.doclose = "VCL_FAILURE"
    req.delivering = True
    return STEP_DONE


# -- handing over ------------------------------------------------------------------------------------------------------


def step_transmit(wrk: Worker, req: Request) -> str | Step:
    """Processors, Content-Length, and the transport."""
    oc = req.objcore
    resp = req.resp
    stobj = None
    finished = True
    announced = _content_length(resp)
    length = announced
    if oc is not None:
        stobj = oc.stobj
        if oc.boc is not None:
            boc = req.boc = req.env.hash.ref_boc(oc)
            if boc is not None:
                if boc.state < BOC_STREAM:
                    boc.wait_state(BOC_STREAM, clock.NEVER, wrk)
                finished = boc.state >= BOC_FINISHED
        if req.boc is None and not oc.flags & OC_FAILED:
            assert stobj is not None
            length = stobj.length

    req.delivering = True
    status = resp.status
    head = req.http0.method == "HEAD"
    no_body = head or status < 200 or status == 204 or status == 304
    names = req.filter_list
    if names is None:
        names = default_delivery_filters(req)
    req.log.put(FILTERS, names)
    processors: list[DeliveryProcessor] = []
    if names:
        context = DeliveryContext(req, req.log, resp, length, stobj, finished)
        try:
            processors = open_delivery(names, context)
        except ProcessorError:
            req.log.put(ERROR, "Failure to push processors")
            req.doclose = "OVERLOAD"
            req.transport.fail(req, "OVERLOAD")
            return STEP_DONE
        length = context.length

    status = resp.status  # a range changes it
    if announced >= 0 and announced == length and status >= 200 and status != 204 and status != 304:
        pass
    elif status < 200 or status == 204 or status == 304:
        resp.unset("content-length")
    elif head and not processors:
        length = 0  # what is stored is the answer to a HEAD, whose Content-Length speaks of the GET's body
    else:
        resp.unset("content-length")
        if length >= 0:
            resp.add("Content-Length", str(length))
    req.processors = processors
    if no_body or (length == 0 and (stobj is None or not stobj.trailers)):
        for processor in processors:
            processor.close()
        return _finished(req.transport.deliver(wrk, req, None))
    return _send(wrk, req, processors, length)


def _content_length(resp: Message) -> int:
    value = resp.get("content-length")
    return int(value) if value is not None and value.isdecimal() else -1


def _finished(delivered: Delivered) -> Step:
    return STEP_DISEMBARK if delivered is DELIVERED_TAKEN else STEP_DONE


def _source(req: Request, start: int, length: int) -> Source:
    """The stored or synthetic body, or a part of it."""
    oc = req.objcore
    if oc is None:
        return BytesSource(req.synth_body, start, length)
    assert oc.stobj is not None
    stobj = oc.stobj
    source = open_body(stobj, req.boc, transient=oc.is_transient, start=start, length=length)
    if stobj.trailers is not None and start == 0 and length < 0:
        return TrailedSource(source, lambda: stobj.trailers)
    return source


def _send(wrk: Worker, req: Request, processors: list[DeliveryProcessor], length: int) -> str | Step:
    transport = req.transport
    if not processors:
        return _finished(transport.deliver(wrk, req, _source(req, 0, -1)))
    first = processors[0]
    if len(processors) == 1 and isinstance(first, RangeDelivery) and first.on_storage and req.boc is None:
        first.close()
        first.cut = True
        return _finished(transport.deliver(wrk, req, _source(req, first.low, first.high - first.low)))
    chain = Chain(processors, _source(req, 0, -1), req, length)
    if transport.pull_may_block:
        return _finished(transport.deliver(wrk, req, PullSource(chain, length)))
    limit = req.boc.transit_buffer if req.boc is not None else 0
    pump = req.pump = Pump(chain, length, limit or _PUMP_LIMIT, partial(transport.reembark, req))
    if transport.deliver(wrk, req, pump.source) is Delivered.DONE:
        req.pump = None
        chain.close()
        return STEP_DONE
    return "pump"


def step_pump(wrk: Worker, req: Request) -> Step:
    """Compute the body until it is complete, or until the client is too far behind: then the request leaves its
    thread, and comes back here when the client has caught up, or is gone.
    """
    log = req.log
    pump = req.pump
    assert pump is not None
    try:
        pump.run()
    except Exception as exc:
        wrk.stats.req_contained += 1
        for entry in traceback.format_exception(exc):
            for line in entry.rstrip("\n").split("\n"):
                log.put(ERROR, line)
    return STEP_DISEMBARK
