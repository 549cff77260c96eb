"""Which statements, branches and subroutines of VCL were passed, over everything that ran it.

A program compiled for coverage counts (see ``vcl/codegen.py``). What it counted comes from three places: units in this
process (`record`), daemons that were told to write it down (``vcl/counts.py``), and other processes of the same test
run. `Coverage` merges them by file. Only files count: the builtin VCL and text given inline belong to nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from varnishpy.vcl.codegen import CoveragePoint
from varnishpy.vcl.counts import SUFFIX, Record, read

_records: list[Record] = []


def record(sources: list[tuple[str, str]], points: list[CoveragePoint]) -> Record:
    """A record of this process, which `Coverage.of_this_process` finds."""
    made = Record(sources, points)
    _records.append(made)
    return made


def records_of_this_process() -> list[Record]:
    """The records of all units so far."""
    return list(_records)


@dataclass
class Branch:
    """A condition: its place, and how often it was true and false."""

    line: int
    column: int
    true: int = 0
    false: int = 0


@dataclass
class FileCoverage:
    """The counts of one file. ``lines``: line to how often its statements ran (the most often run one counts)."""

    name: str
    text: str
    lines: dict[int, int] = field(default_factory=dict)
    branches: dict[tuple[int, int], Branch] = field(default_factory=dict)
    subs: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: line of its first word, calls

    def add(self, point: CoveragePoint, hits: int) -> None:
        """Count a point of this file."""
        if point.kind == "sub":
            line, calls = self.subs.get(point.sub, (point.line, 0))
            self.subs[point.sub] = (min(line, point.line), calls + hits)
            return
        if point.kind == "line":
            self._line(point.line, hits)
            return
        branch = self.branches.setdefault((point.line, point.column), Branch(point.line, point.column))
        if point.kind == "true":
            branch.true += hits
        else:
            branch.false += hits

    def _line(self, line: int, hits: int) -> None:
        self.lines[line] = max(self.lines.get(line, 0), hits)

    def merge(self, other: FileCoverage) -> None:
        """Add the counts of another run of the same text."""
        for line, hits in other.lines.items():
            self.lines[line] = self.lines.get(line, 0) + hits
        for place, branch in other.branches.items():
            mine = self.branches.setdefault(place, Branch(*place))
            mine.true += branch.true
            mine.false += branch.false
        for name, (line, calls) in other.subs.items():
            self.subs[name] = (line, self.subs.get(name, (line, 0))[1] + calls)

    def settle(self) -> None:
        """The line of a condition behind ``else`` has no statement of its own: it ran as often as it was decided."""
        decided: dict[int, int] = {}
        for branch in self.branches.values():
            decided[branch.line] = max(decided.get(branch.line, 0), branch.true + branch.false)
        for line, hits in decided.items():
            self._line(line, hits)

    @property
    def missed_lines(self) -> list[int]:
        """Lines that never ran."""
        return sorted(line for line, hits in self.lines.items() if not hits)

    @property
    def arms(self) -> tuple[int, int]:
        """Arms of conditions: how many there are, how many were taken."""
        taken = sum((branch.true > 0) + (branch.false > 0) for branch in self.branches.values())
        return 2 * len(self.branches), taken

    @property
    def missed_arms(self) -> list[tuple[int, str]]:
        """Conditions that were only ever true, or only ever false: line, and the arm that is missing.

        A condition that never ran at all is told by its line alone.
        """
        missed = []
        for branch in sorted(self.branches.values(), key=lambda each: (each.line, each.column)):
            if bool(branch.true) is not bool(branch.false):
                missed.append((branch.line, "false" if branch.true else "true"))
        return missed

    @property
    def counts(self) -> tuple[int, int]:
        """Lines and arms together: how many there are, how many were passed."""
        arms, taken = self.arms
        return len(self.lines) + arms, len(self.lines) - len(self.missed_lines) + taken

    @property
    def share(self) -> float:
        """Part of lines and arms that was passed, 0 to 1; 1 of nothing."""
        total, passed = self.counts
        return passed / total if total else 1.0


class Coverage:
    """All files, merged."""

    def __init__(self) -> None:
        self.files: dict[str, FileCoverage] = {}

    def add(self, each: Record) -> None:
        """Merge a record. A file whose text has changed since starts anew."""
        run: dict[int, FileCoverage] = {}
        for index, (name, text) in enumerate(each.sources):
            if os.path.isfile(name):
                run[index] = FileCoverage(os.path.abspath(name), text)
        for point, hits in zip(each.points, each.hits, strict=True):
            if point.source in run:
                run[point.source].add(point, hits)
        for one in run.values():
            one.settle()
            have = self.files.get(one.name)
            if have is None or have.text != one.text:
                self.files[one.name] = one
            else:
                have.merge(one)

    def add_directory(self, directory: Path) -> None:
        """Merge every file of counts in a folder. :raises CoverageError:"""
        for path in sorted(directory.glob(f"*{SUFFIX}")):
            self.add(read(path))

    @classmethod
    def of_this_process(cls, more: Iterable[Record] = ()) -> Coverage:
        """What the units of this process passed."""
        made = cls()
        for each in (*_records, *more):
            made.add(each)
        return made

    @property
    def share(self) -> float:
        """Part of all lines and arms that was passed, 0 to 1."""
        counts = [each.counts for each in self.files.values()]
        total = sum(count[0] for count in counts)
        return sum(count[1] for count in counts) / total if total else 1.0

    def sorted(self) -> list[FileCoverage]:
        """The files by name."""
        return [self.files[name] for name in sorted(self.files)]
