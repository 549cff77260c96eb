"""The client state machine: what becomes of a request, from its first VCL step to its response (varnish's steps, by
name).

```
 transport -> recv -> lookup -> miss  -> fetch -> deliver -> transmit -> done
                |        |  `-> (hit) -----------^  |            ^
                |        `-> pass -> fetch          `-> synth ---'
                |-> pass, pipe, purge, synth        ... -> restart -> recv
```
Rules:

* A step is a function of worker and request that answers the name of the next step, or how the run ended. A step that
  hands the request to somebody else (a waiting list, a transport that sends by itself) must not touch it afterwards.
* Before each VCL method the client is asked for: when it has gone, VCL is not run any more, and the request fails fast.
* A VCL failure becomes a 503 through vcl_synth; a failure there becomes a bare status line.
* A defect of ours (any exception that a step lets through) is contained: traceback in the request's log, a counter,
  503.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock, perturb
from varnishpy.cache.hash import LOOKUP_BUSY, LOOKUP_HIT, LOOKUP_HIT_GRACE, Lookup
from varnishpy.cache.objcore import OC_BUSY, OC_FAILED, OC_PRIVATE
from varnishpy.http.coding import chosen
from varnishpy.http.received_head import ReceivedHead
from varnishpy.log.tag_numbers import (
    BOGO_HEADER,
    DEBUG,
    ERROR,
    HASH,
    HIT,
    HIT_MISS,
    HIT_PASS,
    REQ_METHOD,
    REQ_START,
    VCL_ERROR,
    VCL_USE,
)
from varnishpy.params import params
from varnishpy.params.codings import parse_codings
from varnishpy.request import bodystatus
from varnishpy.request.deliver import step_deliver, step_pump, step_synth, step_transmit
from varnishpy.request.fetch import Mode, start_fetch
from varnishpy.request.finish import leave
from varnishpy.request.groups import invalidate_groups, origin_of
from varnishpy.request.header_rules import COUNTED_METHODS, append, connection_options, last_hop
from varnishpy.request.pipe import step_pipe
from varnishpy.request.reqbody import ask_for_body, ignore_body, setup_body
from varnishpy.request.request import STEP_DISEMBARK, STEP_DONE, Request, Step
from varnishpy.request.rollback import rollback_request
from varnishpy.request.trace_context import enter_trace
from varnishpy.request.vclstep import run_vcl
from varnishpy.request.via import add_via, forwarded_field
from varnishpy.storage.boc import BOC_FINISHED
from varnishpy.vcl.context import digest

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.threads.worker import Worker
    from varnishpy.vcl.loader import Vcl


_SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_FORWARDING: Final = frozenset(("hash", "pass", "pipe"))


def run_request(wrk: Worker, req: Request) -> Step:
    """Run a request from where it stands.

    :returns: ``DONE``: the response was sent, or never will be; the transport goes on with ``req.doclose`` and calls
        `finish_request`. ``DISEMBARK``: the request is somewhere else and must not be touched: on a waiting list, or
        behind a slow client, whence `Transport.reembark` brings it back here, or with the transport, which will call
        `finish_request`.
    """
    if not req.started:
        _start(req)
    req.wrk = wrk
    before = wrk.subject  # the including request, the session
    wrk.subject = req
    try:
        result = _run(wrk, req, req.step)
    except Exception as exc:
        result = _contain(wrk, req, exc)
    wrk.subject = before
    if result is STEP_DONE:
        leave(wrk, req)
    return result


def _run(wrk: Worker, req: Request, name: str) -> Step:
    steps = _STEPS
    watched = params.debug.req_state or perturb.active
    while True:
        req.step = name
        if watched:
            _watch_step(req)
        # the steps of a hit by name: compiled, they are then called without a look-up
        if name == "recv":
            result = step_recv(wrk, req)
        elif name == "lookup":
            result = step_lookup(wrk, req)
        elif name == "deliver":
            result = step_deliver(wrk, req)
        elif name == "transmit":
            result = step_transmit(wrk, req)
        else:
            result = steps[name](wrk, req)
        if result is STEP_DONE or result is STEP_DISEMBARK:
            return result
        name = result


def _watch_step(req: Request) -> None:
    """For debug=+req_state and debug=+perturb: a step begins."""
    if params.debug.req_state:
        req.log.put(DEBUG, f"vxid {req.vxid} STP_{req.step} sp {id(req.sess):#x} vcl {id(req.vcl):#x}")
    perturb.pause()


def _start(req: Request) -> None:
    """The transport hands over: take a VCL, and the parameters that hold for the whole request."""
    req.started = True
    req.step = "transport"
    req.max_restarts = params.max_restarts
    if req.vcl is None:
        vcls = req.env.vcls
        assert vcls is not None
        vcl = req.vcl = vcls.active()
        req.log.put(VCL_USE, vcl.name)


def _contain(wrk: Worker, req: Request, exc: Exception) -> Step:
    """A defect showed: this request fails, nothing else does."""
    wrk.stats.req_contained += 1
    for entry in traceback.format_exception(exc):
        for line in entry.rstrip("\n").split("\n"):
            req.log.put(ERROR, line)
    tried = req.contained or req.delivering
    req.contained = True
    oc, req.objcore = req.objcore, None
    stale, req.stale_oc = req.stale_oc, None
    boc, req.boc = req.boc, None
    hash_ = req.env.hash
    if oc is not None:
        if boc is not None:
            hash_.deref_boc(wrk, oc)
        if oc.flags & OC_BUSY and oc.stobj is None and oc.refcount == 1:
            hash_.withdraw(wrk, oc)  # nobody fetches into it yet
        else:
            hash_.deref(wrk, oc)
    if stale is not None:
        hash_.deref(wrk, stale)
    if tried or req.vcl is None:
        req.delivering = False
        req.transport.fail(req, "TX_ERROR")
        return STEP_DONE
    req.err_code = 503
    req.err_reason = "Internal error"
    req.doclose = req.doclose or "VCL_FAILURE"
    try:
        return _run(wrk, req, "synth")
    except Exception as again:
        return _contain(wrk, req, again)


# -- transport, recv ---------------------------------------------------------------------------------------------------


def step_transport(wrk: Worker, req: Request) -> str | Step:
    """Look at what concerns this hop: Expect, Connection, the body; then keep a copy for restarts and ESI."""
    http = req.http
    http.log = req.log
    http.first_tag = REQ_METHOD
    headers = http.headers
    received = req.received
    if received is None:
        received = req.received = ReceivedHead(frozenset([header[0] for header in headers]))
    names = received.names
    if "expect" in names:
        expect = http.get("expect")
        if expect is not None and expect.lower() != "100-continue":
            req.doclose = "RX_JUNK"
            wrk.stats.client_req_417 += 1
            req.transport.minimal_response(wrk, req, 417)
            return STEP_DONE
        if http.proto != "HTTP/1.0":
            req.want100cont = True
        http.unset("expect")
    if "connection" in names or http.proto == "HTTP/1.0":
        reason, req.hop_headers = connection_options(http, "REQ_CLOSE")
        if reason == "RX_BAD":
            req.doclose = reason
            wrk.stats.client_req_400 += 1
            req.transport.minimal_response(wrk, req, 400)
            return STEP_DONE
        if req.doclose is None:
            req.doclose = reason
    if http.headers is not headers and received.records is not None:
        req.received = received.names_only()  # it is not as received any more
    if req.body is not None:
        setup_body(req)
    req.ws_snapshot = req.ws.snapshot()
    req.http0 = http.copy()
    return "recv"


def _prepare(req: Request, client: str) -> None:
    """Bring the request into the state in which vcl_recv expects it."""
    if req.restarts == 0:
        http = req.http
        received = req.received
        assert received is not None
        names = received.names
        if "x-forwarded-for" in names:
            append(http, "X-Forwarded-For", client)
        else:
            http.add_field(forwarded_field(client))
        add_via(http, req.env, req.http0.proto, "via" in names)
        if "cache-control" in names:
            http.collect("Cache-Control")
        vcl = req.vcl
        assert vcl is not None
        req.director_hint = vcl.default_director
        req.d_ttl = -1.0
        req.d_grace = -1.0
        req.disable_esi = False
        req.hash_always_miss = False
        req.found_stale = False
        req.hash_ignore_busy = False
        req.hash_ignore_vary = False
        req.client_identity = None
        req.storage_hint = None
        req.vcl_trace = params.feature.trace
        if params.feature.trace_context:
            enter_trace(req)
    req.is_hit = False
    req.is_hitmiss = False
    req.is_hitpass = False
    req.err_code = 0
    req.err_reason = None
    req.req_filter_list = None


def _repeated(req: Request) -> str | None:
    """A header that must not stand twice in what the client sent, and does."""
    host = length = 0
    for header in req.http0.headers:
        if header[0] == "host":
            host += 1
        elif header[0] == "content-length":
            length += 1
    return "Host" if host > 1 else "Content-Length" if length > 1 else None


def step_recv(wrk: Worker, req: Request) -> str | Step:
    """vcl_recv and vcl_hash."""
    log = req.log
    sess = req.sess
    client = sess.client_ip
    log.put(REQ_START, f"{client.ip} {client.port} {sess.listen.name} {sess.scheme}")
    received = req.received
    records = received.records if received is not None and not req.restarts else None
    if records is None:
        req.http.log_request()
    else:
        if received is not None and not received.whole:
            req.http.log_request_line()
        log.put_records(records)
    repeated = None
    if received is None or len(received.names) != len(req.http0.headers):  # some name stands there twice
        repeated = _repeated(req)
    if repeated is not None:
        log.put(BOGO_HEADER, f"Multiple {repeated}: headers")
        req.doclose = "RX_BAD"
        wrk.stats.client_req_400 += 1
        req.transport.minimal_response(wrk, req, 400)
        return STEP_DONE
    _prepare(req, client.ip)
    if req.body_status is bodystatus.ERROR:
        req.doclose = "OVERLOAD"
        return STEP_DONE

    action, ctx = run_vcl(wrk, req, "recv")
    if action == "fail":
        return "vclfail"
    if action == "vcl" and req.restarts == 0 and ctx is not None and ctx.selected is not None:
        _switch_vcl(wrk, req, *ctx.selected)
        _prepare(req, client.ip)
        action, ctx = run_vcl(wrk, req, "recv")
        if action == "fail":
            return "vclfail"
    if req.http.method in COUNTED_METHODS and _ends_here(req, action):
        # we are the recipient; nothing of the request is sent back, it may hold secrets that other proxies added
        req.err_code = 204 if req.http.method == "OPTIONS" else 501
        return "synth"
    if req.want100cont and not req.late100cont:
        ask_for_body(req)
        if req.doclose == "REM_CLOSE":
            return STEP_DONE
    if req.body_status is bodystatus.ERROR:  # vcl_recv tried to cache it
        req.doclose = "RX_BODY"
        if action == "synth":  # which says it better than we could
            return "synth"
        req.transport.minimal_response(wrk, req, 400)
        return STEP_DONE

    return _hash(wrk, req, action)


def _ends_here(req: Request, action: str) -> bool:
    """Must this OPTIONS or TRACE go no further? (RFC 9110 section 7.6.2)"""
    return action in _FORWARDING and last_hop(req.http) and not params.feature.cache_compat


def _hash(wrk: Worker, req: Request, action: str) -> str:
    """vcl_hash; ``action`` is what vcl_recv wants to happen then."""
    if action != "pipe" and action != "pass" and params.http_gzip_support:
        # one spelling for all clients, so that variants are as few as can be
        http = req.http
        coding = http.get("accept-encoding")
        if coding is not None and (coding != "gzip" or http.count("accept-encoding") > 1):
            # what is included must be in the coding of the page around it, and that is plain or gzip
            codings = parse_codings(params.http_codings) if req.topreq is req else ()
            one = chosen(http, codings)
            if one is not None:
                http.set("Accept-Encoding", one)
            else:
                http.unset("accept-encoding")

    parts: list[str] = []
    req.hash_parts = parts
    hashed, _ = run_vcl(wrk, req, "hash")
    if hashed == "fail":
        return "vclfail"
    if params.feature.no_vary_search:
        _without_search(req, parts)
    req.digest = digest(parts)
    return "lookup" if action == "hash" else _after_recv(req, action)


def _without_search(req: Request, parts: list[str]) -> None:
    """Take out of the URL that VCL has hashed what makes no difference to this resource."""
    url = req.http.url
    req.search = made = req.env.search.key_of(origin_of(req.http, req.sess.scheme), url)
    if made.rule is not None and url in parts:
        key = made.rule.key(url)
        req.log.put(HASH, key.partition("\0")[0])
        parts[:] = [key if part == url else part for part in parts]


def _after_recv(req: Request, action: str) -> str:
    if action == "hash":
        return "lookup"
    if action == "pipe":
        if req.topreq is not req:
            req.log.put(VCL_ERROR, "vcl_recv{} returns pipe for ESI included object.  Doing pass.")
            return "pass"
        if req.http0.proto not in ("HTTP/1.0", "HTTP/1.1"):
            req.log.put(VCL_ERROR, "vcl_recv{} returns pipe for HTTP/2 request.  Doing pass.")
            return "pass"
        return "pipe"
    if action == "vcl":
        why = "Not after restarts" if req.restarts else "Only from active VCL"
        req.log.put(VCL_ERROR, f"Illegal return(vcl): {why}")
        req.err_code = 503
        return "synth"
    return action  # pass, purge, synth, restart


def _switch_vcl(wrk: Worker, req: Request, selected: Vcl, label: str) -> None:
    """``return (vcl(label))``: start over with another VCL."""
    rollback_request(wrk, req)
    old = req.vcl
    selected.ref()
    req.vcl = selected
    if req.topreq is req:
        req.vcl0 = old  # includes start with it again
    elif old is not None:
        old.rel()
    req.log.put(VCL_USE, f"{selected.name} via {label}")


# -- the cache ---------------------------------------------------------------------------------------------------------


def step_lookup(wrk: Worker, req: Request) -> str | Step:
    """Ask the cache; a request that must wait for another's fetch leaves its thread here and comes back here."""
    waited = req.waiting_on is not None
    found, oc, busy = req.env.hash.lookup(wrk, req, req.digest)
    if found is LOOKUP_BUSY:
        return STEP_DISEMBARK
    req.catflap = None
    if waited:
        now = clock.now()
        req.log.timestamp("Waitinglist", now)
        req.t_prev = now
    if found is LOOKUP_HIT or found is LOOKUP_HIT_GRACE:
        assert oc is not None
        req.objcore = oc
        _log_hit(req, oc)
        return _hit(wrk, req, found, busy)
    if found is Lookup.MISS or found is Lookup.HITMISS:
        if found is Lookup.HITMISS and req.hitmiss_info is not None:
            xid, left = req.hitmiss_info
            req.log.put(HIT_MISS, f"{xid} {left:.6f}")
        req.objcore = busy
        req.stale_oc = oc
        req.is_hitmiss = found is Lookup.HITMISS
        req.was_stale = oc is not None and found is Lookup.MISS
        req.other_variant = busy is not None and busy.boc is not None and busy.boc.variant is not None
        return "miss"
    assert found is Lookup.HITPASS
    if req.hitmiss_info is not None:
        xid, left = req.hitmiss_info
        req.log.put(HIT_PASS, f"{xid} {left:.6f}")
    req.is_hitpass = True
    return "pass"


@lru_cache(256)
def _six(seconds: float) -> str:
    """Six decimals of what is the same for most objects."""
    return f"{seconds:.6f}"


def _log_hit(req: Request, oc: ObjectCore) -> None:
    """``Hit``; for an object that is still being fetched also how much of it has arrived, of how much."""
    left = oc.expires(req.d_ttl) - req.t_req
    text = "%d %.6f %s %s" % (oc.xid, left, _six(oc.grace), _six(oc.keep))  # noqa: UP031 - compiled, it costs a third
    boc = oc.boc
    if boc is not None and boc.state < BOC_FINISHED and oc.stobj is not None:
        length = oc.stobj.headers.get("content-length")
        text += f" {boc.fetched_so_far}" if length is None else f" {boc.fetched_so_far} {length}"
    req.log.put(HIT, text)


def _hit(wrk: Worker, req: Request, found: Lookup, busy: ObjectCore | None) -> str:
    """vcl_hit; ``busy`` is ours to fetch in the background, if not None."""
    action, _ = run_vcl(wrk, req, "hit")
    if action == "deliver":
        if busy is not None:
            start_fetch(wrk, req, busy, req.objcore, Mode.BACKGROUND)
            wrk.stats.s_fetch += 1
            wrk.stats.s_bgfetch += 1
        elif req.body is not None:
            ignore_body(req)
        wrk.stats.cache_hit += 1
        if found is LOOKUP_HIT_GRACE:
            wrk.stats.cache_hit_grace += 1
        req.is_hit = True
        return "deliver"
    if action == "pass":
        wrk.stats.cache_hit += 1
        req.is_hit = True
    hash_ = req.env.hash
    oc, req.objcore = req.objcore, None
    assert oc is not None
    hash_.deref(wrk, oc)
    if busy is not None:
        hash_.withdraw(wrk, busy)
    return "vclfail" if action == "fail" else action  # restart, synth, pass


def step_miss(wrk: Worker, req: Request) -> str:
    """vcl_miss."""
    action, _ = run_vcl(wrk, req, "miss")
    hash_ = req.env.hash
    oc = req.objcore
    stale = req.stale_oc
    assert oc is not None
    if action == "fetch":
        wrk.stats.cache_miss += 1
        if not start_fetch(wrk, req, oc, stale, Mode.NORMAL):
            req.objcore = None
            hash_.deref(wrk, oc)
            return "lookup"
    if stale is not None:
        req.stale_oc = None
        hash_.deref(wrk, stale)
    if action == "fetch":
        return "fetch"
    req.objcore = None
    hash_.withdraw(wrk, oc)
    return "vclfail" if action == "fail" else action  # synth, restart, pass


def step_pass(wrk: Worker, req: Request) -> str:
    """vcl_pass."""
    action, _ = run_vcl(wrk, req, "pass")
    if action == "fetch":
        wrk.stats.s_pass += 1
        req.objcore = oc = req.env.hash.insert_private(wrk)
        start_fetch(wrk, req, oc, None, Mode.PASS)
        return "fetch"
    return "vclfail" if action == "fail" else action  # synth, restart


def _invalidate(wrk: Worker, req: Request, oc: ObjectCore) -> None:
    """What a request with an unsafe method has changed is not what is stored (RFC 9111 section 4.4, RFC 9875)."""
    assert oc.stobj is not None
    answer = oc.stobj.headers
    if not 200 <= answer.status < 400:
        return
    hash_ = req.env.hash
    if params.feature.invalidate:
        wrk.stats.n_invalidated += hash_.purge(wrk, req.digest, clock.now(), 0.0, 0.0, 0.0)
    if params.feature.cache_groups:
        wrk.stats.n_invalidated += invalidate_groups(hash_.keys, req.http, answer, req.sess.scheme)


def step_fetch(wrk: Worker, req: Request) -> str:
    """A fetch has come far enough to deliver from, or has failed."""
    wrk.stats.s_fetch += 1
    ignore_body(req)
    oc = req.objcore
    assert oc is not None
    if oc.flags & OC_FAILED:
        req.err_code = 503
        req.objcore = None
        req.env.hash.deref(wrk, oc)
        return "synth"
    if req.http0.method not in _SAFE_METHODS and oc.flags & OC_PRIVATE:
        _invalidate(wrk, req, oc)
    return "deliver"


def step_purge(wrk: Worker, req: Request) -> str:
    """Take all variants out of the cache, then vcl_purge."""
    req.env.hash.purge(wrk, req.digest, req.t_req, 0.0, 0.0, 0.0)
    action, _ = run_vcl(wrk, req, "purge")
    tier = req.env.tier
    if tier is not None and req.err_code == 200 and not tier.has_told_all:
        req.err_code, req.err_reason = 202, None  # done here; the other nodes will hear of it
    return "vclfail" if action == "fail" else action  # synth, restart


# -- starting over, giving up ------------------------------------------------------------------------------------------


def step_restart(wrk: Worker, req: Request) -> str:
    """Begin anew, as another transaction, with what VCL has made of the request."""
    req.restarts += 1
    log = req.log
    if req.restarts > req.max_restarts:
        log.put(VCL_ERROR, "Too many restarts")
        req.err_code = 503
        return "synth"
    now = clock.now()
    log.timestamp("Restart", now)
    req.t_prev = now
    req.vxid = wrk.next_vxid()
    log.change_id("req", "restart", req.vxid)
    log.timestamp("Start", now)
    req.err_code = 0
    return "recv"


def step_vclfail(wrk: Worker, req: Request) -> str:
    """VCL failed: nothing that it did to the request counts any more."""
    rollback_request(wrk, req)
    if req.req_reset:
        req.err_code = 408
        req.err_reason = "Client disconnected"
    else:
        req.err_code = 503
        req.err_reason = "VCL failed"
    req.doclose = "VCL_FAILURE"
    return "synth"


_STEPS: Final[dict[str, Callable[[Worker, Request], str | Step]]] = {
    "transport": step_transport,
    "recv": step_recv,
    "lookup": step_lookup,
    "miss": step_miss,
    "pass": step_pass,
    "fetch": step_fetch,
    "purge": step_purge,
    "pipe": step_pipe,
    "deliver": step_deliver,
    "synth": step_synth,
    "transmit": step_transmit,
    "pump": step_pump,
    "restart": step_restart,
    "vclfail": step_vclfail,
}
