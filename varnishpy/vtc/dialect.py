"""Which language scripts are written in: that of today, or that of Varnish 7.1 (Debian 12).

Messages of today's peers carry ``Date``, ``Server`` and ``User-Agent`` unless told otherwise, and a ``shell`` stops at
the first command that fails. Scripts from before 7.4 count octets without those headers.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import varnishpy
from varnishpy.request.via import PRODUCT

_VERSION = re.compile(r"varnish-([0-9a-z][\w.]*)")
_PATIENCE = 10.0
OWN = "varnishpy-"
CHANGED = (7, 4)
"""The release whose scripts are the first in today's language."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """``identifying``: messages say who sends them, and when. ``careful``: the shell runs with ``set -e``."""

    name: str
    identifying: bool = True
    careful: bool = True


CURRENT = Dialect("current")
OLD = Dialect("7.1", identifying=False, careful=False)
DIALECTS = {dialect.name: dialect for dialect in (CURRENT, OLD)}


@lru_cache(16)
def _told_version(program: str) -> str:
    """What a varnishd tells of its version; "" if it tells nothing."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {program} -V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return (done.stdout + done.stderr).decode("latin-1")


def of_program(program: str) -> tuple[Dialect, Mapping[str, str]]:
    """The language of the scripts that came with a daemon ("" is ours), and the macros that tell its version."""
    told = _told_version(program) if program else OWN
    if OWN in told:
        return CURRENT, {"pkg_version": varnishpy.__version__, "pkg_branch": PRODUCT.partition("/")[2]}
    found = _VERSION.search(told)
    if found is None:
        return CURRENT, {}
    version = found.group(1).rstrip(".")
    numbers = re.match(r"([0-9]+)\.([0-9]+)", version)
    old = numbers is not None and tuple(map(int, numbers.groups())) < CHANGED
    return OLD if old else CURRENT, {"pkg_version": version, "pkg_branch": version.rpartition(".")[0] or version}
