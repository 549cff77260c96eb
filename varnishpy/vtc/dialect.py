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
def program_version(program: str) -> str:
    """What a varnishd says its version is ("7.1.1", "trunk"); "" if it does not tell."""
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
    found = _VERSION.search((done.stdout + done.stderr).decode("latin-1"))
    return found.group(1).rstrip(".") if found else ""


def of_version(version: str) -> Dialect:
    """The language of the scripts that came with that version."""
    numbers = re.match(r"([0-9]+)\.([0-9]+)", version)
    return OLD if numbers and tuple(map(int, numbers.groups())) < (7, 4) else CURRENT


def own_packaging() -> Mapping[str, str]:
    """Macros that tell the version of our daemon, and the branch it names in ``Via``."""
    return {"pkg_version": varnishpy.__version__, "pkg_branch": PRODUCT.partition("/")[2]}


def packaging(version: str) -> Mapping[str, str]:
    """The same for another daemon, if it told its version."""
    if not version:
        return {}
    return {"pkg_version": version, "pkg_branch": version.rpartition(".")[0] or version}
