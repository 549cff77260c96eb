"""Starting this package's programs from scripts, wherever the package lies."""

from __future__ import annotations

import os
import shutil
import site
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package."""


def shell_words() -> str:
    """The words that start ``varnishpy`` from a shell: this interpreter, and a path if the package is not installed."""
    words = f"'{sys.executable}' -m varnishpy"
    if str(ROOT) in site.getsitepackages():
        return words
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return f"env PYTHONPATH='{path}' {words}"


def make_shim(directory: Path) -> bool:
    """Put a program ``vtest`` into ``directory``, for scripts that test the test program; False if there is one."""
    if shutil.which("vtest") is not None:
        return False
    directory.mkdir()
    shim = directory / "vtest"
    shim.write_text(f'#!/bin/sh\nexec {shell_words()} test --compat "$@"\n')
    shim.chmod(0o755)
    return True
