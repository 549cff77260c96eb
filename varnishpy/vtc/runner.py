"""Runs many scripts, several at a time, in processes forked from this one.

Nothing outlives a run: a worker cleans up after each test, and if it cannot (killed because its time is up, or
because the user has had enough) this process does, being the one that adopts what is left.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import re
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import children, dialect, job, net, warm
from .context import Settings
from .job import Outcome, Verdict
from .log import LogBuffer
from .text import Source

GRACE = 10.0
"""Seconds a test gets, after its time is up, to say where it hung and to clean up."""

MAX_OUTPUT = 1 << 20
_HEAD = 5
"""Octets before an outcome: four of length, one telling whether the worker can go on."""


@dataclass(slots=True)
class Options:
    """What the command line says about a run."""

    settings: Settings = field(default_factory=Settings)
    jobs: int = 1
    keep_going: bool = False
    iterations: int = 1
    keep_on_failure: bool = False
    keep_always: bool = False
    buffer_size: int = 1 << 20
    tmpdir: str = ""
    seed: int | None = None
    warm: bool = False  # this process is fresh: daemons may be forked from it


@dataclass(slots=True)
class Finished:
    """A test that has ended: how, how long it took (seconds), its whole log."""

    source: Source
    outcome: Outcome
    duration: float
    log: bytes
    killed: bool = False
    directory: str = ""


class _Worker:
    """A forked process that runs scripts, one at a time, and the descriptors to talk with it."""

    __slots__ = (
        "answer",
        "buffer",
        "deadline",
        "diagnostics",
        "directory",
        "killed",
        "output",
        "pid",
        "requests",
        "results",
        "source",
        "started",
    )

    def __init__(self, pid: int, buffer: LogBuffer, requests: int, results: int, diagnostics: int) -> None:
        self.pid = pid
        self.buffer = buffer
        self.requests = requests
        self.results = results
        self.diagnostics = diagnostics
        self.source: Source | None = None
        self.directory = ""
        self.started = self.deadline = 0.0
        self.output = bytearray()
        self.answer = bytearray()
        self.killed = False

    @property
    def descriptors(self) -> tuple[int, int, int]:
        return self.requests, self.results, self.diagnostics

    def drain(self) -> None:
        """Take in what the worker, or a program it ran, has printed."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.diagnostics, 65536):
                if len(self.output) < MAX_OUTPUT:
                    self.output += data


class Interrupted(Exception):
    """The user wants the run to stop."""


def starts_daemon(source: Source) -> bool:
    """Whether a script seems to start a daemon."""
    return re.search(r"^\s*(?:varnish|vinyl)\s", source.text, re.MULTILINE) is not None


def external_macros(settings: Settings) -> socket.socket:
    """Define what every test finds (``${localhost}``, ``${bad_backend}``, ...), and the language if it is not chosen.

    The socket returned is bound and not listening: the address of ``${bad_backend}`` as long as it is open.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    where = net.bound(sock)
    settings.listen_address = net.Bound(where.address, "0").together
    program = settings.named_program
    language, packaging = dialect.of_program(program)
    settings.language = settings.language or language
    own = {
        **packaging,
        "pwd": os.getcwd(),
        "localhost": where.address,
        "bad_backend": where.together,
        "listen_addr": settings.listen_address,
        "bad_ip": "192.0.2.255",
    }
    settings.macros = {**own, **settings.macros}
    return sock


class Runner:
    """Runs scripts; ``run`` yields each as it finishes."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._selector = selectors.DefaultSelector()
        self._sources: list[Source] = []
        self._idle: list[_Worker] = []
        self._busy: dict[int, _Worker] = {}
        self._base = options.tmpdir or os.environ.get("TMPDIR") or tempfile.gettempdir()
        self._number = random.SystemRandom().randrange(1 << 32)
        self._spared: frozenset[int] = frozenset()
        self.on_tick: Callable[[], None] = lambda: None

    @property
    def running(self) -> list[tuple[str, float]]:
        """The tests under way, with the seconds each has taken so far."""
        now = time.monotonic()
        return [(one.source.name, now - one.started) for one in self._busy.values() if one.source is not None]

    def run(self, sources: list[Source]) -> Iterator[Finished]:
        """Run all, ``iterations`` times.  Whatever way the caller leaves, everything started is gone afterwards."""
        options = self.options
        self._sources = sources
        options.settings.leave_temp = options.keep_always or options.keep_on_failure
        todo = deque(number for _ in range(options.iterations) for number in range(len(sources)))
        bad_backend = external_macros(options.settings)
        self._spared = frozenset(children.direct_children(os.getpid()))
        children.become_subreaper()
        helps = options.warm and warm.helps(options.settings.named_program)
        self._warm = helps and any(map(starts_daemon, sources))
        if self._warm:
            warm.load()
        gc.collect()
        gc.freeze()
        try:
            while todo or self._busy:
                while todo and len(self._busy) < options.jobs:
                    self._start(todo.popleft())
                yield from self._turn()
        finally:
            self._end_all()
            bad_backend.close()
            gc.unfreeze()

    # Workers

    def _fork(self) -> _Worker:
        buffer = LogBuffer(self.options.buffer_size)
        request_read, request_write = os.pipe()
        result_read, result_write = os.pipe()
        out_read, out_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            others = [fd for one in [*self._idle, *self._busy.values()] for fd in one.descriptors]
            for fd in [*others, request_write, result_read, out_read]:
                os.close(fd)
            self._selector.close()
            settings, sources = self.options.settings, self._sources
            job.worker_main(settings, self._warm, sources, buffer, request_read, result_write, out_write)
        for fd in (request_read, result_write, out_write):
            os.close(fd)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        os.set_blocking(out_read, False)
        one = _Worker(pid, buffer, request_write, result_read, out_read)
        self._selector.register(result_read, selectors.EVENT_READ, one)
        self._selector.register(out_read, selectors.EVENT_READ, one)
        return one

    def _start(self, number: int) -> None:
        one = self._idle.pop() if self._idle else self._fork()
        self._number = (self._number + 1) % (1 << 32)
        seed = self.options.seed if self.options.seed is not None else self._number
        one.source = self._sources[number]
        one.directory = f"{self._base}/vtc.{os.getpid()}.{self._number:08x}"
        one.started = time.monotonic()
        one.deadline = one.started + self.options.settings.max_duration + GRACE
        self._busy[one.pid] = one
        os.write(one.requests, f"{number} {seed} {one.directory}\n".encode("latin-1"))

    def _turn(self) -> Iterator[Finished]:
        """Wait a little; yield what has ended."""
        first = min((one.deadline for one in self._busy.values()), default=0.0)
        patience = max(min(first - time.monotonic(), 0.5), 0.0)
        for key, _ in self._selector.select(patience):
            one: _Worker = key.data
            if key.fd not in self._selector.get_map():
                continue  # its worker has just been retired
            if key.fd == one.diagnostics:
                one.drain()
                continue
            data = os.read(key.fd, 65536)
            one.answer += data
            if not data or (len(one.answer) >= _HEAD and len(one.answer) >= _HEAD + self._length(one)):
                yield self._finish(one)
        now = time.monotonic()
        for one in list(self._busy.values()):
            if now >= one.deadline and not one.killed:
                one.killed = True
                self._kill(one)
        self.on_tick()

    @staticmethod
    def _length(one: _Worker) -> int:
        return int.from_bytes(one.answer[:4], "big")

    def _kill(self, one: _Worker) -> None:
        """Kill a worker and everything below it."""
        for pid in [one.pid, *children.descendants(one.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _finish(self, one: _Worker) -> Finished:
        """A test is over, by its worker's word or by its death."""
        assert one.source is not None
        duration = time.monotonic() - one.started
        answered = len(one.answer) >= _HEAD
        outcome = Outcome.decode(bytes(one.answer[_HEAD:])) if answered else None
        reusable = answered and one.answer[4] == 1
        one.drain()
        del self._busy[one.pid]
        status = 0 if reusable else self._retire(one)
        if one.killed:
            outcome = Outcome(Verdict.FAILED, reason="TIMED OUT (kill -9)")
        elif outcome is None:
            how = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status >> 8}"
            outcome = Outcome(Verdict.FAILED, reason=f"the test's process ended: {how}")
        log = one.buffer.read()
        log += b"".join(b"*    diag  0.0 " + row + b"\n" for row in bytes(one.output).splitlines())
        failed = outcome.verdict in (Verdict.FAILED, Verdict.ERROR)
        kept = self.options.keep_always or (self.options.keep_on_failure and failed)
        if kept:
            with contextlib.suppress(OSError):
                Path(one.directory, "LOG").write_bytes(log)
        else:
            shutil.rmtree(one.directory, ignore_errors=True)
        done = Finished(one.source, outcome, duration, log, one.killed, one.directory if kept else "")
        one.source = None
        one.output.clear()
        one.answer.clear()
        if reusable:
            self._idle.append(one)
        else:
            one.buffer.close()
        return done

    def _retire(self, one: _Worker) -> int:
        """See a worker to its end; its wait status."""
        for fd in (one.results, one.diagnostics):
            self._selector.unregister(fd)
        for fd in one.descriptors:
            os.close(fd)
        _, status = os.waitpid(one.pid, 0)
        self._kill_orphans()
        return status

    def _kill_orphans(self) -> None:
        """Kill what a dead worker left to us: children of ours that are no workers."""
        known = {*self._busy, *(one.pid for one in self._idle), *self._spared}
        for pid in children.direct_children(os.getpid()):
            if pid in known:
                continue
            for each in [pid, *children.descendants(pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _end_all(self) -> None:
        """End all workers: idle ones of themselves, others by force."""
        for one in [*self._busy.values()]:
            self._kill(one)
            del self._busy[one.pid]
            self._retire(one)
            shutil.rmtree(one.directory, ignore_errors=True)
        while self._idle:
            self._retire(self._idle.pop())
        self._selector.close()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into Interrupted, so that a run is left in an orderly way."""

    def interrupt(number: int, _frame: object) -> None:
        for each in old:
            signal.signal(each, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        raise Interrupted(signal.Signals(number).name)

    old = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
