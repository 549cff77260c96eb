"""Whose counts go on under which name when a program takes another's place.

A reload loads the same program under a name that nobody chose (``reload_1764208553000000``; those of Debian's
varnishreload begin likewise). To who watches the backends it is the program that was there from the start, so that is
its name here.
Names that a user gave are left alone.
"""

from __future__ import annotations

import re
from typing import Final

FIRST: Final = "boot"  # the program of the start
_GENERATED: Final = re.compile(r"reload_\d\w*\Z")


def of_backend(ident: str) -> str:
    """``boot.default`` for ``boot.default`` and ``reload_1.default``, ``""`` for a program that a user named."""
    program, _, backend = ident.partition(".")  # a program's name has no dot
    return f"{FIRST}.{backend}" if program == FIRST or _GENERATED.match(program) else ""
