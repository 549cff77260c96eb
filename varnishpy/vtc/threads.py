"""Threads of a test: what ends one is noted, and waiting for one ends when the test fails."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .context import Test
from .errors import TestAborted, TestFailed
from .log import Voice


class PartyThread:
    """A thread whose failure is the test's; if it fails at no command of its own, at the one that started it."""

    __slots__ = ("_main", "_started_at", "_test", "_thread", "_voice", "done")

    def __init__(self, test: Test, voice: Voice, main: Callable[[], None], name: str) -> None:
        self._test = test
        self._voice = voice
        self._main = main
        self.done = False
        self._started_at = test.places.get(threading.current_thread())
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> PartyThread:
        if self._started_at is not None:
            self._test.places[self._thread] = self._started_at
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._main()
        except Exception as error:
            if isinstance(error, TestFailed) and error.position is None and self._started_at is not None:
                error.position = self._started_at.position
                self._voice.say(0, str(self._started_at))
            self._test.record(error, self._voice)
        finally:
            self._test.places.pop(self._thread, None)
            with self._test.changed:
                self.done = True
                self._test.changed.notify_all()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if ``timeout`` seconds were not enough.  Raises TestAborted if the test fails."""
        changed = self._test.changed
        with self._test.waiting(f"the end of {self._thread.name}"), changed:
            if not changed.wait_for(lambda: self.done or self._test.failed, timeout):
                return False
        if not self.done:
            raise TestAborted("the test has failed")
        self._thread.join()
        return True

    def join_anyway(self, timeout: float) -> bool:
        """Wait for the end even if the test has failed."""
        self._thread.join(timeout)
        return not self._thread.is_alive()
