"""Lines to a syslog: the local one by its socket, or another machine's by UDP.

What goes to a local socket has the form that its readers expect there (RFC 3164 section 4.1, without the host), what
goes by UDP that of RFC 5424. Each line is one datagram, cut at `MOST` octets. Nobody answers: a syslog that is not
there, or that does not read, costs its lines and not the tool. Lines lost are counted, and told when it is there again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from varnishpy.base.endpoint import EndpointError, parse_address
from varnishpy.base.near import did_you_mean
from varnishpy.tools.usage import ToolError

MOST: Final = 8192  # octets of a message; RFC 5426 section 3.2 has receivers take 2048, and those in use take this
PATIENCE: Final = 1.0  # seconds for a local socket that is full, and between attempts to connect

_LOCAL: Final = "/dev/log"
# RFC 5424 section 6.2.1
FACILITIES: Final = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
    "authpriv": 10, "ftp": 11, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
LEVELS: Final = {
    "emerg": 0, "alert": 1, "crit": 2, "err": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SyslogAddress:
    """Where to: the path of a Unix socket, or ``udp`` with an address; and as what."""

    path: str
    udp: str
    priority: int
    tag: str


def parse_syslog(text: str, program: str) -> SyslogAddress:
    """Parse ``WHERE[,facility=NAME][,level=NAME][,tag=NAME]``.

    :param program: the tag, if none is given
    :raises ToolError: for what it is not
    """
    where, *options = text.split(",")
    chosen = {"facility": "daemon", "level": "info", "tag": program}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in chosen or not equals or not value:
            raise ToolError(f"-S: {option} is none of facility=, level=, tag={did_you_mean(name, chosen)}")
        chosen[name] = value
    numbers = []
    for name, table in (("facility", FACILITIES), ("level", LEVELS)):
        if chosen[name] not in table:
            raise ToolError(f"-S: Unknown {name} {chosen[name]}.{did_you_mean(chosen[name], table)}")
        numbers.append(table[chosen[name]])
    if not all("!" <= char <= "~" for char in chosen["tag"]) or len(chosen["tag"]) > 48:
        raise ToolError(f"-S: a tag is up to 48 printable characters without blanks: {chosen['tag']}")
    path, udp = (_LOCAL, "") if where == "local" else (where, "")
    if where.startswith("udp://"):
        path, udp = "", where.removeprefix("udp://").rstrip("/")
    if (path and not path.startswith("/")) or (not path and not udp):
        raise ToolError(f"-S: {where} is none of local, /path, udp://host[:port]")
    return SyslogAddress(path, udp, numbers[0] * 8 + numbers[1], chosen["tag"])


class SyslogOutput:
    """An `Output` that sends each line as a message.

    :param notice: called with a line for the user
    :raises ToolError: the address cannot be resolved, or nobody listens at the path
    """

    def __init__(self, where: SyslogAddress, notice: Callable[[str], None]) -> None:
        self.fresh = True
        self.lost = 0
        self._where = where
        self._notice = notice
        self._retry_at = 0.0
        self._host = socket.gethostname() or "-"
        try:
            self._socket: socket.socket | None = self._connect()
        except (OSError, EndpointError) as error:
            raise ToolError(f"-S {where.path or where.udp}: {error}") from None

    def _connect(self) -> socket.socket:
        where = self._where
        if where.udp:
            family, address = parse_address(where.udp, "514", "-S").resolve()[0]
            sock = socket.socket(family, socket.SOCK_DGRAM)
            target: str | tuple[object, ...] = address
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            target = where.path
        try:
            sock.settimeout(PATIENCE)
            sock.connect(target)
        except OSError:
            sock.close()
            raise
        return sock

    def write(self, octets: bytes) -> None:
        """Send the lines; empty ones are left out."""
        for line in octets.split(b"\n"):
            if line.strip():
                self._send(self._head() + line[:MOST])

    def _head(self) -> bytes:
        where = self._where
        if where.udp:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return f"<{where.priority}>1 {now} {self._host} {where.tag} {os.getpid()} - - ".encode()
        now = time.strftime("%b %e %H:%M:%S")
        return f"<{where.priority}>{now} {where.tag}[{os.getpid()}]: ".encode()

    def _send(self, message: bytes) -> None:
        try:
            if self._socket is None:
                if time.monotonic() < self._retry_at:
                    self.lost += 1
                    return
                self._socket = self._connect()
            self._socket.send(message)
        except (OSError, EndpointError) as error:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            if not self.lost:
                self._notice(f"syslog: {error}")
            self.lost += 1
            self._retry_at = time.monotonic() + PATIENCE
            return
        if self.lost:
            self._notice(f"syslog: {self.lost} messages lost")
            self.lost = 0

    def flush(self) -> None:
        """Nothing is buffered."""

    def reopen(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
