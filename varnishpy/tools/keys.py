"""Single key presses from the terminal, for the live views."""

from __future__ import annotations

import contextlib
import os
import re
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

        unread = b""  # what was typed faster than it was asked for

        def key(seconds: float) -> str:
            nonlocal unread
            if not unread and select.select([fd], [], [], seconds)[0]:
                unread = os.read(fd, 64)
            name, unread = first_key(unread)
            return name

        yield key
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, old)


# what terminals send, those of ECMA-48 and xterm's application mode
_SEQUENCES = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown", b"\x1b[H": "home", b"\x1b[F": "end", b"\x1bOH": "home", b"\x1bOF": "end",
    b"\x1b[1~": "home", b"\x1b[4~": "end", b" ": "pagedown", b"\x02": "pageup",
}  # fmt: skip
_ESCAPE = re.compile(rb"\x1b(?:\[[0-9;]*[ -/]*[@-~]?|O.?)?")


def first_key(octets: bytes) -> tuple[str, bytes]:
    """The first key of what was typed, and the rest. Keys that have no name here are ``""``."""
    escape = _ESCAPE.match(octets)
    sequence = escape.group() if escape is not None else octets[:1]
    name = _SEQUENCES.get(sequence, "" if escape is not None else sequence.decode("latin-1"))
    return name, octets[len(sequence) :]
