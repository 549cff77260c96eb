"""Names of hosts in a program, resolved once while compiling."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from varnishpy.base.ipaddr import normal
from varnishpy.vcl.source import Token

if TYPE_CHECKING:
    from varnishpy.vcl.unit import Unit


NOWHERE: Final = "192.0.2.1"  # nobody has it (RFC 5737)


class AddressError(Exception):
    """The name means no address; the text is the resolver's."""


def split_port(text: str, default: str) -> tuple[str, str]:
    """``host``, ``host:port``, ``host port``, ``[v6]:port`` -> host and port."""
    text = text.strip()
    if text.startswith("["):
        host, close, rest = text[1:].partition("]")
        if not close:
            raise AddressError("IPv6 address lacks ']'")
        if not rest:
            return host, default
        if rest[0] not in ": ":
            raise AddressError("IPv6 address has wrong port separator")
        return host, rest[1:].strip()
    if " " in text:
        host, _, port = text.partition(" ")
        return host, port.strip()
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, default


def lookup(text: str, default_port: str, numeric: bool = False) -> list[tuple[str, int]]:
    """All addresses of a host, each once, in the resolver's order; raises `AddressError`."""
    host, port = split_port(text, default_port)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV if numeric else 0
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        raise AddressError(str(error.strerror)) from None
    except (UnicodeError, OverflowError) as error:
        raise AddressError(str(error)) from None
    return list(dict.fromkeys((normal(str(item[4][0])), int(item[4][1])) for item in found))


def resolve(unit: Unit, token: Token, text: str, default_port: str, what: str, most: int) -> list[tuple[str, int]]:
    """The addresses of a host that the program names: at most one of each family, or a message."""
    report = unit.report
    try:
        found = lookup(text, default_port)
    except AddressError as error:
        if unit.options.offline:
            return [(NOWHERE, 80)]
        report.fail(
            f"{what} '{token.text}' could not be resolved to an IP address:\n\t{error}\n"
            "(Sorry if that error message is gibberish.)\n",
            token,
        )
    v4 = [item for item in found if ":" not in item[0]]
    v6 = [item for item in found if ":" in item[0]]
    if len(v4) > 1 or len(v6) > 1 or len(found) > most:
        choice = "and one" if most > 1 else "or"
        listing = "".join(f"\t{ip}:{port}\n" for ip, port in found)
        report.fail(
            f"{what} {token.text}: resolves to too many addresses.\nOnly one IPv4 {choice} IPv6 are allowed.\n"
            f"Please specify which exact address you want to use, we found all of these:\n{listing}",
            token,
        )
    return found


def resolve_all(unit: Unit, token: Token, texts: Iterable[str], default_port: str, what: str) -> list[tuple[str, int]]:
    """The addresses of a backend's hosts, each as :func:`resolve` has them: at most one of each family."""
    return [found for text in texts for found in resolve(unit, token, text, default_port, what, 2)]


def resolve_one(unit: Unit, token: Token, text: str, default_port: str, what: str) -> tuple[str, int]:
    return resolve(unit, token, text, default_port, what, 1)[0]
