"""What the declarations of a program come to: backends, probes and ACLs as plain data.

The generated module holds these as constructor calls; the loader hands them to whoever makes the real things.
"""

from __future__ import annotations

from dataclasses import dataclass

from varnishpy.backends.specs import BackendSpec, ProbeSpec

__all__ = ["AclEntry", "AclSpec", "BackendSpec", "ProbeSpec"]


@dataclass(frozen=True, slots=True)
class AclEntry:
    """One network: ``packed`` address (4 or 16 octets), prefix length, and the text that is logged."""

    packed: bytes
    prefix: int
    negated: bool
    text: str


@dataclass(frozen=True, slots=True)
class AclSpec:
    name: str
    entries: tuple[AclEntry, ...]  # by address, what is inside a network before that network
    log: bool = False
    table: bool = False  # only the log can tell
