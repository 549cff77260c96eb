"""The address grammar of the command line and of VCL backends, and the sockets opened from it.

``-a [name=]address[:port][,PROTO][,option=value...]`` (varnishd(1)): PROTO is ``HTTP``, ``PROXY`` or ``HTTPS``; an
address is a name, an IPv4 address, an IPv6 address in brackets, nothing (all interfaces), a bare port number, an
absolute path of a Unix socket (with ``user=``, ``group=``, ``mode=``), or an abstract Unix socket ``@name``. HTTPS
takes ``cert=`` (a PEM file) and ``key=`` (another, if the private key stands in one of its own). A port may be a range,
``8000-8010``, and then every port of it is listened on. ``fd@NAME`` and ``fd@NUMBER`` stand for sockets that the
process was started with (manager/activation.py).
``-b address[:port]`` and ``-T`` use the same addresses without name and options.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import re
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from varnishpy.base.compiled import mypyc_attr

Proto = Literal["HTTP", "PROXY", "HTTPS"]
SockAddr = tuple[socket.AddressFamily, str | tuple[object, ...]]
"""Address family and what `socket.socket.bind` or ``connect`` take for it."""

LONGEST_PATH = 107
"""Octets of a Unix socket's path: sun_path of unix(7), without its terminator."""
PATH_TOO_LONG = "Path too long for a Unix domain socket"
NO_ABSTRACT_NAME = "The empty abstract socket name is not supported"

_RANGE = re.compile(r"(\d+)-(\d+)\Z", re.ASCII)
_FAST_OPEN_QUEUE = 1024  # connections with data that may wait for the end of their handshake
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_PROTOS: dict[str, Proto] = {"HTTP": "HTTP", "HTTP/1": "HTTP", "PROXY": "PROXY", "HTTPS": "HTTPS", "TLS": "HTTPS"}


class EndpointError(Exception):
    """An address that cannot be used; the text names the option and the fault."""


class CredentialError(EndpointError):
    """The file of a certificate or key cannot be read: nothing that a usage text would help with."""


class _BadAddress(EndpointError):
    """No address at all; who asked adds which option it was for."""


@dataclass(slots=True, frozen=True)
class Address:
    """One parsed address: exactly one of ``path`` and ``port`` is set.

    ``host`` is ``None`` for all interfaces. ``path`` is absolute, or ``@name`` in the abstract namespace.
    """

    host: str | None
    port: str
    path: str

    @property
    def is_uds(self) -> bool:
        """Is it a Unix socket?"""
        return bool(self.path)

    def resolve(self, passive: bool = False, prefer_ipv6: bool | None = None) -> list[SockAddr]:
        """All socket addresses that it stands for, each once, in the resolver's order.

        :param passive: for listening: no host means every interface, not loopback
        :param prefer_ipv6: put that family first (True), or the other (False)
        :raises EndpointError: when the resolver finds nothing; the text is the resolver's
        """
        if self.path:
            return [(socket.AF_UNIX, "\0" + self.path[1:] if self.path[0] == "@" else self.path)]
        flags = socket.AI_PASSIVE if passive else 0
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        except (socket.gaierror, UnicodeError) as exc:
            raise EndpointError(getattr(exc, "strerror", None) or str(exc)) from None
        result: list[SockAddr] = []
        for family, _, _, _, address in found:
            if family in (socket.AF_INET, socket.AF_INET6) and (family, address) not in result:
                result.append((family, address))
        if prefer_ipv6 is not None:
            first = socket.AF_INET6 if prefer_ipv6 else socket.AF_INET
            result.sort(key=lambda entry: entry[0] != first)
        return result

    def each_port(self) -> list[Address]:
        """The address itself, or one for every port of its range; raises `EndpointError` for an impossible range."""
        found = _RANGE.match(self.port)
        if found is None:
            return [self]
        low, high = map(int, found.groups())
        if low == 0:
            raise EndpointError("Range start cannot be 0")
        if high < low:
            raise EndpointError("Range start higher than range end")
        if high > 65535:
            raise EndpointError("Range end higher than 65535")
        return [Address(self.host, str(port), "") for port in range(low, high + 1)]

    def __str__(self) -> str:
        if self.path:
            return self.path
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(slots=True)
class ListenEndpoint:
    """One ``-a`` argument."""

    name: str
    text: str  # the address as written
    address: Address
    proto: Proto = "HTTP"
    uid: int = -1
    gid: int = -1
    mode: int = 0
    options: dict[str, str] = field(default_factory=dict)
    passed: str = ""  # name or number of sockets that are open already; the address is theirs, once taken


@dataclass(slots=True, frozen=True)
class BackendEndpoint:
    """One ``-b`` argument, or the host/port/path of a VCL backend."""

    text: str
    address: Address


def parse_address(text: str, default_port: str, option: str) -> Address:
    """Split an address. Names are not resolved here.

    :param option: the option to name in errors: ``-a``, ``-b``, ``-T``
    :raises EndpointError:
    """
    if text.startswith("@"):
        if len(text) == 1:
            raise _BadAddress(NO_ABSTRACT_NAME)
        return Address(None, "", text)
    if text.startswith("/"):
        if len(text.encode("utf-8", "surrogateescape")) > LONGEST_PATH:
            raise _BadAddress(f"{PATH_TOO_LONG}: at most {LONGEST_PATH} bytes")
        return Address(None, "", text)
    if "/" in text:
        raise EndpointError(f"Unix domain socket addresses must be absolute paths in {option} ({text})")
    if text.isascii() and text.isdigit():
        return Address(None, _port(text), "")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed:
            raise _BadAddress("IPv6 address lacks ']'")
        if rest and rest[0] not in ": ":
            raise _BadAddress("IPv6 address has wrong port separator")
        port = rest[1:].strip() or default_port
    elif " " in text or text.count(":") < 2:  # an IPv6 address without brackets is told from its port by a blank only
        host, _, port = text.partition(" " if " " in text else ":")
        port = port or default_port
    else:
        host, port = text, default_port
    return Address(host or None, _port(port), "")


def _port(port: str) -> str:
    if port.isascii() and port.isdigit() and int(port) > 65535:
        raise _BadAddress(f"Port number {port} is out of range: at most 65535")
    return port


def parse_listen(text: str, default_name: str) -> ListenEndpoint:
    """A ``-a`` argument.

    :param default_name: the name if none is given: ``a0``, ``a1``, ...
    :raises EndpointError: with the text for the user
    """
    name = default_name
    rest = text
    first, equals, _ = text.partition("=")
    if equals and "," not in first and "/" not in first:
        if not _NAME.match(first):
            raise EndpointError(f'invalid -a name "{first}"=[...]')
        name = first
        rest = text[len(first) + 1 :]
        if not rest:
            raise EndpointError(f'Empty named -a argument "{text}"')
    address, *arguments = rest.split(",")
    try:
        if address.startswith("fd@"):
            if not address[3:]:
                raise _BadAddress("fd@ lacks the name or number of a socket")
            endpoint = ListenEndpoint(name, address, Address(None, "", ""), passed=address[3:])
        else:
            endpoint = ListenEndpoint(name, address, parse_address(address, "80", "-a"))
    except _BadAddress as exc:
        raise EndpointError(f"Got no socket(s) for {name}={address} ({exc})") from None
    proto: Proto | None = None
    seen: set[str] = set()
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            if proto is not None:
                raise EndpointError(f"Too many protocol sub-args in -a ({argument})")
            proto = _PROTOS.get(argument.upper())
            if proto is None:
                raise EndpointError(f"Unknown protocol '{argument}'")
            continue
        is_file = key in ("cert", "key")
        if not is_file and (not endpoint.address.path.startswith("/") or key not in ("user", "group", "mode")):
            raise EndpointError(f"Invalid sub-arg {argument} in -a")
        if key in seen:
            raise EndpointError(f"Too many {key} sub-args in -a ({argument})")
        seen.add(key)
        if is_file:
            _credential(endpoint, key, value)
        else:
            _permission(endpoint, key, value)
    endpoint.proto = proto or "HTTP"
    if endpoint.proto != "HTTPS" and not seen.isdisjoint(("cert", "key")):
        raise EndpointError(f"cert and key are for HTTPS in -a ({text})")
    if "key" in seen and "cert" not in seen:
        raise EndpointError(f"key without cert in -a ({text})")
    return endpoint


def _credential(endpoint: ListenEndpoint, key: str, value: str) -> None:
    """A file of a certificate or a private key; whether it is a good one is seen when it is loaded."""
    path = os.path.abspath(value) if value else ""  # the process may change its directory before it reads the file
    try:
        with open(path, "rb"):
            endpoint.options[key] = path
    except OSError as exc:
        raise CredentialError(f"Cannot read {key} {value} in -a: {exc.strerror}") from None


def _permission(endpoint: ListenEndpoint, key: str, value: str) -> None:
    endpoint.options[key] = value
    if key == "user":
        try:
            endpoint.uid = pwd.getpwnam(value).pw_uid
        except KeyError:
            raise EndpointError(f"Unknown user {value} in -a") from None
    elif key == "group":
        try:
            endpoint.gid = grp.getgrnam(value).gr_gid
        except KeyError:
            raise EndpointError(f"Unknown group {value} in -a") from None
    else:
        if not value:
            raise EndpointError("Empty mode sub-arg in -a")
        if not re.fullmatch(r"[0-7]+", value):
            raise EndpointError(f"Invalid mode sub-arg {value} in -a")
        endpoint.mode = int(value, 8)
        if not 0 < endpoint.mode <= 0o777:
            raise EndpointError(f"Mode sub-arg {value} out of range in -a")


def parse_backend(text: str) -> BackendEndpoint:
    """A ``-b`` argument; the port is 80 if none is given, the host this one. :raises EndpointError:"""
    if not text:
        raise EndpointError("Empty -b argument")
    if text.lower().startswith(("http://", "https://")):
        raise EndpointError(_not_a_url(text))
    try:
        address = parse_address(text, "80", "-b")
    except _BadAddress as exc:
        raise EndpointError(f"{exc} (in -b {text})") from None
    if not address.is_uds and address.host is None:
        address = replace(address, host="localhost")
    return BackendEndpoint(text, address)


def _not_a_url(text: str) -> str:
    """What to write instead of ``-b http://host:port/path``."""
    scheme, _, rest = text.partition("://")
    authority, _, path = rest.partition("/")
    said = f"-b takes an address, not a URL ({text}): "
    if scheme.lower() == "https":
        return said + f"for TLS to the origin give it .host and .ssl = 1 in a VCL program (-f), or try -b {authority}"
    said += f"try -b {authority}"
    if path:
        said += "; a path in front of each URL is added by a VCL program (-f), which sets bereq.url"
    return said


def parse_cli(text: str) -> Address:
    """A ``-T`` argument; the port is chosen by the system if none is given. :raises EndpointError:"""
    try:
        return parse_address(text, "0", "-T")
    except _BadAddress as exc:
        raise EndpointError(f"Could not resolve -T argument to address\n\t{exc}") from None


def _clear_the_way(path: str) -> None:
    """Remove a socket's file, whose ever it was: who starts last has the path. Anything else in the way is an error."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@mypyc_attr(native_class=False)
class _PathSocket(socket.socket):
    """A Unix socket bound to a path, which knows the file that it made there."""

    __slots__ = ("file",)

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.file: os.stat_result | None = None

    def bind(self, address: str) -> None:  # type: ignore[override]  # a path and nothing else
        _clear_the_way(address)
        super().bind(address)
        self.file = os.stat(address)

    def remove_file(self) -> None:
        """Remove our file; one that another server has put in its place stays."""
        path = self.getsockname()
        with contextlib.suppress(OSError):
            if self.file is not None and os.path.samestat(os.stat(path), self.file):
                os.unlink(path)


def _bind(family: socket.AddressFamily, address: str | tuple[object, ...], path: str) -> socket.socket:
    sock = _PathSocket() if path.startswith("/") else socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open(address: Address, text: str, option: str, taken: dict[SockAddr, str]) -> list[socket.socket]:
    """Bind every socket of an address. :param taken: what other arguments have bound, added to"""
    try:
        single = [address] if option != "-a" else address.each_port()
        found = [each for one in single for each in one.resolve(passive=True)]
    except EndpointError as exc:
        if option == "-a":
            raise EndpointError(f"Got no socket(s) for {text} ({exc})") from None
        raise EndpointError(f"Could not resolve {option} argument to address\n\t{exc}") from None
    opened: list[socket.socket] = []
    try:
        for family, sockaddr in found:
            if (family, sockaddr) in taken:
                raise EndpointError(f"{option} arguments {taken[family, sockaddr]} and {text} have same address")
            try:
                opened.append(_bind(family, sockaddr, address.path))
            except OSError as failure:
                # a host without IPv6 still resolves localhost to ::1, and binding it says so in either way
                if failure.errno == errno.EAFNOSUPPORT or (failure.errno == errno.EADDRNOTAVAIL and len(found) > 1):
                    continue
                advice = ""
                if failure.errno == errno.EACCES and family != socket.AF_UNIX:
                    advice = f"\n(ports below 1024 are for root: try {option} 127.0.0.1:6081)"
                raise EndpointError(f"Could not get socket {text}: {failure.strerror} (in {option}){advice}") from None
            taken[family, sockaddr if address.path else opened[-1].getsockname()] = text
    except BaseException:
        close_all(opened)
        raise
    if not opened:
        raise EndpointError(f"Got no socket(s) for {text} (in {option})")
    return opened


def open_listen(
    endpoint: ListenEndpoint, depth: int | None, fast_open: bool = False, taken: dict[SockAddr, str] | None = None
) -> list[socket.socket]:
    """Open all sockets of a ``-a`` endpoint: bound, non-blocking, not inheritable, and listening.

    :param depth: listen queue depth; ``None`` to bind only and `listen` later, when there is someone to accept
    :param fast_open: accept TCP Fast Open (RFC 7413), where the kernel knows it
    :param taken: the addresses that other endpoints have, with their texts; gets those of this one
    :raises EndpointError: with the text for the user; nothing stays open
    """
    text = endpoint.text
    sockets = _open(endpoint.address, text, "-a", {} if taken is None else taken)
    try:
        if endpoint.address.path.startswith("/"):
            if endpoint.mode:
                os.chmod(endpoint.address.path, endpoint.mode)
            if endpoint.uid != -1 or endpoint.gid != -1:
                os.chown(endpoint.address.path, endpoint.uid, endpoint.gid)
        for sock in sockets:
            if fast_open and not endpoint.address.is_uds:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, depth or _FAST_OPEN_QUEUE)
            if depth is not None:
                sock.listen(depth)
    except OSError as exc:
        close_all(sockets)
        raise EndpointError(f"Could not get socket {text}: {exc.strerror} (in -a)") from None
    return sockets


def open_cli(text: str, depth: int = 10) -> list[socket.socket]:
    """Open the listening sockets of ``-T``. :raises EndpointError:"""
    sockets = _open(parse_cli(text), text, "-T", {})
    for sock in sockets:
        sock.listen(depth)
    return sockets


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close sockets, and remove the files that they made."""
    for sock in sockets:
        if isinstance(sock, _PathSocket):
            sock.remove_file()
        sock.close()


def shown(endpoint: ListenEndpoint, sock: socket.socket) -> str:
    """One listening socket of an endpoint for people: a URL if there is one, else address and protocol."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"{endpoint.address.path}, {endpoint.proto}"
    host, port = split_name(name)
    if host in ("0.0.0.0", "::"):  # every address; one must be typed
        host = "localhost"
    host = f"[{host}]" if ":" in host else host
    if endpoint.proto == "PROXY":
        return f"{host}:{port}, PROXY"
    return f"{endpoint.proto.lower()}://{host}:{port}/"


def split_name(address: object) -> tuple[str, str]:
    """Address and port of a socket name as log records write them; ``("0.0.0.0", "0")`` for a Unix socket."""
    if isinstance(address, tuple):
        return str(address[0]), str(address[1])
    return "0.0.0.0", "0"
