"""What may be chosen for TLS towards clients: of a listener, and of a certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

VERSIONS: Final = {
    "SSLv3": ssl.TLSVersion.SSLv3,
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""Protocol versions by the names of the ``-A`` file and of ``tls.cert.load -p``, the oldest first."""
_EXCLUDED: Final = {
    "SSLv3": ssl.OP_NO_SSLv3,
    "TLSv1.0": ssl.OP_NO_TLSv1,
    "TLSv1.1": ssl.OP_NO_TLSv1_1,
    "TLSv1.2": ssl.OP_NO_TLSv1_2,
    "TLSv1.3": ssl.OP_NO_TLSv1_3,
}


@dataclass(slots=True, frozen=True)
class CertificateSpec:
    """One certificate to load; what is empty or ``None`` is left to OpenSSL, or to the listener."""

    cert_file: str
    key_file: str = ""
    ident: str = ""
    frontend: str = ""  # a listener's name; empty: for all
    dh_file: str = ""
    ciphers: str = ""
    curve: str = ""
    versions: tuple[str, ...] = ()
    server_order: bool = True  # our order of ciphers goes before the client's
    default: bool = False  # for clients that name no server, or one that no certificate is for


@dataclass(slots=True, frozen=True)
class FrontendPolicy:
    """How a listener chooses.

    :ivar versions: of the protocol; empty for what its certificate says
    :ivar abort: end the handshake with a client that names a server for which there is no certificate
    :ivar match_global: certificates that belong to no listener are for this one too
    """

    versions: tuple[str, ...] = ()
    abort: bool = False
    match_global: bool = True


@dataclass(slots=True)
class TlsSettings:
    """All that a ``-A`` file says: ``-a`` arguments, the policies of those listeners by name, certificates."""

    listen: list[str] = field(default_factory=list)
    policies: dict[str, FrontendPolicy] = field(default_factory=dict)
    certificates: list[CertificateSpec] = field(default_factory=list)


def restrict(context: ssl.SSLContext, versions: tuple[str, ...]) -> None:
    """Let a context speak these versions only."""
    if not versions:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return
    chosen = [name for name in VERSIONS if name in versions]
    context.minimum_version = VERSIONS[chosen[0]]
    context.maximum_version = VERSIONS[chosen[-1]]
    for name, bit in _EXCLUDED.items():
        if name not in versions:
            context.options |= bit


_WITH_VALUE: Final = {"-f": "frontend", "-k": "key_file", "-c": "ciphers", "-s": "ciphersuites", "-p": "versions"}


def parse_load(words: list[str]) -> CertificateSpec:
    """The arguments of ``tls.cert.load``: ``[id] file``, then options.

    :raises ValueError: with the text for the user
    """
    named = len(words) > 1 and not words[1].startswith("-")
    ident = words[0] if named else ""
    given = {"cert_file": words[1] if named else words[0]}
    versions: tuple[str, ...] = ()
    default = server_order = False
    rest = iter(words[2 if named else 1 :])
    for word in rest:
        if word == "-d":
            default = True
        elif word == "-o":
            server_order = True
        elif word not in _WITH_VALUE:
            raise ValueError(f"Unknown TLS option: {word}")
        else:
            value = next(rest, "")
            if not value or value.startswith("-"):
                raise ValueError(f"No value specified for: {word}")
            if word == "-p":
                versions = _versions(value)
            elif word == "-s":
                raise ValueError("Python's TLS cannot choose the ciphers of TLS 1.3: leave -s out")
            else:
                given[_WITH_VALUE[word]] = value
    return CertificateSpec(ident=ident, versions=versions, server_order=server_order, default=default, **given)


def _versions(text: str) -> tuple[str, ...]:
    by_lower = {name.lower(): name for name in VERSIONS}
    for word in text.split(","):
        if word.lower() not in by_lower:
            raise ValueError(f"Unknown protocol specifier: {word}")
    return tuple(by_lower[word.lower()] for word in text.split(","))
