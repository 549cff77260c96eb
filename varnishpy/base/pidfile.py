"""Files that hold the id of a running process, and are locked by it: a second one that wants the same is told.

The lock is flock(2)'s, as the reference has it: it belongs to the open file, stays with the process that a fork makes,
and ends with that process however it ends. There is no moment in which nobody has it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


class PidFileError(Exception):
    """The file cannot be had; the text says why.

    ``taken``: another process has it. ``holder`` is which, if it has said so.
    """

    def __init__(self, text: str, holder: int | None = None, taken: bool = False) -> None:
        super().__init__(text)
        self.holder = holder
        self.taken = taken


class PidFile:
    """A file that is locked from the start, and removed in the end. Raises `PidFileError` if another process has it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        try:
            # O_NONBLOCK: a name that is no file must not make us wait for somebody at its other end
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise PidFileError(error.strerror or str(error)) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            taken = error.errno == errno.EWOULDBLOCK
            holder = self._read() if taken else None
            os.close(self._fd)
            raise PidFileError(error.strerror or str(error), holder, taken) from None

    def _read(self) -> int | None:
        try:
            return int(os.read(self._fd, 32))
        except (OSError, ValueError):
            return None

    def write(self) -> None:
        """Write our process id: after the last fork, which changes it."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def remove(self) -> None:
        """Remove the file, if it is still this one, and unlock it."""
        try:
            if os.path.samestat(os.stat(self.path), os.fstat(self._fd)):
                self.path.unlink()
        except FileNotFoundError:
            pass  # somebody was faster
        finally:
            os.close(self._fd)
