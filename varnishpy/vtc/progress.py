"""What a run shows while it goes on, and at its end."""

from __future__ import annotations

import shutil
import sys
import time

from .digest import annotation, digest
from .job import Verdict
from .runner import Finished, Runner

TICK = 0.2
_WORDS = {
    Verdict.PASSED: "passed",
    Verdict.SKIPPED: "skipped",
    Verdict.FAILED: "FAILED",
    Verdict.ERROR: "ERROR",
}


class Progress:
    """Reports on standard output; on a terminal with a line that shows how far the run is."""

    def __init__(
        self, runner: Runner, total: int, verbosity: int, live: bool, whole: bool = False, annotate: bool = False
    ) -> None:
        """Set up.

        :param whole: show the whole log of a failed test, not the digest
        :param annotate: print failures as annotations for a code host, too
        """
        self._whole = whole
        self._annotate = annotate
        self._runner = runner
        self._total = total
        self._verbosity = verbosity
        self._live = live and sys.stdout.isatty()
        self._started = time.monotonic()
        self._counts = dict.fromkeys(Verdict, 0)
        self._shown = False
        self._last = 0.0
        runner.on_tick = self._tick

    @property
    def _done(self) -> int:
        return sum(self._counts.values())

    def report(self, done: Finished) -> None:
        """A test has ended: its log if it failed (or if asked for), and one line."""
        verdict = done.outcome.verdict
        self._counts[verdict] += 1
        bad = verdict in (Verdict.FAILED, Verdict.ERROR)
        self.clear()
        if self._verbosity > 1 or (bad and self._verbosity and self._whole):
            sys.stdout.flush()
            sys.stdout.buffer.write(done.log)
            sys.stdout.buffer.flush()
        elif bad and self._verbosity:
            print(digest(done))
        if bad and self._annotate:
            print(annotation(done))
        if done.killed:
            print(f"#    top  TEST {done.source.name} TIMED OUT (kill -9)")
        if bad:
            where = f" at {done.source.name}:{done.outcome.line}:{done.outcome.column}" if done.outcome.line else ""
            print(
                f"#    top  TEST {done.source.name} {_WORDS[verdict]} ({done.duration:.3f}) "
                f"exit={verdict.value}{where}: {done.outcome.reason}"
            )
            if done.directory:
                print(f"#    top  left behind: {done.directory}")
        elif self._verbosity:
            why = f": {done.outcome.reason}" if done.outcome.reason else ""
            print(f"#    top  TEST {done.source.name} {_WORDS[verdict]} ({done.duration:.3f}){why}")
        sys.stdout.flush()

    def _tick(self) -> None:
        now = time.monotonic()
        if not self._live or now - self._last < TICK:
            return
        self._last = now
        left = self._total - self._done
        eta = (now - self._started) / self._done * left if self._done else 0.0
        failed = self._counts[Verdict.FAILED] + self._counts[Verdict.ERROR]
        running = ", ".join(f"{name.rpartition('/')[2]} {age:.0f}s" for name, age in self._runner.running)
        line = f"{self._done}/{self._total} done, {failed} failed, eta {eta:.0f}s, running: {running}"
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write("\r" + line[:width].ljust(width))
        sys.stdout.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the progress line away."""
        if self._shown:
            sys.stdout.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            self._shown = False

    def summary(self, finished: list[Finished], not_tests: int = 0) -> None:
        """One line of totals, and the failures again where they can be found."""
        counts = self._counts
        failed = counts[Verdict.FAILED] + counts[Verdict.ERROR]
        skipped = counts[Verdict.SKIPPED] + not_tests
        print(
            f"{failed} tests failed, {skipped} tests skipped, {counts[Verdict.PASSED]} tests passed "
            f"({time.monotonic() - self._started:.1f} s)",
            file=sys.stderr,
        )
        for done in finished:
            if done.outcome.verdict in (Verdict.FAILED, Verdict.ERROR):
                print(f"    {done.source.name}:{done.outcome.line}: {done.outcome.reason}", file=sys.stderr)
