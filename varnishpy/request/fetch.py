"""Starting a fetch: from a request that wants an object to a busy object, and on which worker that runs."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.base.workspace import make_workspace
from varnishpy.log.tag_numbers import BEGIN, FETCH_ERROR, LINK, VCL_USE
from varnishpy.log.tasklog import BACKEND, TaskLog
from varnishpy.params import params
from varnishpy.request.backend import run_fetch
from varnishpy.request.beresp import fail_fetch
from varnishpy.request.busyobj import BusyObject
from varnishpy.request.finish_fetch import release_fetch
from varnishpy.request.header_rules import STORE_PASS, connection_options, filter_headers
from varnishpy.storage.boc import BocState, Notice
from varnishpy.threads.pool import Priority

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.http.message import Message
    from varnishpy.request.request import Request
    from varnishpy.threads.worker import Worker


class Mode(Enum):
    """Why a fetch is made; the value stands in ``Begin`` and ``Link``."""

    NORMAL = "fetch"
    PASS = "pass"
    BACKGROUND = "bgfetch"


def new_busy_object(wrk: Worker, req: Request, how: str) -> BusyObject:
    """A busy object that inherits from a request what a fetch needs; logs the beginning and the link to it."""
    vxid = wrk.next_vxid()
    log = TaskLog(vxid, BACKEND)
    bo = BusyObject(req.env, vxid, log, make_workspace("bo", params.workspace_backend))
    bo.sess = req.sess
    wrk.tally.bo_made += 1
    vcl = bo.vcl = present(req.vcl, "req->vcl")
    vcl.ref()
    bo.client_identity = req.client_identity
    bo.director_req = req.director_hint
    bo.digest = req.digest
    bo.search = req.search
    bo.is_hitmiss = req.is_hitmiss
    bo.is_hitpass = req.is_hitpass
    bo.vcl_trace = req.vcl_trace
    bo.max_retries = params.max_retries
    log.put(BEGIN, f"bereq {req.vxid} {how}")
    if how != "pipe":
        log.put(VCL_USE, vcl.name)
    req.log.put(LINK, f"bereq {vxid} {how}")
    return bo


def _announces(req: Request) -> bool:
    """Does the client hear of interim responses? HTTP/1.0 knows none (RFC 9110 section 15.2); an include is no
    response of its own.
    """
    return params.feature.interim and req.topreq is req and req.http0.proto != "HTTP/1.0"


def _announce(wrk: Worker, req: Request, interim: Message) -> None:
    """Pass an interim response on to the client, without what concerns the backend's connection.

    The fetch still runs on the worker of the client's request: what leaves that has a response.
    """
    _, hop = connection_options(interim, "RESP_CLOSE")
    req.transport.send_interim(wrk, req, Notice(interim.status, filter_headers(interim.headers, STORE_PASS, hop)))


def start_fetch(wrk: Worker, req: Request, oc: ObjectCore, stale: ObjectCore | None, mode: Mode) -> bool:
    """Fetch into an object core, and wait until there is something to deliver.

    That is when the response streams, is complete, or has failed (``OC_FAILED`` then); in the background, when the
    request is not needed any more. For a background fetch the caller's reference to ``oc`` is taken.

    :param stale: an expired object for a conditional fetch; stays the caller's
    :return: False: the request is to look again, for the object is one of the tier that is stale
    """
    hash_ = req.env.hash
    boc = hash_.ref_boc(oc)
    assert boc is not None
    bo = new_busy_object(wrk, req, mode.value)
    bo.uncacheable = bo.do_pass = mode is Mode.PASS
    bo.is_bgfetch = mode is Mode.BACKGROUND
    boc.transit_buffer = params.transit_buffer
    hash_.ref(oc)
    bo.objcore = oc
    if stale is not None:
        hash_.ref(stale)
        bo.stale_oc = stale
    bo.client_req = req
    bo.skip_tier = req.hash_always_miss or req.is_hitmiss
    bo.take_stale = not req.found_stale
    bo.grace_limit = req.d_grace
    # a fetch has deadlines at every wait of its own: ours for it always ends
    if not bo.is_bgfetch:
        req.settle()
        bo.borrows = True
        if _announces(req):
            bo.announce = partial(_announce, wrk, req)
        wrk.run_within(partial(run_fetch, bo=bo))
        boc.wait_state(BocState.STREAM, clock.NEVER, wrk)
    elif wrk.pool.schedule(partial(run_fetch, bo=bo), Priority.BG):
        boc.wait_state(BocState.REQ_DONE, clock.NEVER, wrk)
    else:
        wrk.stats.bgfetch_no_thread += 1
        bo.log.put(FETCH_ERROR, "No thread available for bgfetch")
        fail_fetch(wrk, bo)
        release_fetch(wrk, bo)
    now = clock.now()
    req.log.timestamp("Fetch", now)
    req.t_prev = now
    hash_.deref_boc(wrk, oc)
    if bo.is_bgfetch:
        hash_.deref(wrk, oc)
    req.found_stale = req.found_stale or bo.found_stale
    return not bo.found_stale
