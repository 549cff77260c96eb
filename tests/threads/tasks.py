"""Tasks for pools to run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from varnishpy.threads import Worker

WAIT = 10.0  # seconds


def block_until(event: threading.Event, started: threading.Semaphore | None = None) -> Callable[[Worker], None]:
    """A task that waits, as it should: telling its pool."""

    def task(wrk: Worker) -> None:
        if started is not None:
            started.release()
        with wrk.blocking():
            assert event.wait(WAIT)

    return task
