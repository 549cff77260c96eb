"""What the manager has to say: to standard error while somebody may look at it, and to syslog otherwise.

Lines read ``Level: text`` as varnishd's do; scripts match on them.
"""

from __future__ import annotations

import sys
import syslog
from typing import Final

_LEVELS: Final = {
    "Error": syslog.LOG_ERR,
    "Info": syslog.LOG_INFO,
    "Debug": syslog.LOG_DEBUG,
    "Security": syslog.LOG_WARNING,
    "Child (Error)": syslog.LOG_ERR,
    "CLI": syslog.LOG_INFO,
}

_quiet = False
_to_syslog = False


class StartupError(Exception):
    """The daemon cannot start; the text is for the user, ``status`` is the exit status."""

    def __init__(self, text: str, status: int = 2, usage: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.usage = usage


def go_background() -> None:
    """From now on nobody reads standard error: use syslog."""
    global _quiet, _to_syslog
    _quiet = True
    _to_syslog = True
    syslog.openlog("varnishpy", syslog.LOG_PID, syslog.LOG_DAEMON)


def complain(level: str, text: str) -> None:
    """Tell the operator."""
    if level == "CLI":
        if _to_syslog:
            syslog.syslog(_LEVELS[level], text)
        return
    if not _quiet:
        try:
            sys.stderr.write(f"{level}: {text}\n")
            sys.stderr.flush()
        except OSError:  # the terminal or pipe is gone; the daemon must not die of that
            go_background()
    if _to_syslog:
        syslog.syslog(_LEVELS.get(level, syslog.LOG_INFO), f"{level}: {text}")
