"""Writing behind: in order, bounded, the oldest dropped, each job released once."""

from __future__ import annotations

import threading

import pytest

from tests.conftest import Setting
from varnishpy.tier.behind import Job, WriteBehind


class Note:
    """A job that notes what happens to it."""

    def __init__(self, name: str, done: list[str], size: int = 1, gate: threading.Event | None = None) -> None:
        self.name, self.done, self.size, self.gate = name, done, size, gate
        self.begun = threading.Event()
        self.released = 0

    def run(self) -> None:
        self.begun.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.name == "bad":
            raise RuntimeError("a defect")
        self.done.append(self.name)

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def lost() -> list[Job]:
    return []


def test_jobs_are_done_in_order_and_released_once(lost: list[Job]) -> None:
    done: list[str] = []
    failures: list[Exception] = []
    queue = WriteBehind(lost.append, failures.append)
    queue.start()
    jobs = [Note(name, done) for name in ("a", "bad", "b")]
    for job in jobs:
        queue.put(job)
    assert queue.settle(20)
    assert done == ["a", "b"] and [str(exc) for exc in failures] == ["a defect"] and not lost
    assert [job.released for job in jobs] == [1, 1, 1]
    queue.stop()


def test_the_oldest_is_dropped_when_there_is_no_room(setting: Setting, lost: list[Job]) -> None:
    setting("tier_queue", "1m")
    done: list[str] = []
    gate = threading.Event()
    queue = WriteBehind(lost.append, lambda exc: None)
    queue.start()
    running = Note("running", done, gate=gate)
    queue.put(running)
    assert running.begun.wait(20)
    jobs = [Note(name, done, 400_000) for name in ("old", "newer", "newest")]
    for job in jobs:
        queue.put(job)
    assert lost == [jobs[0]] and jobs[0].released == 1
    assert len(queue) == 2 and queue.octets == 800_000
    gate.set()
    assert queue.settle(20)
    assert done == ["running", "newer", "newest"]
    queue.stop()
    assert [job.released for job in (running, *jobs)] == [1, 1, 1, 1]


def test_a_job_larger_than_the_queue_is_dropped_itself(setting: Setting, lost: list[Job]) -> None:
    setting("tier_queue", "1m")
    queue = WriteBehind(lost.append, lambda exc: None)
    job = Note("large", [], (1 << 20) + 1)
    queue.put(job)
    assert lost == [job] and job.released == 1 and queue.octets == 0


def test_stopping_releases_what_is_left(lost: list[Job]) -> None:
    queue = WriteBehind(lost.append, lambda exc: None)
    job = Note("left", [])
    queue.put(job)
    queue.stop()
    late = Note("late", [])
    queue.put(late)
    assert lost == [job, late] and job.released == late.released == 1
