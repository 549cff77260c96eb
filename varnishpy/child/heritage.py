"""What the manager hands to the child when it forks it."""

from __future__ import annotations

import mmap
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Room for one panic dump; what is longer is cut.
PANIC_SPACE: Final = 256 * 1024


@dataclass(slots=True)
class Heritage:
    """Everything the cache process is born with."""

    workdir: Path
    identity: str
    argv: list[str]
    version: str
    ident: str  # platform and options, as the banner shows them
    cli: socket.socket  # the child's end of the CLI socket pair
    listen: list[tuple[Any, socket.socket]]  # (ListenEndpoint, listening socket)
    parameters: list[tuple[str, str]]  # every parameter that differs from its default, as text
    storage: list[str]  # the -s arguments
    log_size: int  # octets of the shared memory log
    extensions: list[str]  # names of the VMODs that -E brought
    jail: Any  # manager.jail.Jail
    panic: mmap.mmap  # where a dying child leaves its last words
    last_panic: str = ""  # of the child before this one


def write_panic(space: mmap.mmap, text: str) -> None:
    """Leave a panic dump for the manager. Called once, by a process that is about to die."""
    data = text.encode("utf-8", "backslashreplace")[: PANIC_SPACE - 5]
    space[4 : 4 + len(data)] = data
    space[0:4] = len(data).to_bytes(4, "little")  # last, so that the manager never sees half a length


def read_panic(space: mmap.mmap) -> str:
    """The dump that a dead child left, or an empty string."""
    length = int.from_bytes(space[0:4], "little")
    return space[4 : 4 + length].decode("utf-8", "replace") if 0 < length <= PANIC_SPACE - 4 else ""


def clear_panic(space: mmap.mmap) -> None:
    """Make room for the next child."""
    space[0:4] = b"\0\0\0\0"
