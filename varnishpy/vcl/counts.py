"""What a program compiled for coverage has counted, in memory and in files.

The daemon's side of coverage: a child that finds `DIRECTORY` in its environment writes the counts of each program into
that folder when the program goes. What is made of them is told in ``kit/coverage.py``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from varnishpy.vcl.codegen import CoveragePoint
from varnishpy.vcl.module import entry

DIRECTORY: Final = "VARNISHPY_VCL_COV"  # daemons compile for coverage and write what they counted into this folder
SUFFIX: Final = ".vclcov.json"
_VERSION: Final = 1


class CoverageError(Exception):
    """A file of counts cannot be read; the text names it."""


def points_of(module: Mapping[str, object]) -> list[CoveragePoint]:
    """The points of a generated module."""
    return [CoveragePoint(*row) for row in entry(module, "COVERAGE", list)]


@dataclass
class Record:
    """What one program counted: sources (name, text), points, and hits in the order of the points."""

    sources: list[tuple[str, str]]
    points: list[CoveragePoint]
    hits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.hits:
            self.hits = [0] * len(self.points)

    def add(self, hits: Sequence[int]) -> None:
        """Count these as well."""
        self.hits = [have + more for have, more in zip(self.hits, hits, strict=True)]


def write(directory: str | Path, name: str, each: Record) -> None:
    """Write what a program counted to a file of its own; ``name`` is the program's."""
    path = Path(directory) / f"{os.getpid()}-{name}{SUFFIX}"
    number = 0
    while path.exists():
        number += 1
        path = path.with_name(f"{os.getpid()}-{name}-{number}{SUFFIX}")
    shown = {"version": _VERSION, "sources": each.sources, "points": each.points, "hits": each.hits}
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(json.dumps(shown))
    unfinished.replace(path)


def read(path: Path) -> Record:
    """Read a file that `write` made. :raises CoverageError:"""
    try:
        data = json.loads(path.read_text())
        if data["version"] != _VERSION:
            raise CoverageError(f"{path}: written by another version of varnishpy")
        points = [CoveragePoint(*row) for row in data["points"]]
        return Record([(name, text) for name, text in data["sources"]], points, data["hits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CoverageError(f"{path}: {error}") from None


def wanted() -> str:
    """The folder that counts are to be written into; empty when nobody wants them."""
    return os.environ.get(DIRECTORY, "")


def write_program(name: str, module: Mapping[str, object]) -> None:
    """Write what a program counted that was compiled for coverage, if somebody wants it."""
    directory = wanted()
    if not directory or "HITS" not in module:
        return
    hits = module["HITS"]
    assert isinstance(hits, Iterable)  # while units are recorded it is no list
    try:
        write(directory, name, Record(entry(module, "SOURCES", list), points_of(module), list(hits)))
    except OSError as error:
        print(f"coverage of VCL {name} is lost: {error}", file=sys.stderr, flush=True)
