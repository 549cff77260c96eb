"""Going to the background."""

from __future__ import annotations

import os
import sys


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
