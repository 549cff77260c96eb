"""The waiting list of an object head: requests that wait for somebody else's fetch.

A request on the list belongs to it. When an object becomes available, ``rush_exponent`` waiters are woken, and each
that looks up again wakes as many, so that no thread wakes thousands. After a failed or withdrawn fetch one is woken, to
try it himself. Who is woken holds a reference to the object, and is handed to its transport outside of the head's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from varnishpy import log, stats
from varnishpy.cache.objcore import OC_FAILED, OC_WITHDRAWN, ObjectCore
from varnishpy.cache.objhead import ObjectHead, WaitEntry
from varnishpy.log.tag_numbers import DEBUG
from varnishpy.params import params
from varnishpy.stats import Counting

if TYPE_CHECKING:
    from varnishpy.cache.asking import Asking


def join(wrk: Counting, head: ObjectHead, req: Asking) -> None:
    """Put a request on the list; the head's lock is held, and the request is not the caller's any more.

    One that must `Asking.settle` before it may wait stays the caller's, who does that without the lock and comes back.
    """
    if req.before_wait is not None:
        return
    entry = WaitEntry(req, head, head.generation)
    if head.waiting is None:
        head.waiting = OrderedDict()
    head.waiting[entry] = None
    req.waiting_on = entry
    req.wrk = None
    if params.debug.waitinglist:
        req.log.put(DEBUG, f"on waiting list <{id(head):#x}>")
        req.log.flush()
    wrk.stats.busy_sleep += 1


def rush(wrk: Counting, oc: ObjectCore) -> list[Asking] | None:
    """Take those off the waiting list whom this object wakes now, to be given to `wake`; the head's lock is held.

    An object wakes only requests that were waiting when it first did so: those that came later have looked at it.
    """
    head = oc.objhead
    waiting = head.waiting
    if not waiting:
        return None
    if oc.waitinglist_gen == 0:
        oc.waitinglist_gen = head.generation
        head.generation += 1
    limit = 1 if oc.flags & (OC_WITHDRAWN | OC_FAILED) else params.rush_exponent
    woken: list[Asking] = []
    while waiting and len(woken) < limit:
        entry = next(iter(waiting))
        if entry.generation > oc.waitinglist_gen:
            break
        del waiting[entry]
        entry.req.objcore = oc
        oc.refcount += 1
        woken.append(entry.req)
    if woken:
        wrk.stats.busy_wakeup += len(woken)
    return woken


def wake(woken: list[Asking] | None) -> None:
    """Send on whom `rush` has taken off the list; no lock is held."""
    if woken:
        for req in woken:
            if params.debug.waitinglist:
                log.vsl(DEBUG, req.vxid, "off waiting list")
            req.reembark()


def leave(req: Asking) -> bool:
    """Take a request off the waiting list it is on. Any thread.

    :return: True: it was there, and belongs to the caller again. False: it is not waiting, or has just been woken
        and will be re-embarked: it has to look up again, though its client be gone, for others wait behind it.
    """
    entry = req.waiting_on
    if entry is None:
        return False
    with entry.head.lock:
        waiting = entry.head.waiting
        if not waiting or entry not in waiting:
            return False
        del waiting[entry]
        req.waiting_on = None
    stats.main.inc("busy_killed")
    return True
