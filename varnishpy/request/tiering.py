"""The shared tier in the life of a fetch: asked before the origin, and given what the origin answered.

To everybody else an object from the tier is one that was fetched: those who wait for it wait, Vary, grace and
conditional requests are what they are. VCL is not run again for it: what vcl_backend_response made of it is what was
stored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy.base.panic import present
from varnishpy.cache import vary
from varnishpy.cache.objcore import OC_ASK, OC_DYING, OC_FAILED, OC_HFM, OC_HFP, OC_PRIVATE
from varnishpy.http.control import names_in
from varnishpy.http.message import Message
from varnishpy.log.tag_numbers import NOTICE
from varnishpy.params import params
from varnishpy.request.bereq import make_conditional
from varnishpy.request.fetchstate import set_state, timestamp
from varnishpy.request.storing import allocate, log_stored, stored_size
from varnishpy.storage.boc import BocState
from varnishpy.storage.object import ObjectFlag
from varnishpy.storage.room import StorageError
from varnishpy.tier.errors import TierError
from varnishpy.tier.reading import Wanted

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.storage.object import StoredObject
    from varnishpy.threads.worker import Worker
    from varnishpy.tier.node import Tier
    from varnishpy.tier.reading import FoundObject

_NEVER: Final = OC_HFM | OC_HFP | OC_PRIVATE | OC_DYING | OC_FAILED | OC_ASK
_PERSONAL: Final = frozenset(("private", "no-store"))
_PARTS: Final = frozenset((206, 304, 416))  # of no use to anybody else


def step_tier(wrk: Worker, bo: BusyObject) -> str:
    """Ask the tier; what it does not have, the origin is asked for.

    An object that is stale there is treated as one that is stale here: in grace it is put into the cache, and the
    request looks again; beyond that it makes the request to the origin conditional.
    """
    tier = present(bo.env.tier, "this step is for nodes with a tier")
    ticket = bo.ticket = tier.begin(bo.digest)
    loaded = False
    try:
        with wrk.blocking():
            if bo.skip_tier:
                tier.get(ticket, Wanted(bo.digest, lambda spec: False))  # for what a store must know
            else:
                found = tier.get_or_lease(ticket, _wanted(bo))
                loaded = found is not None and _take(wrk, bo, tier, found)
    except TierError as exc:
        bo.log.put(NOTICE, f"tier: {exc}")
    timestamp(bo, "Tier")
    if not loaded:
        if not bo.skip_tier:
            tier.counters.inc("miss")
        return "startfetch"
    tier.counters.inc("hit")
    ticket.loaded = True
    set_state(wrk, bo, BocState.STREAM)
    return "fetchend"


def _wanted(bo: BusyObject) -> Wanted:
    matches = partial(_matches, bo.bereq0)
    stale = bo.stale_oc
    if stale is None:
        return Wanted(bo.digest, matches, stale=bo.take_stale and not bo.is_bgfetch)
    return Wanted(bo.digest, matches, stale.t_origin)


def _matches(request: Message, spec: bytes | None) -> bool:
    return spec is None or vary.match(spec, request, params.http_gzip_support)


def _take(wrk: Worker, bo: BusyObject, tier: Tier, found: FoundObject) -> bool:
    """Make use of what was found; whether it is the answer. :raises TierError: the engine failed on the way"""
    variant = found.variant
    expired_for = tier.times.now_there() - variant.fresh_until
    limit = bo.grace_limit
    grace = min(variant.grace, limit) if limit >= 0.0 else variant.grace
    if expired_for <= grace:
        loaded = _load(wrk, bo, tier, found)
        bo.found_stale = loaded and expired_for >= 0.0
        return loaded
    if variant.flags & ObjectFlag.IMSCAND and variant.length:
        _load_stale(wrk, bo, tier, found)
    return False


def _load(wrk: Worker, bo: BusyObject, tier: Tier, found: FoundObject) -> bool:
    """Make the object from what was found, to its last octet; nobody sees it yet.

    :raises TierError: the engine failed on the way
    """
    oc = present(bo.objcore, "a fetch has an object")
    boc = present(oc.boc, "whose fetch is not over")
    env = bo.env
    _take_times(oc, found)
    bo.storage_hint = env.default_stevedore if env.next_stevedore is None else env.next_stevedore()
    fine = False
    try:
        stored = _first_line_and_headers(found)
        stobj = allocate(wrk, bo, stored_size(stored, stored.headers), len(stored.headers))
        _fill(wrk, oc, stobj, stored, found)
        oc.xid = bo.vxid
        if tier.is_banned(found.variant.position, oc, bo.bereq0):
            tier.counters.inc("invalid")
            return False
        log_stored(bo.log, stored)
        fine = True
    except StorageError as exc:
        bo.log.put(NOTICE, f"tier: {exc}")
    finally:
        if not fine:
            env.hash.drop_stobj(wrk, oc)
            boc.fetched_so_far = 0
            oc.vary = None
            oc.t_origin = oc.ttl = oc.grace = oc.keep = 0.0
    return fine


def _load_stale(wrk: Worker, bo: BusyObject, tier: Tier, found: FoundObject) -> None:
    """What was found is kept for a conditional request: an object that no lookup finds, until the origin has answered.

    :raises TierError: the engine failed on the way
    """
    env = bo.env
    oc = env.hash.insert_private(wrk)
    boc = present(oc.boc, "a new object core has one")
    fine = False
    try:
        _take_times(oc, found)
        stored = _first_line_and_headers(found)
        transient = present(env.transient, "there is always Transient")
        stobj = transient.new_object(oc, stored_size(stored, stored.headers), len(stored.headers))
        _fill(wrk, oc, stobj, stored, found)
        fine = not tier.is_banned(found.variant.position, oc, bo.bereq0)
    except StorageError as exc:
        bo.log.put(NOTICE, f"tier: {exc}")
    finally:
        boc.set_state(BocState.FINISHED if fine else BocState.FAILED)
        env.hash.deref_boc(wrk, oc)
        if not fine:
            env.hash.deref(wrk, oc)
    if not fine:
        tier.counters.inc("invalid")
        return
    tier.counters.inc("stale")
    bo.stale_oc = oc
    before = len(bo.bereq0.headers)
    make_conditional(bo)
    bo.bereq.headers += bo.bereq0.headers[before:]
    bo.ws_snapshot = bo.ws.snapshot()


def _take_times(oc: ObjectCore, found: FoundObject) -> None:
    variant = found.variant
    oc.t_origin, oc.ttl, oc.grace, oc.keep = found.t_origin, variant.ttl, variant.grace, variant.keep


def _first_line_and_headers(found: FoundObject) -> Message:
    head = found.head
    stored = Message()
    stored.proto, stored.status, stored.reason = head.proto, head.status, head.reason
    stored.headers = [(name.lower(), name, value) for name, value in head.headers]
    return stored


def _fill(wrk: Worker, oc: ObjectCore, stobj: StoredObject, stored: Message, found: FoundObject) -> None:
    """Everything that the tier has of an object. :raises TierError: :raises StorageError:"""
    head, spec = found.head, found.variant.vary
    stobj.headers = stored
    stobj.attrs.update(head.attrs)
    oc.vary = spec
    if spec is not None:
        stobj.attrs["VARY"] = spec
    stobj.flags = found.variant.flags
    stobj.last_modified = head.last_modified
    boc = present(oc.boc, "it is being made")
    boc.transit_buffer = 0
    for piece in found.body():
        boc.extend(bytes(piece), wrk)


def offer(wrk: Worker, bo: BusyObject) -> None:
    """A fetch is complete: have its object stored, if it is one that others may have."""
    tier, ticket, oc = bo.env.tier, bo.ticket, bo.objcore
    if tier is None or ticket is None or ticket.loaded or oc is None or oc.stobj is None:
        return
    stobj = oc.stobj
    if oc.flags & _NEVER or bo.uncacheable or oc.ttl <= 0.0 or oc.ttl + oc.grace + oc.keep < params.shortlived:
        return
    if stobj.incomplete or stobj.length > params.tier_max_object or stobj.headers.status in _PARTS:
        return
    if wants_tier(bo) and _is_shared(stobj.headers):
        tier.put(ticket, oc, wrk)


def wants_tier(bo: BusyObject) -> bool:
    """``beresp.tier``: what VCL said, else whether the request had no Authorization."""
    return bo.tier if bo.tier is not None else not bo.bereq.has("authorization")


def _is_shared(response: Message) -> bool:
    """Neither private nor setting cookies, whatever VCL made of its times."""
    if response.has("set-cookie"):
        return False
    return not _PERSONAL & names_in(response.joined("cache-control") or "")
