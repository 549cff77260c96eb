"""What the cache process must be able to read and write, and whether somebody else than root can.

The system itself is asked, by a process that has become that user: modes, lists of rights, read-only mounts and what a
container forbids are then all in the answer.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import varnishpy
from varnishpy.manager.options import Options
from varnishpy.params import params
from varnishpy.storage.config import StorageSpec

_LONGEST_ANSWER: Final = 65536
_TO_READ: Final = os.R_OK
_TO_LIST: Final = os.R_OK | os.X_OK
_TO_ENTER: Final = os.X_OK
_TO_FILL: Final = os.W_OK | os.X_OK

_WORDS: Final = {_TO_READ: "read", _TO_LIST: "read", _TO_ENTER: "enter", _TO_FILL: "write into", os.W_OK: "write to"}


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that must be possible; ``mode`` is that of access(2)."""

    path: Path
    mode: int
    what: str

    def __str__(self) -> str:
        return f"{_WORDS[self.mode]} {self.path} ({self.what})"


def of_child(options: Options, storage: Iterable[StorageSpec], workdir: Path) -> list[Need]:
    """All that the command line has the cache process do."""
    needs = [*_of_python(), Need(workdir, _TO_LIST, "the working directory")]
    needs += [Need(Path(path).absolute(), _TO_READ, "-E") for path in options.extensions]
    for directory in params.vmod_path.split(":"):
        needs += _of_directory(directory, "vmod_path")
    for spec in storage:
        place = spec.directory or spec.file
        if place is not None and place.is_dir() and spec.directory is None:
            needs.append(Need(place, _TO_FILL, "storage"))  # it makes a file of its own there
        elif place is not None:
            needs.append(Need(place.parent, _TO_ENTER, "storage"))  # the place itself will be given to the user
    backend = options.backend
    if backend is not None and backend.startswith("/") and os.path.exists(backend):
        needs.append(Need(Path(backend), os.W_OK, "-b"))
    return needs


def _of_python() -> Iterator[Need]:
    """The interpreter's library, installed packages, this package."""
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield from _of_directory(sysconfig.get_path(name), "Python's library")
    for root in varnishpy.__path__:
        for directory, _, files in os.walk(root):
            yield Need(Path(directory), _TO_LIST, "the package")
            yield from (Need(Path(directory, file), _TO_READ, "the package") for file in files if file.endswith(".py"))


def _of_directory(path: str, what: str) -> list[Need]:
    """To look at what is in it, if there is such a directory."""
    return [Need(Path(path), _TO_LIST, what)] if os.path.isdir(path) else []


def first_out_of_reach(become: Callable[[], None], needs: Sequence[Need]) -> str:
    """What somebody cannot do, and what hinders it: the end of a sentence whose subject is the user; "" if nothing.

    :param become: makes the calling process that user's, for good
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, _look(become, needs).encode("utf-8", "surrogateescape")[:_LONGEST_ANSWER])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        text = answer.read().decode("utf-8", "surrogateescape")
    os.waitpid(pid, 0)
    return text


def _look(become: Callable[[], None], needs: Sequence[Need]) -> str:
    try:
        become()
    except OSError as error:
        return f"is a user that this process cannot become ({error.strerror})"
    for need in needs:
        if not os.access(need.path, need.mode):
            closed = next((above for above in reversed(need.path.parents) if not os.access(above, os.X_OK)), None)
            return f"cannot {need}" + (f", for {closed} is closed to it" if closed is not None else "")
    return ""
