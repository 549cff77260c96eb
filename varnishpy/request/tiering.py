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
from varnishpy.request.fetchstate import set_state, timestamp
from varnishpy.request.storing import allocate, log_stored, stored_size
from varnishpy.storage.boc import BocState
from varnishpy.storage.room import StorageError
from varnishpy.tier.errors import TierError
from varnishpy.tier.reading import Wanted

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.worker import Worker
    from varnishpy.tier.node import Tier
    from varnishpy.tier.reading import FoundObject

_NEVER: Final = OC_HFM | OC_HFP | OC_PRIVATE | OC_DYING | OC_FAILED | OC_ASK
_PERSONAL: Final = frozenset(("private", "no-store"))
_PARTS: Final = frozenset((206, 304, 416))  # of no use to anybody else


def step_tier(wrk: Worker, bo: BusyObject) -> str:
    """Ask the tier; what it does not have, the origin is asked for."""
    tier = present(bo.env.tier, "this step is for nodes with a tier")
    ticket = bo.ticket = tier.begin(bo.digest)
    stale = bo.stale_oc
    matches = partial(_matches, bo.bereq0)
    wanted = Wanted(bo.digest, matches) if stale is None else Wanted(bo.digest, matches, stale.t_origin)
    loaded = False
    try:
        with wrk.blocking():
            if bo.skip_tier:
                tier.get(ticket, wanted)  # for what a store must know
            else:
                found = tier.get_or_lease(ticket, wanted)
                loaded = found is not None and _load(wrk, bo, tier, found)
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


def _matches(request: Message, spec: bytes | None) -> bool:
    return spec is None or vary.match(spec, request, params.http_gzip_support)


def _load(wrk: Worker, bo: BusyObject, tier: Tier, found: FoundObject) -> bool:
    """Make the object from what was found, to its last octet; nobody sees it yet.

    :raises TierError: the engine failed on the way
    """
    oc = present(bo.objcore, "a fetch has an object")
    boc = present(oc.boc, "whose fetch is not over")
    env = bo.env
    variant, head = found.variant, found.head
    oc.t_origin, oc.ttl, oc.grace, oc.keep = found.t_origin, variant.ttl, variant.grace, variant.keep
    bo.storage_hint = env.default_stevedore if env.next_stevedore is None else env.next_stevedore()
    fine = False
    try:
        headers = [(name.lower(), name, value) for name, value in head.headers]
        stored = Message()
        stored.proto, stored.status, stored.reason, stored.headers = head.proto, head.status, head.reason, headers
        stobj = allocate(wrk, bo, stored_size(stored, headers), len(headers))
        stobj.headers = stored
        stobj.attrs.update(head.attrs)
        oc.vary = variant.vary
        if variant.vary is not None:
            stobj.attrs["VARY"] = variant.vary
        stobj.flags = variant.flags
        stobj.last_modified = head.last_modified
        oc.xid = bo.vxid
        boc.transit_buffer = 0
        for piece in found.body():
            boc.extend(bytes(piece), wrk)
        if tier.is_banned(variant.position, oc, bo.bereq0):
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
