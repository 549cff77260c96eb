"""The end of a fetch: let go of everything, account, end the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.log.tag_numbers import BEREQ_ACCT
from varnishpy.vcl import context

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.worker import Worker


def release_fetch(wrk: Worker, bo: BusyObject) -> None:
    """Let go of everything a fetch holds, and end its log."""
    hash_ = bo.env.hash
    oc = bo.objcore
    assert oc is not None
    if bo.privs is not None:
        context.end_task(bo)
    if bo.bereq_body is not None:
        bo.bereq_body.discard()
        bo.bereq_body = None
    if bo.ticket is not None and bo.env.tier is not None:
        bo.env.tier.end(bo.ticket)
    stale, bo.stale_oc = bo.stale_oc, None
    if stale is not None:
        hash_.deref(wrk, stale)
    hash_.deref_boc(wrk, oc)
    log_end(wrk, bo)
    bo.objcore = None
    hash_.deref(wrk, oc)
    vcl, bo.vcl = bo.vcl, None
    if vcl is not None:
        vcl.rel()
    bo.director_req = bo.director_resp = bo.resume = None


def log_end(wrk: Worker, bo: BusyObject) -> None:
    """``BereqAcct`` and ``End``."""
    acct = bo.acct
    sent = acct.bereq_hdrbytes + acct.bereq_bodybytes
    received = acct.beresp_hdrbytes + acct.beresp_bodybytes
    bo.log.put(
        BEREQ_ACCT,
        f"{acct.bereq_hdrbytes} {acct.bereq_bodybytes} {sent} "
        f"{acct.beresp_hdrbytes} {acct.beresp_bodybytes} {received}",
    )
    bo.log.end()
    wrk.tally.bo_freed += 1
    if bo.ws.overflowed:
        wrk.stats.ws_backend_overflow += 1
