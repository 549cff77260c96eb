"""Going to the background, and pid files that only one process can hold."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from varnishpy.tools.usage import ToolError


class PidFile:
    """A locked file with our process id. Raises ToolError if another process holds it.

    The lock is flock(2)'s, like varnishlog's: it belongs to the open file and stays with the process that a fork makes:
    there is no moment in which nobody has it, however long the parent takes to end.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ToolError(f"{path}: {error.strerror}") from None

    def write(self) -> None:
        """Write our process id (after going to the background, which changes it)."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}".encode(), 0)

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def daemonize() -> None:
    """Leave terminal and session; standard streams go to /dev/null. The calling process ends here."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
