"""What the manager hands to the child when it forks it."""

from __future__ import annotations

import mmap
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from varnishpy.base.endpoint import ListenEndpoint
from varnishpy.session.tls_settings import CertificateSpec, TlsSettings
from varnishpy.tier.config import TierSpec

TMPDIR: Final = "worker_tmpdir"  # in the working directory; where temporary files of the child are
STATE: Final = "state"  # in the working directory; what the child keeps for those after it
_LENGTH: Final = 4  # octets in front of a panic dump that tell its length


class Confinement(Protocol):
    """What the child needs of the manager's jail."""

    @property
    def gives_up_rights(self) -> bool: ...

    def enter(self) -> None:
        """Become who serves the traffic."""


@dataclass(slots=True)
class Heritage:
    """Everything the cache process is born with."""

    workdir: Path
    identity: str
    argv: list[str]
    version: str
    ident: str  # platform and options, as the banner shows them
    cli: socket.socket  # the child's end of the CLI socket pair
    listen: list[tuple[ListenEndpoint, socket.socket]]  # with their listening sockets
    parameters: list[tuple[str, str]]  # every parameter that differs from its default, as text
    storage: list[str]  # the -s arguments
    extensions: list[str]  # names of the VMODs that -E brought
    jail: Confinement
    panic: mmap.mmap  # where a dying child leaves its last words
    tls: TlsSettings = field(default_factory=TlsSettings)  # what -A brought; its listeners are among the others
    certificates: list[CertificateSpec] = field(default_factory=list)  # of -A and -a
    files: dict[str, bytes] = field(default_factory=dict)  # what of them the manager has read for a child in a jail
    tier: TierSpec | None = None  # what -s tier=... said
    last_panic: str = ""  # of the child before this one


def panic_space(size: int) -> mmap.mmap:
    """Memory in which a child leaves at most so many octets of last words."""
    return mmap.mmap(-1, _LENGTH + size)


def write_panic(space: mmap.mmap, text: str) -> None:
    """Leave a panic dump for the manager; what is too long is cut. Called once, by a process that is about to die."""
    data = text.encode("utf-8", "backslashreplace")[: len(space) - _LENGTH]
    space[_LENGTH : _LENGTH + len(data)] = data
    space[:_LENGTH] = len(data).to_bytes(_LENGTH, "little")  # last, so that the manager never sees half a length


def read_panic(space: mmap.mmap) -> str:
    """The dump that a dead child left, or an empty string."""
    length = int.from_bytes(space[:_LENGTH], "little")
    return space[_LENGTH : _LENGTH + length].decode("utf-8", "replace") if length <= len(space) - _LENGTH else ""
