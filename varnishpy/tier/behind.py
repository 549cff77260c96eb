"""Writing behind: what is to be stored waits in a bounded queue for a thread of its own, and nobody waits for it.

When there is no room the oldest job is dropped: it is the one that is least likely to be needed still. A job holds what
it needs (a reference to its object), and lets go of it in `release`, which is called exactly once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from varnishpy.base.locks import make_condition
from varnishpy.base.panic import Panic
from varnishpy.params import params


class Job(Protocol):
    """Something to be written."""

    size: int  # octets

    def run(self) -> None:
        """Write; on the queue's thread."""

    def release(self) -> None:
        """Let go of everything; on any thread, without any lock held."""


class WriteBehind:
    """The queue and its thread. Any thread may `put`.

    :param dropped: told of each job that was given up
    :param failed: told of what a job let through, which is a defect of that job only
    """

    def __init__(self, dropped: Callable[[Job], None], failed: Callable[[Exception], None]) -> None:
        self._cond = make_condition("tier_queue")
        self._jobs: deque[Job] = deque()
        self._dropped = dropped
        self._failed = failed
        self._stopping = False
        self._busy = False
        self._thread: threading.Thread | None = None
        self.octets = 0  # waiting

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Have a job done some time, or never."""
        gone: list[Job] = []
        with self._cond:
            self._jobs.append(job)
            self.octets += job.size
            while self._jobs and (self._stopping or self.octets > params.tier_queue):
                oldest = self._jobs.popleft()
                self.octets -= oldest.size
                gone.append(oldest)
            self._cond.notify()
        for oldest in gone:
            self._dropped(oldest)
            oldest.release()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="tier-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Drop what is left, and end the thread."""
        with self._cond:
            self._stopping = True
            left, self._jobs = list(self._jobs), deque()
            self.octets = 0
            self._cond.notify_all()
        for job in left:
            self._dropped(job)
            job.release()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def settle(self, timeout: float) -> bool:
        """Wait until everything is written; for tests and tools."""
        with self._cond:
            return self._cond.wait_for(lambda: not self._jobs and not self._busy, timeout)

    def _run(self) -> None:
        while True:
            with self._cond:
                self._busy = False
                self._cond.notify_all()
                self._cond.wait_for(lambda: self._jobs or self._stopping)
                if self._stopping:
                    return
                self._busy = True
            self.work_off()

    def work_off(self) -> None:
        """Do all that waits, on this thread: the queue's own, or a test's that has not started it."""
        while True:
            with self._cond:
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self.octets -= job.size
            try:
                job.run()
            except Panic:
                raise
            except Exception as exc:
                self._failed(exc)
            finally:
                job.release()
