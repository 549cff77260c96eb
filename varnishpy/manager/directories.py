"""Directories of a manager: its working directory, and those of storage that outlives it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from varnishpy.base.pidfile import PidFile, PidFileError
from varnishpy.child.heritage import STATE, TMPDIR
from varnishpy.manager.complain import StartupError, complain
from varnishpy.manager.jail import Jail
from varnishpy.storage.persistent.stevedore import OWNER


def make(path: Path) -> list[Path]:
    """Make a directory, and those above it that are missing; returns what was made, innermost first.

    :raises OSError: and nothing is left behind
    """
    missing = []
    above = path
    while not os.path.lexists(above):
        missing.append(above)
        above = above.parent
    made: list[Path] = []
    try:
        for directory in reversed(missing):
            directory.mkdir(mode=0o755, exist_ok=True)
            made.insert(0, directory)
    except OSError:
        for directory in made:
            directory.rmdir()
        raise
    return made


def sweep(path: Path) -> None:
    """Remove from a working directory what a manager that was killed left behind."""
    for entry in path.iterdir():
        if entry.is_dir() and (entry.name.startswith("vcl_") or entry.name in ("_.vsm_mgt", "_.vsm_child")):
            shutil.rmtree(entry, ignore_errors=True)
    (path / "stats.sock").unlink(missing_ok=True)


def renew_tmpdir(workdir: Path, jail: Jail) -> None:
    """A place for files that VMODs need for a while; what an earlier cache process has left there goes."""
    path = workdir / TMPDIR
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(mode=0o700)
        jail.give(path)
    except OSError as error:
        complain("Error", f"Cannot create '{path}': {error.strerror}")  # who needs it will say so


def make_state(workdir: Path, jail: Jail) -> None:
    """A place in the working directory for what the child remembers of itself, over restarts of both processes."""
    path = workdir / STATE
    try:
        path.mkdir(mode=0o755, exist_ok=True)
        for entry in (path, *path.iterdir()):
            jail.give(entry)
    except OSError as error:
        complain("Error", f"Cannot create '{path}': {error.strerror}")  # then it begins anew


def claim(directory: Path, jail: Jail) -> list[PidFile]:
    """Have a storage's directory for ourselves, and let the child write there.

    :return: the lock on it; nothing where there can be none, with which the child copes
    :raises StartupError: another manager has it
    """
    try:
        for path in (directory, *directory.iterdir()):
            jail.give(path)
        return [PidFile(directory / OWNER)]
    except PidFileError as error:
        if error.taken:
            holder = "another process" if error.holder is None else f"process {error.holder}"
            raise StartupError(
                f"Storage directory {directory} is in use by {holder}: stop that, or name another directory"
            ) from None
        complain("Error", f"Storage directory {directory} cannot be locked: {error}")
    except OSError as error:
        complain("Error", f"Storage directory {directory}: {error.strerror}")
    return []


def file_system(path: Path) -> str:
    """The type of the file system that a path is on; empty if the system does not say."""
    found, longest = "", 0
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, where, kind, *_ = line.split(" ")
        if len(where) >= longest and path.is_relative_to(where):  # a later mount covers an earlier one
            found, longest = kind, len(where)
    return found
