"""The statistics for browsers of this machine: what the stats socket answers, on a TCP port of the loopback interface.

Every local user can connect, so it is off unless the operator asks for it. Web pages that a browser has open can, too:
their scripts are kept out by three checks. ``Host`` must name the loopback interface (a name of the attacker's that
resolves to 127.0.0.1, DNS rebinding, does not), ``Origin`` must be the same site, and ``Sec-Fetch-Site`` must not be
``cross-site`` or ``same-site``.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from varnishpy.base.endpoint import EndpointError, parse_address
from varnishpy.child.stats_socket import MOST_CLIENTS, Provider, StatsSocket, StatsSocketError
from varnishpy.stats.latency import Latencies

_SITES: Final = ("none", "same-origin", "")  # Sec-Fetch-Site of what the user has typed or clicked on our page


class StatsPort(StatsSocket):
    """The same pages on ``address:port``.

    :param where: a loopback address and a port, as the parameter ``stats_listen`` has them
    :raises StatsSocketError: if it cannot be listened on
    """

    def __init__(
        self, where: str, providers: Mapping[str, Provider], latencies: Callable[[], Latencies] = Latencies
    ) -> None:
        super().__init__(where, providers, None, latencies)

    def _listen(self) -> socket.socket:
        where = str(self.path)
        try:
            family, address = parse_address(where, "", "stats_listen").resolve()[0]
            listener = socket.socket(family, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(MOST_CLIENTS)
            except BaseException:
                listener.close()
                raise
        except (OSError, EndpointError) as error:
            raise StatsSocketError(f"stats_listen {where}: {error}") from error
        return listener

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    def _remove(self) -> None:
        """A port leaves nothing behind."""

    def _permits(self, fields: Mapping[str, str]) -> bool:
        host = fields.get("host", "")
        origin = fields.get("origin", "")
        if not _is_loopback(host) or fields.get("sec-fetch-site", "") not in _SITES:
            return False
        return not origin or origin == f"http://{host}"


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3: nobody else's
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
