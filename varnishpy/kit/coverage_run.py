"""Coverage over one run of tests, whatever processes it takes: a folder for the counts, and what is told in the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from varnishpy.kit.coverage import Coverage
from varnishpy.kit.coverage_report import ReportError, percent, table, write_report
from varnishpy.vcl.counts import DIRECTORY


class CoverageRun:
    """What is asked for, and the folder while the run lasts.

    :param reports: ``KIND`` or ``KIND:PATH``, see `coverage_report.REPORTS`
    :param least: per cent below which the run fails
    """

    def __init__(self, reports: list[str] | None = None, least: float | None = None, wanted: bool = False) -> None:
        self.wanted = wanted
        self.reports = reports or []
        self.least = least
        self.coverage = Coverage()
        self._before: str | None = None
        self.directory: Path | None = None

    @property
    def is_on(self) -> bool:
        """Is coverage asked for in any way?"""
        return self.wanted or bool(self.reports) or self.least is not None

    def __enter__(self) -> CoverageRun:
        self._before = os.environ.get(DIRECTORY)
        self.directory = Path(tempfile.mkdtemp(prefix="vclcov-"))
        os.environ[DIRECTORY] = str(self.directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Merge what all processes wrote, and this one's units."""
        directory, self.directory = self.directory, None
        assert directory is not None
        if self._before is None:
            os.environ.pop(DIRECTORY, None)
        else:
            os.environ[DIRECTORY] = self._before
        self.coverage = Coverage.of_this_process()
        self.coverage.add_directory(directory)
        shutil.rmtree(directory)

    def report(self, write: Callable[[str], None]) -> int:
        """Tell the outcome; 1 if there is too little of it or a report could not be written, else 0."""
        write("")
        if self.coverage.files:
            write(table(self.coverage).rstrip("\n"))
        else:
            write("VCL coverage: no VCL file was run")
        status = 0
        for asked in self.reports:
            if asked == "term":
                continue
            try:
                write(f"VCL coverage written to {write_report(self.coverage, asked)}")
            except (ReportError, OSError) as error:
                write(f"VCL coverage: {error}")
                status = 1
        if self.least is not None and self.coverage.share * 100 < self.least:
            write(f"VCL coverage: {percent(self.coverage.share)} is less than {self.least:g}%")
            status = 1
        return status
