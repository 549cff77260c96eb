"""Steps of a fetch, second half: judge the response, store it, and what happens when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy import log as vsl
from varnishpy.backends.body import ChunkedBody
from varnishpy.backends.errors import FetchError
from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.cache.objcore import OC_ASK, OC_DYING, OC_FAILED, OC_HFM, OC_HFP, OC_TRANSIENT
from varnishpy.http.dates import format_date
from varnishpy.http.freshness import current_policy, may_serve_on_error
from varnishpy.http.ranges import RangeError, check_partial
from varnishpy.http.status import reason
from varnishpy.log.tag_numbers import DEBUG, ERROR, EXP_KILL, FETCH_BODY, FILTERS, NOTICE, VCL_ERROR
from varnishpy.params import params
from varnishpy.request import bodystatus
from varnishpy.request.conditional import strong_last_modified
from varnishpy.request.fetchstate import cleanup, error_once, set_state, state_of, storage_failed, timestamp
from varnishpy.request.filters import FilterError, default_fetch_filters, fetch_processors
from varnishpy.request.storing import copy_body, merge_stale, store_headers, take_over_stale
from varnishpy.request.tiering import offer
from varnishpy.request.vclstep import run_backend_vcl
from varnishpy.request.vfp import FETCH_NAMES, FetchContext, FetchStack
from varnishpy.request.via import SERVER
from varnishpy.storage.boc import Abandoned, BocState
from varnishpy.storage.object import ObjectFlag, StoredObject
from varnishpy.storage.room import NoSpace, StorageError

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.worker import Worker


_ERRORS: Final = frozenset((500, 502, 503, 504))  # RFC 5861 section 4
_READ: Final = 65536  # octets asked of the backend at a time
_BORROWED: Final = 65536  # octets after which a fetch must not keep its client waiting any longer
_GIVE_UP: Final = frozenset(("abandon", "fail", "error"))


# -- judging -----------------------------------------------------------------------------------------------------------


def step_judge(wrk: Worker, bo: BusyObject) -> str:
    """vcl_backend_refresh for a 304, then vcl_backend_response."""
    beresp = bo.beresp
    action = ""
    if beresp.status == 304 and not bo.uncacheable:
        if bo.stale_oc is None:
            bo.log.put(ERROR, "304 response but not conditional fetch")
            bo.doclose = "RX_BAD"
            cleanup(bo)
            return "error"
        action = _refresh(wrk, bo, bo.stale_oc)
    if bo.doclose is None and bo.bereq.has_token("connection", "close"):
        bo.doclose = "REQ_CLOSE"
    if action not in _GIVE_UP and action != "retry":
        action = run_backend_vcl(wrk, bo, "backend_response")
    if bo.doclose is None and beresp.has_token("connection", "close"):
        bo.doclose = "RESP_CLOSE"
    if not _range_fits(bo):
        cleanup(bo)
        return "error"
    if action in _GIVE_UP:
        return _give_up(bo, action)
    if action == "retry":
        return _retry(bo)
    timestamp(bo, "Process")
    if beresp.status in _ERRORS and _stale_serves(bo, False):
        return _use_stale(wrk, bo)
    if state_of(bo) < BocState.REQ_DONE:
        set_state(wrk, bo, BocState.REQ_DONE)
    _settle(bo, action)
    return "condfetch" if bo.was_304 else "fetch"


def _refresh(wrk: Worker, bo: BusyObject, stale: ObjectCore) -> str:
    """A 304: what vcl_backend_refresh says, and a head made of that and the stored one."""
    bo.was_304 = True
    action = run_backend_vcl(wrk, bo, "backend_refresh")
    if action == "merge":
        merge_stale(bo)
    elif action == "beresp":
        take_over_stale(bo)
    elif action == "obj_stale":
        assert stale.stobj is not None
        _take_head(bo, stale.stobj)
    return action


def _give_up(bo: BusyObject, action: str) -> str:
    """VCL does not want the response."""
    bo.doclose = "RESP_CLOSE"
    cleanup(bo)
    if action == "error":
        bo.failed = bo.failed or "error"  # asked for, not failed: not counted
        return "error"
    return "fail"


def _retry(bo: BusyObject) -> str:
    """VCL wants another response."""
    if bo.body_reader is not None and bo.body_reader.kind != "none":
        bo.doclose = "RESP_CLOSE"
    cleanup(bo)
    bo.retries += 1
    if bo.retries <= bo.max_retries:
        return "retry"
    bo.log.put(VCL_ERROR, "Too many retries, delivering 503")
    bo.failed = None
    return "error"


def _settle(bo: BusyObject, action: str) -> None:
    """What VCL has decided about the object, in its flags."""
    oc = bo.objcore
    assert oc is not None and oc.boc is not None
    if bo.do_esi:
        bo.do_stream = False
    if action == "pass":
        oc.flags |= OC_HFP
        bo.uncacheable = True
    if not bo.uncacheable or not bo.do_stream:
        oc.boc.transit_buffer = 0
    elif bo.transit_buffer is not None:
        oc.boc.transit_buffer = bo.transit_buffer
    if bo.uncacheable:
        oc.flags |= OC_HFM
    elif oc.ttl <= 0.0 and oc.grace <= 0.0 and oc.keep > 0.0 and params.feature.no_cache:
        oc.flags |= OC_ASK


def _range_fits(bo: BusyObject) -> bool:
    """A response to a range must be what was asked for."""
    if not params.http_range_support or (bo.beresp.status not in (206, 416) and not params.feature.cache_compat):
        return True
    length = bo.beresp.get("content-length")
    size = -1
    if length is not None:
        if not length.isdecimal():
            bo.log.put(ERROR, "Invalid content-length header")
            return False
        size = int(length)
    try:
        remark = check_partial(bo.bereq, bo.beresp, size)
    except RangeError as exc:
        bo.log.put(ERROR, str(exc))
        return False
    if remark is not None and bo.bereq.has("range"):
        bo.log.put(DEBUG, remark)
    return True


# -- the body ----------------------------------------------------------------------------------------------------------


def step_fetch(wrk: Worker, bo: BusyObject) -> str:
    """Open the processors, store the headers, let the client have them if it may."""
    oc = bo.objcore
    reader = bo.body_reader
    assert oc is not None
    if not bo.director_open or reader is None:
        error_once(bo, "No backend connection (rollback?)")
        cleanup(bo)
        return "error"
    beresp = bo.beresp
    if reader.kind == "none" or reader.length == 0:
        if bo.bereq.method != "HEAD":  # whose fields speak of the GET's body
            beresp.unset("content-encoding")
        bo.do_gzip = bo.do_gunzip = False
        bo.do_stream = False
        names = ""
    elif bo.filter_list is None:
        names = default_fetch_filters(bo)
    else:
        names = bo.filter_list
    bo.log.put(FILTERS, names)
    fetch_context = bo.vfp_context = FetchContext(bo.log, bo.bereq, beresp, wrk.stats, bo.vcl)
    bo.held = None
    bo.stack = stack = FetchStack(fetch_context, reader, FETCH_NAMES.get(reader.kind, ""))
    if names:
        try:
            processors = fetch_processors(names, bo.vcl)
        except FilterError as unknown:
            error_once(bo, str(unknown))
            bo.doclose = "OVERLOAD"
            cleanup(bo)
            return "error"
        try:
            stack.open(processors)
        except FetchError as failure:
            bo.failed = bo.failed or str(failure)
            bo.doclose = "RX_BODY"
            cleanup(bo)
            return "error"
    try:
        stobj = store_headers(wrk, bo)
    except StorageError as full:
        storage_failed(bo, full)
        bo.doclose = "RX_BODY"
        cleanup(bo)
        return "error"
    stobj.flags |= fetch_context.flags
    if bo.uncacheable and reader.kind == "chunked" and params.experimental.pass_trailers:
        stobj.trailers = []
    validator = beresp.has("etag") or strong_last_modified(beresp) is not None
    if validator and beresp.status == 200 and not oc.flags & OC_HFM:
        stobj.flags |= ObjectFlag.IMSCAND
    status = bodystatus.BY_KIND.get(reader.kind, bodystatus.NO_BODY)
    streams = bo.do_stream
    bo.log.put(FETCH_BODY, f"{status.number} {status.name} {'stream' if streams else '-'}")
    if streams:
        set_state(wrk, bo, BocState.STREAM)
    return "fetchend" if reader.kind == "none" else "fetchbody"


def step_fetchbody(wrk: Worker, bo: BusyObject) -> str:
    """Read the body into storage; whoever may read it is woken piece by piece.

    A fetch too far ahead of its only reader leaves its thread ("pause") and comes back here.
    """
    oc = bo.objcore
    assert oc is not None and oc.boc is not None
    boc = oc.boc
    stack = present(bo.stack, "a body comes through processors")
    resume = present(bo.resume, "a fetch can go on after a pause")
    reader = present(bo.body_reader, "a body is read")
    context = present(bo.vfp_context, "processors have a context")
    context.stats = wrk.stats  # it may be another one than before
    reader.moved_to(wrk)
    limited = boc.transit_buffer > 0
    judged = stack.plain()  # nobody has anything to say of the body but its reader
    stobj = present(oc.stobj, "a body goes into an object")
    try:
        stobj.expect(reader.length if reader.kind == "length" else 0)
        while True:
            if bo.borrows and bo.do_stream and (reader.octets >= _BORROWED or not reader.is_at_hand()):
                bo.borrows = False
                resume()
                return "pause"
            if not boc.wants_more(resume):
                return "pause"  # it may be running on another thread already
            if not reader.complete:
                boc.ask_room(_READ)
            data = stack.read(_READ) if bo.held is None else bo.held
            bo.held = None
            if not data:
                break
            if not judged and reader.complete:
                # All has arrived, but a processor may yet say that it does not hold together (a gzip stream without
                # its end). Where the length is known a client would take the last octets for the end: hold them back.
                bo.held = stack.read(_READ)
            boc.extend(data, wrk)
            if limited:
                wrk.stats.transit_buffered += len(data)
            elif oc.is_transient:
                wrk.stats.transit_stored += len(data)
        stobj.add_attributes(context.attrs)
    except Abandoned:
        # nobody reads on; the object stands, so that it can tell later requests not to wait for each other
        bo.log.put(DEBUG, "Fetch: Pass delivery abandoned")
        bo.doclose = "RX_BODY"
        return "fetchend"
    except FetchError as failure:
        bo.failed = bo.failed or str(failure)
    except NoSpace as full:
        storage_failed(bo, full)
    else:
        return "fetchend"
    bo.doclose = "RX_BODY"
    cleanup(bo)
    if not bo.do_stream:
        return "error"
    wrk.stats.fetch_failed += 1
    return "fail"


def step_fetchend(wrk: Worker, bo: BusyObject) -> str:
    """The object is complete."""
    oc = bo.objcore
    assert oc is not None
    stobj = oc.stobj
    if stobj is not None and stobj.trailers is not None and isinstance(bo.body_reader, ChunkedBody):
        stobj.trailers = bo.body_reader.trailers
    cleanup(bo)  # first the connection, so that who learns of the end finds it reusable
    set_state(wrk, bo, BocState.FINISHED)  # trims the body, with the lock held that its readers take
    timestamp(bo, "BerespBody")
    if bo.ticket is not None:
        offer(wrk, bo)
    stale = bo.stale_oc
    if stale is not None:
        vsl.vsl(EXP_KILL, 0, f"VBF_Superseded x={stale.xid} n={oc.xid}")
        bo.env.hash.replace(stale, oc)
    return "done"


def step_condfetch(wrk: Worker, bo: BusyObject) -> str:
    """The origin says that nothing has changed: make the new object from the stale one's body."""
    oc = bo.objcore
    stale = bo.stale_oc
    assert oc is not None and oc.boc is not None and stale is not None
    hash_ = bo.env.hash
    stale_boc = hash_.ref_boc(stale)
    if stale_boc is not None:
        bo.log.put(NOTICE, "vsl: Conditional fetch wait for streaming object")
        stale_boc.wait_state(BocState.FINISHED, clock.NEVER, wrk)
        hash_.deref_boc(wrk, stale)
    old = stale.stobj
    if stale.flags & OC_FAILED or old is None:
        error_once(bo, "Template object failed")
        cleanup(bo)
        wrk.stats.fetch_failed += 1
        return "fail"
    try:
        stobj = store_headers(wrk, bo)
        for name in ("ESIDATA", "GZIPBITS"):
            if name in old.attrs:
                stobj.attrs[name] = old.attrs[name]
        stobj.flags = old.flags
        if oc.flags & OC_HFM:
            stobj.flags &= ~ObjectFlag.IMSCAND
        if bo.do_stream:
            set_state(wrk, bo, BocState.STREAM)
        copy_body(wrk, oc.boc, old)
    except StorageError as exc:
        storage_failed(bo, exc)
        cleanup(bo)
        wrk.stats.fetch_failed += 1
        return "fail"
    return "fetchend"


def _stale_serves(bo: BusyObject, cut_off: bool) -> bool:
    """May the object that should have been replaced be delivered once more? (``feature=+stale_if_error``)

    :param cut_off: there was no answer at all
    """
    stale = bo.stale_oc
    if not params.feature.stale_if_error or stale is None or bo.is_bgfetch or stale.stobj is None:
        return False
    if bo.do_pass or stale.flags & (OC_DYING | OC_TRANSIENT | OC_FAILED):
        return False
    expired_since = clock.now() - stale.expires()
    grace = params.default_grace if cut_off else 0.0
    return may_serve_on_error(stale.stobj.headers, expired_since, grace, current_policy())


def _use_stale(wrk: Worker, bo: BusyObject) -> str:
    """Make the new object a copy of the stale one, just as old as that."""
    oc, stale = bo.objcore, bo.stale_oc
    assert oc is not None and stale is not None and stale.stobj is not None
    bo.log.put(NOTICE, f"vsl: Stale object {stale.xid} in place of a {bo.beresp.status}")
    wrk.stats.fetch_stale += 1
    cleanup(bo)
    _take_head(bo, stale.stobj)
    bo.uncacheable = False
    oc.t_origin, oc.ttl, oc.grace, oc.keep = stale.t_origin, stale.ttl, stale.grace, stale.keep
    if state_of(bo) < BocState.REQ_DONE:
        set_state(wrk, bo, BocState.REQ_DONE)
    return "condfetch"


def _take_head(bo: BusyObject, stobj: StoredObject) -> None:
    """The response is what is stored already."""
    beresp = bo.beresp
    beresp.method, beresp.url = "", ""
    beresp.proto, beresp.status, beresp.reason = stobj.headers.proto, stobj.headers.status, stobj.headers.reason
    beresp.headers = stobj.headers.headers.copy()
    beresp.log_response()


# -- failure -----------------------------------------------------------------------------------------------------------


def step_error(wrk: Worker, bo: BusyObject) -> str:
    """vcl_backend_error makes a response in place of the one that could not be had."""
    oc = bo.objcore
    env = bo.env
    assert oc is not None and oc.boc is not None
    if bo.failed != "error":
        wrk.stats.fetch_failed += 1
    bo.failed = None
    now = timestamp(bo, "Error")
    if oc.stobj is not None:
        env.hash.drop_stobj(wrk, oc)
        oc.boc.fetched_so_far = 0
    if bo.storage_hint is None:
        bo.storage_hint = env.default_stevedore if env.next_stevedore is None else env.next_stevedore()
    beresp = bo.beresp
    beresp.headers = []
    beresp.failed = False
    beresp.set_proto("HTTP/1.1")
    if bo.err_code > 0:
        beresp.set_status(bo.err_code)
        beresp.set_reason(bo.err_reason or reason(bo.err_code))
    else:
        beresp.set_status(503)
        beresp.set_reason("Backend fetch failed")
    beresp.add("Date", format_date(now))
    beresp.set_field(SERVER)
    oc.t_origin = now
    oc.ttl = oc.grace = oc.keep = 0.0
    bo.synth_body.clear()
    action = run_backend_vcl(wrk, bo, "backend_error")
    if action in ("abandon", "fail"):
        return "fail"
    if action == "retry":
        bo.retries += 1
        if bo.retries <= bo.max_retries:
            return "retry"
        bo.log.put(VCL_ERROR, "Too many retries, failing")
        return "fail"
    if beresp.status in _ERRORS and _stale_serves(bo, True):
        return _use_stale(wrk, bo)
    try:
        store_headers(wrk, bo)
        oc.boc.transit_buffer = 0
        oc.boc.extend(b"".join(bo.synth_body), wrk)
    except StorageError as exc:
        storage_failed(bo, exc)
        return "fail"
    bo.synth_body.clear()
    stale = bo.stale_oc
    if stale is not None and oc.ttl > 0:
        env.hash.kill(stale)
    set_state(wrk, bo, BocState.FINISHED)
    return "done"


def step_fail(wrk: Worker, bo: BusyObject) -> str:
    """There is no response, or none that could be completed."""
    cleanup(bo)
    fail_fetch(wrk, bo)
    return "done"


def fail_fetch(wrk: Worker, bo: BusyObject) -> None:
    """Tell everybody who waits for this fetch that it failed."""
    assert bo.objcore is not None
    set_state(wrk, bo, BocState.FAILED)
    bo.env.hash.kill(bo.objcore)
