"""The backend state machine: from a client's request to an object, on a worker of the fetch's own.

```
 mkbereq -> startfetch -> fetch -----> fetchbody -> fetchend -> done
             ^   |   `--> condfetch ---------------^
             |   v
           retry <- error -> done          anything -> fail -> done
```
A step is a function of worker and busy object that answers the name of the next step. The client waits for the states
that the fetch sets on the object's busy object control: ``REQ_DONE`` (the client's request is not needed any more:
its body has been sent), ``STREAM`` (headers are stored, the body is coming), ``FINISHED``, ``FAILED``. Once
streaming, a failure can only cut the body short; before, it becomes vcl_backend_error.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.log.tags import Tag
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
from varnishpy.storage.boc import BocState

if TYPE_CHECKING:
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.threads.worker import Worker

_ERROR: Final = int(Tag.Error)
_LENGTH: Final = int(Tag.Length)


def run_fetch(wrk: Worker, bo: BusyObject) -> None:
    """The task: run a fetch to its end."""
    bo.wrk = wrk
    wrk.subject = bo
    now = clock.now()
    bo.t_first = bo.t_prev = now
    bo.log.start_clock(now)
    bo.log.timestamp("Start", now)
    name = "mkbereq"
    try:
        while name != "done":
            bo.step = name
            name = _STEPS[name](wrk, bo)
    except Exception as exc:
        _contain(wrk, bo, exc)
    oc = bo.objcore
    assert oc is not None and oc.boc is not None
    if oc.boc.state is BocState.FINISHED and oc.stobj is not None:
        bo.log.put(_LENGTH, str(oc.stobj.length))
    release_fetch(wrk, bo)


def _contain(wrk: Worker, bo: BusyObject, exc: Exception) -> None:
    """A defect showed: this fetch fails, nothing else does."""
    wrk.stats["req_contained"] += 1
    for entry in traceback.format_exception(exc):
        for line in entry.rstrip("\n").split("\n"):
            bo.log.put(_ERROR, line)
    bo.doclose = bo.doclose or "TX_ERROR"
    cleanup(bo)
    oc = bo.objcore
    if oc is not None and oc.boc is not None and oc.boc.state < BocState.FINISHED:
        wrk.stats["fetch_failed"] += 1
        fail_fetch(wrk, bo)


_STEPS: Final[dict[str, Callable[[Worker, BusyObject], str]]] = {
    "mkbereq": step_mkbereq,
    "retry": step_retry,
    "startfetch": step_startfetch,
    "judge": step_judge,
    "condfetch": step_condfetch,
    "fetch": step_fetch,
    "fetchbody": step_fetchbody,
    "fetchend": step_fetchend,
    "error": step_error,
    "fail": step_fail,
}
