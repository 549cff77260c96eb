"""Threads of a test: what ends one is noted, and waiting for one ends when the test fails."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .context import Test
from .errors import TestAborted
from .log import Voice


class PartyThread:
    """A thread whose failure is the test's."""

    __slots__ = ("_main", "_test", "_thread", "_voice", "done")

    def __init__(self, test: Test, voice: Voice, main: Callable[[], None], name: str) -> None:
        self._test = test
        self._voice = voice
        self._main = main
        self.done = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> PartyThread:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._main()
        except Exception as error:
            self._test.record(error, self._voice)
        finally:
            with self._test.changed:
                self.done = True
                self._test.changed.notify_all()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if ``timeout`` seconds were not enough.  Raises TestAborted if the test fails."""
        changed = self._test.changed
        with changed:
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
