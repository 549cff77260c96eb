"""Loading what the cache process may import later while it still may read it.

A child in a jail (``-j unix``) runs as somebody who perhaps cannot read the interpreter's library or this package: a
virtual environment below a home directory is closed to everyone else. Imports that Python puts off until they are
needed, codecs above all, would then fail in the middle of traffic. So all of it is loaded before rights are given up.
"""

from __future__ import annotations

import codecs
import importlib
import pkgutil
from typing import Final

import varnishpy

# rooms that the cache process has no business in
_OTHERS: Final = frozenset({"kit", "manager", "tools", "vtc", "__main__"})
# codecs are modules which are imported when the first text is encoded with them; host names need IDNA
_CODECS: Final = ("ascii", "latin-1", "utf-8", "idna", "hex", "base64")


def preload() -> None:
    """Import every module of the rooms that the cache process is made of, and the codecs they use."""
    for name in _CODECS:
        codecs.lookup(name)
    for room in pkgutil.iter_modules(varnishpy.__path__):
        if room.name not in _OTHERS:
            package = importlib.import_module(f"varnishpy.{room.name}")
            for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"varnishpy.{room.name}."):
                _import(module.name)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == "varnishpy":
            raise
        # it is for an extra that is not installed: who uses it is told then
