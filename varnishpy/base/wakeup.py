"""Wakeup descriptors: how a thread that sleeps in a selector is woken by another.

An eventfd where the platform has one, else a pipe. Any number of signals before a `clear` are one readable event.
`signal` may be called from any thread at any time, also while the owner closes the descriptor: it then does nothing.
"""

from __future__ import annotations

import os
import threading
from typing import Literal

from varnishpy.base.panic import invariant

Kind = Literal["auto", "eventfd", "pipe"]

HAVE_EVENTFD = hasattr(os, "eventfd")


class Wakeup:
    """A descriptor that turns readable on `signal` and unreadable on `clear`."""

    __slots__ = ("_lock", "_pending", "_rfd", "_wfd", "kind")

    def __init__(self, kind: Kind = "auto") -> None:
        """:raises OSError: no descriptors left"""
        if kind == "auto":
            kind = "eventfd" if HAVE_EVENTFD else "pipe"
        invariant(kind in ("eventfd", "pipe"), "known kind of wakeup descriptor")
        self.kind = kind
        if kind == "eventfd":
            self._rfd = self._wfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._rfd, self._wfd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pending = False
        # closing must not race with a signal: the number could belong to another file by then
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The descriptor to watch for reading; -1 once closed."""
        return self._rfd

    def signal(self) -> bool:
        """Make the descriptor readable. True if this call did it, False if it was signalled already or is closed."""
        if self._pending:  # whoever clears it looks only afterwards, and so sees what this signal is about
            return False
        with self._lock:
            if self._pending or self._wfd < 0:
                return False
            self._pending = True
            if self.kind == "eventfd":
                os.eventfd_write(self._wfd, 1)
            else:
                os.write(self._wfd, b"\0")
            return True

    def clear(self) -> bool:
        """Make the descriptor unreadable; look at what was signalled only afterwards. True if it was signalled."""
        with self._lock:
            if not self._pending or self._rfd < 0:
                return False
            self._pending = False
            if self.kind == "eventfd":
                os.eventfd_read(self._rfd)
            else:
                os.read(self._rfd, 1)  # one byte at most is ever in the pipe
            return True

    def close(self) -> None:
        """Give the descriptors back; later calls of any method do nothing."""
        with self._lock:
            rfd, wfd, self._rfd, self._wfd = self._rfd, self._wfd, -1, -1
            if rfd >= 0:
                os.close(rfd)
            if wfd not in (-1, rfd):
                os.close(wfd)

    def __enter__(self) -> Wakeup:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
