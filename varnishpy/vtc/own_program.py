"""Starting this package's programs from scripts, wherever the package lies."""

from __future__ import annotations

import os
import shutil
import site
import sys
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package."""


def shell_words() -> str:
    """The words that start ``varnishpy`` from a shell: this interpreter, and a path if the package is not installed."""
    words = f"'{sys.executable}' -m varnishpy"
    if str(ROOT) in site.getsitepackages():
        return words
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return f"env PYTHONPATH='{path}' {words}"


#: Varnish's names for the programs of this package, and the words that start each of ours
_PROGRAMS: Final = {
    "varnishd": "",
    "varnishadm": "adm",
    "varnishlog": "log",
    "varnishlog-json": "log --json",
    "varnishncsa": "ncsa",
    "varnishstat": "stat",
    "varnishstatdiff": "statdiff",
    "varnishtop": "top",
    "varnishhist": "hist",
    "varnishtest": "test --compat",
    "vtest": "test --compat",
}


def search_path(directory: Path, own: bool) -> str:
    """Make a folder with our programs under Varnish's names; returns the ``PATH`` with which scripts find them.

    :param own: this package's daemon is tested, so its programs come before any that are installed; else they stand in
        for those that are not
    """
    directory.mkdir()
    path = os.environ.get("PATH", os.defpath)
    for name, words in _PROGRAMS.items():
        if own or (words and shutil.which(name) is None):
            shim = directory / name
            shim.write_text(f'#!/bin/sh\nexec {shell_words()} {words} "$@"\n')
            shim.chmod(0o755)
    return os.pathsep.join([str(directory), path] if own else [path, str(directory)])
