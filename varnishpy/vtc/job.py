"""Running scripts in a worker process: set up, run, take everything down, report.

A worker is a fork of the runner, so nothing needs to be imported again.  It leads its own process group, adopts
orphans, and after each script kills whatever the parties left running and removes the script's directory.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from . import children, warm
from .anywhere import EVERYWHERE
from .context import Settings, Test
from .errors import ScriptError, TestFailed
from .languages import LANGUAGES, RESET_ORDER
from .log import LogBuffer
from .own_program import search_path
from .text import Source, Text


class Verdict(Enum):
    """How a test ended; the value is the exit status of its process."""

    PASSED = 0
    SKIPPED = 77
    FAILED = 1
    ERROR = 2


@dataclass(slots=True)
class Outcome:
    verdict: Verdict
    line: int = 0
    column: int = 0
    reason: str = ""

    def encode(self) -> bytes:
        text = self.reason.replace("\n", " ")[:400]
        return f"{self.verdict.value} {self.line} {self.column} {text}".encode("latin-1", "replace")

    @classmethod
    def decode(cls, raw: bytes) -> Outcome | None:
        """What ``encode`` made; None if it is cut short (the process died)."""
        words = raw.decode("latin-1").split(" ", 3)
        if len(words) != 4:
            return None
        return cls(Verdict(int(words[0])), int(words[1]), int(words[2]), words[3])


def run(settings: Settings, source: Source, buffer: LogBuffer, tmpdir: str, seed: int) -> Outcome:
    """Run a script in this process, which has to be one for it alone (its directory and environment change)."""
    test = Test(settings, buffer, LANGUAGES, EVERYWHERE, seed)
    test.tmpdir = tmpdir
    top = test.top
    top.say(1, f"TEST {source.name} starting")
    for name, value in test.macros.items():
        top.say(4, f"extmacro def {name}={value}")
    test.define(top, "testdir", str(Path(source.name).absolute().parent))
    test.define(top, "tmpdir", tmpdir)
    test.define(top, "vtcid", os.path.basename(tmpdir))
    os.chdir(tmpdir)
    Path("INFO").write_text(f"Test case: {source.name}\n")
    alarm = threading.Timer(settings.max_duration, lambda: time_out(test))
    alarm.daemon = True
    alarm.start()
    try:
        test.interpreter(top, "top", test).run(Text.whole(source))
    except Exception as error:
        test.record(error, top)
    alarm.cancel()
    alarm.join()
    failed_before = test.failed
    test.set_ended()
    top.say(1, f"RESETTING after {source.name}")
    test.reset(RESET_ORDER)
    test.waker.close()
    if test.failed and not failed_before:
        top.say(1, "failure during reset")
    if test.failed:
        top.say(1, f"TEST {source.name} FAILED")
        position, reason = test.failure
        verdict = Verdict.ERROR if isinstance(test.first_error, ScriptError) else Verdict.FAILED
        line, column = (position.line, position.column) if position is not None else (0, 0)
        return Outcome(verdict, line, column, reason)
    top.say(1, f"TEST {source.name} completed")
    return Outcome(Verdict.SKIPPED, 0, 0, test.skip_reason) if test.skipped else Outcome(Verdict.PASSED)


def time_out(test: Test) -> None:
    """Fail a test whose time is up, telling where in the script each of its threads is and what it is waiting for."""
    places, waits = dict(test.places), dict(test.waits)
    for thread, place in places.items():
        what = f", waiting for {waits[thread]}" if thread in waits else ""
        test.top.say(1, f"{thread.name} is at {place}{what}")
    position = places[test.main_thread].position if test.main_thread in places else None
    # those who wait for other parties come to an end by themselves when the others do
    blame = [f"{thread.name} waiting for {what}" for thread, what in waits.items() if not what.startswith("the end of")]
    reason = "; ".join(blame)
    try:
        test.top.fatal(f"TEST TIMED OUT after {test.settings.max_duration:g} s{': ' * bool(reason)}{reason}", position)
    except TestFailed as error:
        test.record(error, test.top)


def worker_main(
    settings: Settings,
    nursery: bool,
    sources: list[Source],
    buffer: LogBuffer,
    requests: int,
    results: int,
    diagnostics: int,
) -> None:
    """The life of a worker: run the scripts it is told to, one after the other.  Never returns.

    A worker goes on only as long as nothing of a test can have stuck to it: every test it ran passed or was skipped, no
    thread and no descriptor is left.  Otherwise it ends, and the runner forks another.

    :param nursery: fork daemons of our own from this process as it is now
    :param requests: descriptor to read requests from: lines of source number, seed and directory
    :param results: descriptor to write outcomes to, each with its length before it
    :param diagnostics: descriptor that becomes standard output and error
    """
    code = Verdict.ERROR.value
    try:
        os.setpgid(0, 0)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(diagnostics, 1)
        os.dup2(diagnostics, 2)
        os.close(null)
        os.close(diagnostics)
        children.become_subreaper()
        sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
        if nursery:
            settings.nursery = warm.Nursery()
        home, environment, descriptors = os.getcwd(), dict(os.environ), _descriptors()
        with open(requests, encoding="latin-1") as lines:
            for line in lines:
                number, seed, directory = line.split(" ", 2)
                outcome = _run_one(settings, sources[int(number)], buffer, directory.rstrip("\n"), int(seed))
                os.chdir(home)
                os.environ.clear()
                os.environ.update(environment)
                clean = (
                    outcome.verdict in (Verdict.PASSED, Verdict.SKIPPED)
                    and threading.active_count() == 1
                    and _descriptors() == descriptors
                )
                answer = outcome.encode()
                os.write(results, len(answer).to_bytes(4, "big") + bytes([clean]) + answer)
                if not clean:
                    break
        if settings.nursery is not None:
            settings.nursery.close()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _run_one(settings: Settings, source: Source, buffer: LogBuffer, directory: str, seed: int) -> Outcome:
    """Run a script in a fresh directory, and leave nothing of it."""
    buffer.clear()
    os.mkdir(directory, 0o755)
    os.environ["PATH"] = search_path(Path(directory, ".bin"), own=not settings.named_program)
    os.environ["VARNISH_DEFAULT_N"] = f"{directory}/default_n"
    outcome = run(settings, source, buffer, directory, seed)
    children.kill_descendants(os.getpid(), spared=settings.nursery.pid if settings.nursery is not None else 0)
    if not settings.leave_temp:
        shutil.rmtree(directory, ignore_errors=True)
    return outcome


def _descriptors() -> int:
    """How many descriptors are open (0 where that cannot be told)."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
