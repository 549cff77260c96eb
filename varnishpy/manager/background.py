"""Going to the background: the daemon tells the process that the shell waits for how its start went."""

from __future__ import annotations

import os
import sys


def daemonize() -> int:
    """Go to the background. Returns, in the daemon, the descriptor on which to tell the waiting parent how it went.

    The parent does not return: it exits with the status that the daemon reports.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(write_end)
        status = os.read(read_end, 1)
        os._exit(status[0] if status else 1)
    os.close(read_end)
    os.setsid()
    return write_end


def detach(report: int) -> None:
    """Tell the waiting parent that all is well, and let go of the terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.chdir("/")
    report_status(report, 0)


def report_status(report: int, status: int) -> None:
    """Tell the waiting parent the status that it shall exit with."""
    os.write(report, bytes([status]))
    os.close(report)
