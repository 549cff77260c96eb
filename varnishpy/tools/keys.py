"""Single key presses from the terminal, for the live views."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def keyboard() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key: ``"q"``, ``"up"``, ``"down"``, ``"pageup"``, ... or ``""``.

    Without a terminal on stdin it only waits.
    """
    if not sys.stdin.isatty():
        import time

        def no_key(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield no_key
        return
    fd = sys.stdin.fileno()
    old = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)

        def key(seconds: float) -> str:
            if not select.select([fd], [], [], seconds)[0]:
                return ""
            data = os.read(fd, 16)
            return _SEQUENCES.get(data) or data[:1].decode("latin-1")

        yield key
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, old)


_SEQUENCES = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[5~": "pageup", b"\x1b[6~": "pagedown", b"\x1b[H": "home",
    b"\x1b[F": "end", b" ": "pagedown", b"\x02": "pageup",
}  # fmt: skip
