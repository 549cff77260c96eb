"""One row of the parameter table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

Kind = Literal[
    "timeout",  # seconds, or "never"
    "duration",  # seconds
    "double",
    "bool",
    "uint",
    "uint_orzero",  # within bounds, or 0
    "bytes",
    "string",
    "pool",  # min_pool,max_pool,max_age
    "bits",
    "mask",  # bits whose text lists what is off: vsl_mask
]


class Flag(IntFlag):
    """What an operator should know about a parameter; the names are those of varnishd(1)."""

    NONE = 0
    OBJ_STICKY = 1
    DELAYED_EFFECT = 2
    EXPERIMENTAL = 4
    MUST_RELOAD = 8
    MUST_RESTART = 16
    WIZARD = 32
    PROTECTED = 64
    ONLY_ROOT = 128
    BUILD_OPTIONS = 256
    NOT_IMPLEMENTED = 512
    NO_EFFECT = 1024


FLAG_NOTES: dict[Flag, str] = {
    Flag.OBJ_STICKY: "Read when an object is created; objects that exist keep what they have.",
    Flag.DELAYED_EFFECT: "A change shows only as sessions, requests or threads are replaced by new ones.",
    Flag.EXPERIMENTAL: "Whether changing this helps is not well known. Measure, and tell us.",
    Flag.MUST_RELOAD: "A change takes effect for VCL loaded after it.",
    Flag.MUST_RESTART: "A change takes effect when the child process is started again.",
    Flag.WIZARD: "Leave this alone unless a developer asks you to change it.",
    Flag.PROTECTED: "This parameter was made read-only with -r.",
    Flag.ONLY_ROOT: "Only works when started as root.",
    Flag.BUILD_OPTIONS: "The default depends on the installation.",
    Flag.NO_EFFECT: "Accepted so that command lines and scripts written for Varnish work; nothing here reads it.",
    Flag.NOT_IMPLEMENTED: "This platform lacks what the parameter would control.",
}
TIMEOUT_NOTE = 'The value "never" turns this timeout off.'


@dataclass(slots=True)
class Spec:
    """A parameter: what it is called, means and may be. Values are texts, as an operator would type them."""

    name: str
    kind: Kind
    default: str
    minimum: str | None
    maximum: str | None
    units: str
    flags: Flag
    text: str
    minimum_reason: str = ""  # the parameter that a bound follows
    maximum_reason: str = ""
    bits: dict[str, str] | None = None  # name to meaning, for bits and mask
    check: Callable[[str], str] | None = None  # what is wrong with a string; empty if nothing is
    groups: dict[str, tuple[str, ...]] | None = None  # names that stand for several bits


def row(
    name: str,
    kind: Kind,
    default: str,
    text: str,
    *,
    low: str | None = None,
    high: str | None = None,
    units: str = "",
    flags: Flag = Flag.NONE,
    bits: dict[str, str] | None = None,
    groups: dict[str, tuple[str, ...]] | None = None,
    check: Callable[[str], str] | None = None,
) -> Spec:
    """Write one row; units of times, sizes and switches need not be given."""
    if not units:
        units = {"timeout": "seconds", "duration": "seconds", "bytes": "bytes", "bool": "bool"}.get(kind, "")
    if kind == "timeout" and low is None:
        low = "0"
    return Spec(name, kind, default, low, high, units, flags, text, bits=bits, groups=groups, check=check)
