"""The statistics for browsers: what the stats socket answers, on a TCP port.

Off unless the operator asks for it. On the loopback interface any local user can connect, and so can web pages that a
browser has open: their scripts are kept out by three checks. ``Host`` must name the loopback interface (a name of the
attacker's that resolves to 127.0.0.1, DNS rebinding, does not), ``Origin`` must be the same site, and
``Sec-Fetch-Site`` must not be ``cross-site`` or ``same-site``.

Elsewhere a token is asked for, as on loopback if there is one: as the password of HTTP's Basic scheme (RFC 7617), which
browsers ask their user for, or as a bearer token (RFC 6750). Which name the cache is known by is not ours to say then,
so ``Host`` is free: a browser gives the password to the site only that it was typed for, and so to no rebound name.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from varnishpy.base.endpoint import EndpointError, parse_address
from varnishpy.child.stats_socket import MOST_CLIENTS, Provider, Refusal, StatsSocket, StatsSocketError
from varnishpy.stats.latency import Latencies

LEAST_TOKEN: Final = 16  # characters of a token

_SITES: Final = ("none", "same-origin", "")  # Sec-Fetch-Site of what the user has typed or clicked on our page
_CHALLENGE: Final = 'WWW-Authenticate: Basic realm="varnishpy", charset="UTF-8"\r\n'
_ANOTHER_SITE: Final = Refusal(403, b"Host, Origin or Sec-Fetch-Site is another site's\n")
_WHO: Final = Refusal(401, b"a token is needed\n", _CHALLENGE)


class StatsPort(StatsSocket):
    """The same pages on ``address:port``.

    :param where: an address and a port, as the parameter ``stats_listen`` has them
    :param token: what callers must know; "" : nothing, on a loopback address only
    :raises StatsSocketError: if it cannot be listened on, or needs a token
    """

    def __init__(
        self,
        where: str,
        providers: Mapping[str, Provider],
        latencies: Callable[[], Latencies] = Latencies,
        token: str = "",
    ) -> None:
        self._token = token.encode()
        super().__init__(where, providers, None, latencies)

    def _listen(self) -> socket.socket:
        where = str(self.path)
        try:
            family, address = parse_address(where, "", "stats_listen").resolve()[0]
            if not self._token and not (isinstance(address, tuple) and _is_loopback_address(str(address[0]))):
                raise StatsSocketError(
                    f"stats_listen {where}: this is no loopback address, so stats_token_file must name a file "
                    "with a token"
                )
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

    def _refusal(self, fields: Mapping[str, str]) -> Refusal | None:
        host = fields.get("host", "").lower()
        origin = fields.get("origin", "").lower()
        if fields.get("sec-fetch-site", "") not in _SITES or (origin and origin != f"http://{host}"):
            return _ANOTHER_SITE
        if not self._token:
            return None if _is_loopback(host) else _ANOTHER_SITE
        return None if self._knows(fields.get("authorization", "")) else _WHO

    def _knows(self, authorization: str) -> bool:
        """Does the caller know the token?"""
        scheme, _, word = authorization.partition(" ")
        said = word.strip().encode("latin-1")
        if scheme.lower() == "basic":
            try:
                said = base64.b64decode(said, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(said, self._token)


def read_token(path: str) -> str:
    """The token in a file: its first line. "" for no path.

    :raises StatsSocketError: it cannot be read, or is too short to be none that one can guess
    """
    if not path:
        return ""
    try:
        token = Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeError) as error:
        raise StatsSocketError(f"stats_token_file {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(token) < LEAST_TOKEN:
        raise StatsSocketError(f"stats_token_file {path}: its first line has less than {LEAST_TOKEN} characters")
    return token


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3: nobody else's
        return True
    return _is_loopback_address(name)


def _is_loopback_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
