"""One source, two ways to run it: as plain Python, or with its hot rooms compiled by mypyc.

``setup.py`` compiles the modules that ``setup.cfg`` lists; a compiled module lies beside its source and is what Python
imports. This module is always interpreted and is the first that ``varnishpy`` imports, because it decides which of the
two is run:

* ``VARNISHPY_PURE=1`` in the environment: the source, although compiled modules are there;
* compiled modules in a source tree (``make compiled``) that are older than their source are never used: the source is
  run, and a line on standard error says so;
* otherwise whatever is there.

In all cases it is one or the other for the whole package and for every process that this one starts.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PACKAGE: Final = "varnishpy"
_SWITCH: Final = "VARNISHPY_PURE"
_PROBE: Final = "varnishpy.base.clock"  # a small module that is compiled when anything is
# of what was compiled in place for this Python, in the package's directory; setup.py writes it
_RECORD: Final = f".compiled{EXTENSION_SUFFIXES[0]}.json"

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**attributes: bool | int) -> Callable[[type], type]:
        """Tell the compiler something about a class; does nothing at run time, and spares ``mypy_extensions``."""
        return lambda cls: cls


class _SourceOnly(MetaPathFinder):
    """Finds the package's modules by their source alone."""

    def __init__(self) -> None:
        self._finders: dict[str, FileFinder] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if path is None or fullname.partition(".")[0] != _PACKAGE:
            return None
        for directory in path:
            finder = self._finders.get(directory)
            if finder is None:
                finder = self._finders[directory] = FileFinder(directory, (SourceFileLoader, SOURCE_SUFFIXES))
            spec = finder.find_spec(fullname)
            if spec is not None:
                return spec
        return None


def out_of_date(package: Path) -> str | None:
    """Why modules that were compiled in place must not be used any more, or ``None``."""
    try:
        record: dict[str, tuple[int, str]] = json.loads((package / _RECORD).read_text())
    except FileNotFoundError:
        return None
    if not record:
        return "their build did not finish"
    for name, (modified, digest) in record.items():
        source = package / name
        try:
            if source.stat().st_mtime_ns != modified and hashlib.sha256(source.read_bytes()).hexdigest() != digest:
                return f"{name} has changed"
        except FileNotFoundError:
            return f"{name} is gone"
    return None


def choose() -> None:
    """Decide what the package is run from; called once, when it is imported and before any other module of it is."""
    pure = os.environ.get(_SWITCH, "0") not in ("", "0")
    if not pure:
        why = out_of_date(Path(__file__).parent.parent)
        if why is not None:
            sys.stderr.write(
                f"varnishpy: compiled modules are out of date ({why}): running the source (make compiled)\n"
            )
            os.environ[_SWITCH] = "1"  # the processes that this one starts run what it runs
            pure = True
    if pure:
        sys.meta_path.insert(0, _SourceOnly())


def is_compiled() -> bool:
    """Are the hot rooms compiled in this process?"""
    file = importlib.import_module(_PROBE).__file__
    return file is not None and not file.endswith(".py")


def interpreter() -> str:
    """What runs this process, for ``-V``, the panic dump and the statistics page: ``CPython 3.11.7, compiled``."""
    text = f"{platform.python_implementation()} {platform.python_version()}"
    if is_free_threaded():
        importlib.import_module("varnishpy.base.regex")  # whether there is a GIL is known when its library is loaded
        text += " free-threaded, but a dependency has turned the GIL on" if gil_enabled() else " without a GIL"
    return f"{text}, {'compiled' if is_compiled() else 'pure Python'}"


def is_free_threaded() -> bool:
    """Was this Python built to run without the global interpreter lock?"""
    return "t" in sys.abiflags


def gil_enabled() -> bool:
    """Does the global interpreter lock exist now? Modules that cannot do without it turn it on when imported."""
    ask: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)
    return ask is None or ask()
