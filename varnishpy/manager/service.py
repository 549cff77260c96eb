"""What a service manager is told, by sd_notify(3)'s protocol: datagrams to the socket that ``NOTIFY_SOCKET`` names.

systemd starts units of ``Type=notify`` so, and other supervisors speak it as well. Without such a socket nothing is
sent. The manager's thread is the only caller. ``WATCHDOG=1`` is sent from the manager's loop, so it tells that the
loop turns; the child is watched by the manager itself (``ping_interval``, ``cli_timeout``).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping

from varnishpy.manager.loop import Loop


class ServiceManager:
    """The other end of ``NOTIFY_SOCKET``.

    The variables are taken out of the environment: the child must not speak for the manager, nor what it starts.

    :param environ: as `os.environ`; read before the process goes to the background, for ``WATCHDOG_PID`` names it
    :param complain: told once, if nobody listens
    """

    def __init__(self, environ: MutableMapping[str, str], complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._status = ""
        self._is_ready = False
        self._address = environ.pop("NOTIFY_SOCKET", "")
        if self._address[:1] == "@":
            self._address = "\0" + self._address[1:]
        elif self._address and not self._address.startswith("/"):
            complain(f"NOTIFY_SOCKET={self._address}: no path and no abstract socket, so nobody is told")
            self._address = ""
        interval, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self.watchdog = 0.0
        """How often at least it wants to hear of us, in seconds; 0 for never."""
        if self._address and interval.isdecimal() and pid in ("", str(os.getpid())):
            self.watchdog = int(interval) / 1e6

    def ready(self) -> None:
        """The start is over. Names the process, which may have gone to the background since."""
        self._is_ready = True
        self._tell("READY=1", f"MAINPID={os.getpid()}")

    @contextlib.contextmanager
    def reload(self) -> Iterator[None]:
        """Around what changes the configuration of a running service, whether it succeeds or not."""
        if self._is_ready:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            if self._is_ready:
                self._tell("READY=1")

    def stopping(self) -> None:
        """The end begins."""
        self._tell("STOPPING=1")

    def watch_over(self, loop: Loop, longest: float) -> None:
        """From now on tell the watchdog that this loop turns.

        :param longest: for how many seconds a command may keep it from that
        """
        if not self.watchdog:
            return
        if self.watchdog <= longest:
            self._complain(f"the watchdog's {self.watchdog:g} s should be more than cli_timeout ({longest:g} s)")

        def alive() -> None:
            self._tell("WATCHDOG=1")
            loop.after(self.watchdog / 2, alive)

        alive()

    def status(self, text: str) -> None:
        """A line for ``systemctl status``; sent when it has changed."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def _tell(self, *fields: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(fields).encode("utf-8", "surrogateescape"), self._address)
            except BlockingIOError:
                self._complain(f"the notify socket is full; not told: {fields[0]}")
            except OSError as error:
                self._complain(f"the notify socket does not answer ({error.strerror}): nobody is told anything")
                self._address = ""
