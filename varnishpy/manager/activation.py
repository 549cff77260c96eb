"""Listen sockets that were open before we started: ``LISTEN_FDS`` of sd_listen_fds(3), used with ``-a fd@NAME``.

Whoever passes them (systemd's socket units) keeps them open, so connections that come while nobody serves wait in the
kernel's queue, ports below 1024 need no privileges, and two instances may accept from the same socket while one takes
over from the other (docs/operations.md).
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from varnishpy.base.endpoint import Address, EndpointError, ListenEndpoint, split_name
from varnishpy.manager.complain import StartupError

_FIRST: Final = 3  # SD_LISTEN_FDS_START


@dataclass(frozen=True, slots=True)
class PassedSocket:
    """One descriptor and its name: ``FileDescriptorName=`` of the socket unit, by default the unit's own name."""

    fd: int
    name: str


def take(environ: MutableMapping[str, str]) -> list[PassedSocket]:
    """The sockets that were passed to this process; the variables are taken out of the environment.

    To be called before the process goes to the background, for ``LISTEN_PID`` names it.

    :raises StartupError: one of them is not open
    """
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    passed = []
    for index in range(int(count)):
        try:
            os.set_inheritable(_FIRST + index, False)
        except OSError:
            raise StartupError(f"LISTEN_FDS is {count}, but descriptor {_FIRST + index} is not open") from None
        passed.append(PassedSocket(_FIRST + index, names[index] if index < len(names) else ""))
    return passed


class Passed:
    """The sockets that were passed, each for one ``-a`` argument."""

    def __init__(self, sockets: list[PassedSocket]) -> None:
        self._left = list(sockets)

    def default_arguments(self) -> list[str]:
        """What stands for ``-a`` if none is given."""
        return [f"fd@{one.fd}" for one in self._left]

    def open(self, endpoint: ListenEndpoint, depth: int) -> list[socket.socket]:
        """The sockets of a ``-a fd@NAME`` (all of that name) or ``-a fd@NUMBER``; sets the endpoint's address.

        :param depth: listen queue depth, for a socket that does not listen yet
        :raises EndpointError: with the text for the user
        """
        wanted = endpoint.passed
        chosen = [one for one in self._left if wanted in (one.name, str(one.fd))]
        if not chosen:
            known = ", ".join(f"{one.fd} {one.name}".rstrip() for one in self._left)
            raise EndpointError(
                f"No socket {wanted} was passed to this process (in -a {endpoint.text}): "
                + (f"there are {known}" if known else "there is none")
            )
        self._left = [one for one in self._left if one not in chosen]
        sockets = [_listener(one.fd, endpoint.text, depth) for one in chosen]
        name = sockets[0].getsockname()
        if sockets[0].family == socket.AF_UNIX:
            path = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
            endpoint.address = Address(None, "", path.replace("\0", "@", 1) if path[:1] == "\0" else path)
        else:
            host, port = split_name(name)
            endpoint.address = Address(host, port, "")
        return sockets

    def check_all_used(self) -> None:
        """A socket that nobody accepts from would let its clients wait for ever.

        :raises EndpointError: naming those that no ``-a`` has taken
        """
        if self._left:
            names = ", ".join(f"fd@{one.name or one.fd}" for one in self._left)
            raise EndpointError(f"Passed sockets that no -a takes: {names}")


def _listener(fd: int, text: str, depth: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise EndpointError(f"Descriptor {fd} is no socket: {error.strerror} (in -a {text})") from None
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        sock.detach()
        raise EndpointError(f"Descriptor {fd} is no stream socket of TCP or Unix (in -a {text})")
    sock.setblocking(False)
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(depth)
    except OSError as error:
        sock.detach()
        raise EndpointError(f"Descriptor {fd} cannot listen: {error.strerror} (in -a {text})") from None
    return sock
