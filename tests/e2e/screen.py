"""Programs that draw on a terminal, run on one that a test can read."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable

from tests.waiting import wait_for
from varnishpy.vtc.terminal import Terminal

DEADLINE = 20.0


class Screen:
    """A program on a terminal of its own, of so many columns."""

    def __init__(self, *command: str, columns: int = 132) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._lock = threading.Lock()
        self._terminal = Terminal(40, columns, self._answer)
        # a shell's COLUMNS and LINES would outrank the terminal's own size
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self._terminal.feed(data)

    def _answer(self, data: bytes) -> None:
        os.write(self._master, data)

    def text(self) -> str:
        """What the screen shows."""
        with self._lock:
            return "\n".join(self._terminal.text(row).rstrip() for row in range(40))

    def wait_for(self, test: Callable[[str], object], what: str) -> str:
        """The text of the screen as soon as it passes the test."""
        try:
            wait_for(lambda: test(self.text()), what)
        except AssertionError as exc:
            raise AssertionError(f"{exc} on this screen:\n{self.text()}") from None
        return self.text()

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self, keys: str) -> None:
        """Type what ends the program, which must end well."""
        self.type(keys)
        assert self.process.wait(DEADLINE) == 0

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        self._thread.join(DEADLINE)
        os.close(self._master)
