"""The backend state machine: from a client's request to an object.

```
 mkbereq [-> tier] -> startfetch -> fetch -----> fetchbody -> fetchend -> done
             ^   |   `--> condfetch ---------------^
             |   v
           retry <- error -> done          anything -> fail -> done
```
A step is a function of worker and busy object that answers the name of the next step. The client waits for the states
that the fetch sets on the object's busy object control: ``REQ_DONE`` (the client's request is not needed any more:
its body has been sent), ``STREAM`` (headers are stored, the body is coming), ``FINISHED``, ``FAILED``. Once
streaming, a failure can only cut the body short; before, it becomes vcl_backend_error.

A fetch in the background runs on a worker of its own. Any other begins on the worker of its client's request, which
could only wait for it anyway; a small response that comes in one piece needs no other. When a response streams and its
body is long, or lets itself be waited for, the fetch pauses and goes on on another worker, so that the client gets what
there is. A pass whose client is slow pauses too: it gives its worker back and is run again when the client has caught
up. A step that pauses must not touch the busy object afterwards.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock, perturb
from varnishpy.log.tag_numbers import ERROR, LENGTH
from varnishpy.request.bereq import step_mkbereq, step_retry, step_startfetch
from varnishpy.request.beresp import (
    fail_fetch,
    step_condfetch,
    step_error,
    step_fail,
    step_fetch,
    step_fetchbody,
    step_fetchend,
    step_judge,
)
from varnishpy.request.fetchstate import cleanup
from varnishpy.request.finish_fetch import release_fetch
from varnishpy.request.tiering import step_tier
from varnishpy.storage.boc import BocState
from varnishpy.threads.pool import Priority
from varnishpy.threads.worker import current_worker
from varnishpy.vcl.context import end_task

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.pool import Pool
    from varnishpy.threads.worker import Worker


def run_fetch(wrk: Worker, bo: BusyObject) -> None:
    """The task: run a fetch, to its end or until it pauses."""
    now = clock.now()
    bo.t_first = bo.t_prev = now
    bo.log.start_clock(now)
    bo.log.timestamp("Start", now)
    bo.resume = partial(_resume, wrk.pool, bo)
    _run(wrk, bo, "mkbereq")


def _resume(pool: Pool, bo: BusyObject) -> None:
    """Have a fetch that paused go on; any thread."""
    if not pool.schedule(lambda wrk: _run(wrk, bo, bo.step), Priority.BO):
        # the pool is stopping: nothing will run any more, but whoever reads must be told
        wrk = current_worker()
        if wrk is not None:
            cleanup(bo)
            fail_fetch(wrk, bo)
            release_fetch(wrk, bo)


def _run(wrk: Worker, bo: BusyObject, name: str) -> None:
    bo.wrk = wrk
    wrk.subject = bo
    try:
        while name != "done":
            bo.step = name
            if perturb.active:
                perturb.pause()
            name = _STEPS[name](wrk, bo)
            if name == "pause":
                return
        end_task(bo)
    except Exception as exc:
        _contain(wrk, bo, exc)
    oc = bo.objcore
    assert oc is not None and oc.boc is not None
    if oc.boc.state is BocState.FINISHED and oc.stobj is not None:
        bo.log.put(LENGTH, str(oc.stobj.length))
    release_fetch(wrk, bo)


def _contain(wrk: Worker, bo: BusyObject, exc: Exception) -> None:
    """A defect showed: this fetch fails, nothing else does."""
    wrk.stats.req_contained += 1
    for entry in traceback.format_exception(exc):
        for line in entry.rstrip("\n").split("\n"):
            bo.log.put(ERROR, line)
    bo.doclose = bo.doclose or "TX_ERROR"
    cleanup(bo)
    oc = bo.objcore
    if oc is not None and oc.boc is not None and oc.boc.state < BocState.FINISHED:
        wrk.stats.fetch_failed += 1
        fail_fetch(wrk, bo)


_STEPS: Final[dict[str, Callable[[Worker, BusyObject], str]]] = {
    "mkbereq": step_mkbereq,
    "retry": step_retry,
    "tier": step_tier,
    "startfetch": step_startfetch,
    "judge": step_judge,
    "condfetch": step_condfetch,
    "fetch": step_fetch,
    "fetchbody": step_fetchbody,
    "fetchend": step_fetchend,
    "error": step_error,
    "fail": step_fail,
}
