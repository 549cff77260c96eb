"""The pytest side of coverage: one folder for the whole session, workers of pytest-xdist included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from varnishpy.kit.coverage import records_of_this_process
from varnishpy.kit.coverage_run import CoverageRun
from varnishpy.vcl.counts import DIRECTORY, write


class CoveragePlugin:
    """Registered when coverage is asked for. A worker writes what its units counted; the session's head tells all."""

    def __init__(self, config: pytest.Config, reports: list[str], least: float | None) -> None:
        self.is_worker = hasattr(config, "workerinput")
        self.run = CoverageRun(reports, least, wanted=True)
        if not self.is_worker:
            self.run.__enter__()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """All tests are over."""
        if self.is_worker:
            for number, record in enumerate(records_of_this_process()):
                write(Path(os.environ[DIRECTORY]), f"unit{number}", record)
            return
        self.run.__exit__(None, None, None)
        least = self.run.least
        if least is not None and self.run.coverage.share * 100 < least and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, behind the failures."""
        terminalreporter.section("VCL coverage")
        self.run.report(terminalreporter.write_line)
