"""The end of a request, in two parts.

`leave` lets go of everything the state machine held: object, body, VCL, private data. It runs when the response has
been delivered: on the request's own thread, or, where the transport sends by itself, on the thread that is the last
to use it. `finish_request` is what a transport calls at the very end, when it has also dealt with the rest of the
client's body: it leaves, if that has not happened, then accounts for the octets and ends the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.cache.objcore import OC_FAILED
from varnishpy.log.tag_numbers import REQ_ACCT, VDP_ACCT
from varnishpy.log.tasklog import is_masked
from varnishpy.request.reqbody import free_body
from varnishpy.request.vdp_range import RangeDelivery
from varnishpy.vcl import context

if TYPE_CHECKING:
    from varnishpy.request.request import Request
    from varnishpy.threads.worker import Worker


def finish_request(wrk: Worker, req: Request) -> None:
    """Finish a request: let go, account, end its log. Exactly once for each, by its transport.

    Call it after `run_request` has answered ``DONE``, and, for a response that was ``TAKEN``, when the last octet has
    left or the delivery has failed, the source is closed, and no thread runs the request any more (it may still
    compute the body when `deliver` has returned, or be about to: see `Transport.deliver`). Any thread may call it; it
    is short and takes no lock for long.
    """
    leave(wrk, req)
    acct = req.acct
    log = req.log
    received = acct.req_hdrbytes + acct.req_bodybytes
    sent = acct.resp_hdrbytes + acct.resp_bodybytes
    if not req.res_pipe:
        log.put(
            REQ_ACCT,
            f"{acct.req_hdrbytes} {acct.req_bodybytes} {received} {acct.resp_hdrbytes} {acct.resp_bodybytes} {sent}",
        )
    counters = wrk.stats
    if req.topreq is req:
        counters.s_req_hdrbytes += acct.req_hdrbytes
        counters.s_req_bodybytes += acct.req_bodybytes
        counters.s_resp_hdrbytes += acct.resp_hdrbytes
        counters.s_resp_bodybytes += acct.resp_bodybytes
    log.end()
    wrk.tally.req_freed += 1
    if req.ws.overflowed:
        counters.ws_client_overflow += 1
    del req.topreq  # a reference to itself, which only the garbage collector would find


def leave(wrk: Worker, req: Request) -> None:
    """Let go of what the state machine held; once, later calls do nothing."""
    if not req.started:
        return
    req.started = False
    oc = req.objcore
    if req.delivering:
        req.delivering = False
        if req.acct.resp_pieces and not is_masked(VDP_ACCT):
            _account_delivery(req)
        now = clock.now()
        req.log.timestamp("Resp", now)
        req.t_prev = now
        if req.doclose is None and oc is not None and oc.flags & OC_FAILED:
            req.doclose = "TX_ERROR"  # the body stopped half way, and the client must see that it did
    hash_ = req.env.hash
    if oc is not None:
        req.objcore = None
        boc = req.boc
        if boc is not None:
            req.boc = None
            if oc.is_transient:
                boc.cancel()  # nobody else will read it
            hash_.deref_boc(wrk, oc)
        hash_.deref(wrk, oc)
    stale = req.stale_oc
    if stale is not None:
        req.stale_oc = None
        hash_.deref(wrk, stale)
    if req.privs is not None:
        context.end_task(req)
    if req.body_oc is not None:
        free_body(req)
    synthetic = req.synth_stored
    if synthetic is not None:
        req.synth_stored = None
        synthetic.free()
    vcl0 = req.vcl0
    if vcl0 is not None:
        req.vcl0 = None
        vcl0.rel()
    vcl = req.vcl
    if vcl is not None:
        req.vcl = None
        vcl.rel()
    req.director_hint = None
    req.ctx = None  # contexts refer to their request
    req.processors = []
    req.pump = None


def _account_delivery(req: Request) -> None:
    """``VdpAcct`` of a range that was cut from storage without a processor at work, and of the transport."""
    acct = req.acct
    for processor in req.processors:
        if isinstance(processor, RangeDelivery) and processor.cut:
            req.log.put(VDP_ACCT, f"{processor.name} {acct.resp_pieces} {acct.resp_bodybytes}")
    req.log.put(VDP_ACCT, f"{req.transport.line_name} {acct.resp_pieces} {acct.resp_bodybytes}")
