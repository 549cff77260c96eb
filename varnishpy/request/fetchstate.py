"""The state of a fetch, as all of its steps share it: what the client sees of it, its connection, its first error."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.base.panic import present
from varnishpy.log.tag_numbers import FETCH_ERROR, STORAGE
from varnishpy.storage.boc import BocState
from varnishpy.storage.room import NoSpace, StorageError

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.worker import Worker


def timestamp(bo: BusyObject, label: str) -> float:
    """Log a timestamp of this moment and remember it; the moment."""
    now = clock.now()
    bo.log.timestamp(label, now)
    bo.t_prev = now
    return now


def set_state(wrk: Worker, bo: BusyObject, state: BocState) -> None:
    """Move on: from ``REQ_DONE`` the client's request is not ours any more."""
    bo.client_req = None
    oc = bo.objcore
    assert oc is not None and oc.boc is not None
    tier, ticket = bo.env.tier, bo.ticket
    if tier is not None and ticket is not None and oc.boc.state < BocState.STREAM <= state < BocState.FAILED:
        tier.release(ticket, oc, bo.bereq0, partial(bo.env.hash.set_state, wrk, oc, state))
    else:
        bo.env.hash.set_state(wrk, oc, state)


def state_of(bo: BusyObject) -> BocState:
    """How far the fetch is."""
    oc = bo.objcore
    assert oc is not None and oc.boc is not None
    return oc.boc.state


def error_once(bo: BusyObject, text: str) -> None:
    """Log a ``FetchError`` unless the attempt has failed already."""
    if bo.failed is None:
        bo.failed = text
        bo.log.put(FETCH_ERROR, text)


def storage_failed(bo: BusyObject, error: StorageError) -> None:
    """The attempt fails since storage takes no more; the storage may have something to say of it."""
    if isinstance(error, NoSpace) and error.remark:
        bo.log.put(STORAGE, error.remark)
    error_once(bo, str(error))


def cleanup(bo: BusyObject) -> None:
    """End an attempt: processors, then the connection, which goes back to its pool unless ``bo.doclose`` is set."""
    stack, bo.stack = bo.stack, None
    if stack is not None:
        bo.acct.beresp_bodybytes += stack.close()
    bo.filter_list = None
    if bo.director_open:
        bo.director_open = False
        assert bo.wrk is not None
        present(bo.director_resp, "an open exchange has a backend").finish(bo.wrk, bo)
    bo.body_reader = None
