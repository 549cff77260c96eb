"""pytest plugin: collects ``*.vtc`` files as tests, and offers the fixtures ``varnishpy``, ``origin`` and ``vcl``.

A script is one test, named after its file; it fails with the place in the script and the whole log.  Options::

    --vtc-program PROGRAM    test this daemon instead of ours (e.g. /usr/sbin/varnishd)
    --vtc-define NAME=VALUE  define a macro
    --vtc-timeout SECONDS    how long a script may take
    --vcl-cov                coverage of VCL files, over units, fixtures and scripts

The fixtures are described in :mod:`varnishpy.vtc.fixtures`; both belong to one stage, torn down after the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr

    from varnishpy.kit.caches import Caches
    from varnishpy.kit.units import Units

    from .context import Settings
    from .fixtures import Origin, Stage, Varnishpy
    from .runner import Finished

_AROUND = 3

Style = Literal["long", "short", "line", "no", "native", "value", "auto"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vtc", "scripts of the test language")
    group.addoption("--vtc-program", default="", help="the daemon that scripts test (default: varnishpy)")
    group.addoption("--vtc-define", action="append", default=[], metavar="NAME=VALUE", help="define a macro")
    group.addoption("--vtc-timeout", type=float, default=60.0, help="seconds a script may take")

    cover = parser.getgroup("vclcov", "coverage of VCL")
    cover.addoption("--vcl-cov", action="store_true", help="tell which lines and branches of VCL files were passed")
    cover.addoption(
        "--vcl-cov-report", action="append", default=[], metavar="KIND[:PATH]", help="also write it: html, lcov or xml"
    )
    cover.addoption(
        "--vcl-cov-fail-under", type=float, default=None, metavar="NUMBER", help="fail below so many per cent"
    )


def pytest_configure(config: pytest.Config) -> None:
    least = config.getoption("--vcl-cov-fail-under")
    reports = config.getoption("--vcl-cov-report")
    if config.getoption("--vcl-cov") or reports or least is not None:
        from varnishpy.kit.pytest_coverage import CoveragePlugin

        config.pluginmanager.register(CoveragePlugin(config, reports, least), "varnishpy-vcl-cov")


def _settings(config: pytest.Config) -> Settings:
    from .context import Settings

    macros: dict[str, str] = {}
    for word in config.getoption("--vtc-define"):
        name, equals, value = word.partition("=")
        if not equals:
            raise pytest.UsageError(f"--vtc-define: expected NAME=VALUE, not {word!r}")
        macros[name] = value
    program = config.getoption("--vtc-program")
    if program:
        macros["varnishd"] = program
    return Settings(macros=macros, max_duration=config.getoption("--vtc-timeout"))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".vtc":
        collected: pytest.Collector = VtcFile.from_parent(parent, path=file_path)
        return collected
    return None


class VtcFile(pytest.File):
    """A script."""

    def collect(self) -> Iterator[pytest.Item]:
        yield VtcItem.from_parent(self, name=self.path.stem)


class VtcFailure(Exception):
    """A script did not pass."""

    def __init__(self, finished: Finished) -> None:
        super().__init__(finished.outcome.reason)
        self.finished = finished


class VtcItem(pytest.Item):
    """The test that a script is."""

    def runtest(self) -> None:
        from .cli import load
        from .digest import digest
        from .job import Verdict
        from .runner import Options, Runner

        source = load(str(self.path))
        (finished,) = Runner(Options(settings=_settings(self.config))).run([source])
        if finished.outcome.verdict is Verdict.SKIPPED:
            pytest.skip(finished.outcome.reason)
        if finished.outcome.verdict is not Verdict.PASSED:
            if self.config.getoption("verbose") > 0:
                self.add_report_section("call", "vtc log", finished.log.decode("latin-1"))
            else:
                self.add_report_section("call", "what happened (-v: the whole log)", digest(finished))
            raise VtcFailure(finished)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: Style | None = None
    ) -> str | TerminalRepr:
        error = excinfo.value
        if not isinstance(error, VtcFailure):
            return super().repr_failure(excinfo, style)
        outcome = error.finished.outcome
        rows = error.finished.source.text.splitlines()
        shown: list[str] = []
        for number in range(max(outcome.line - _AROUND, 1), min(outcome.line + _AROUND, len(rows)) + 1):
            shown.append(f"{'>' if number == outcome.line else ' '} {number:4d}  {rows[number - 1]}")
        place = f"{self.path}:{outcome.line}:{outcome.column}" if outcome.line else str(self.path)
        return "\n".join([*(shown if outcome.line else []), f"E        {outcome.reason}", "", f"{place}: {self.title}"])

    @property
    def title(self) -> str:
        from .cli import load, title

        return title(load(str(self.path)))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.path.name}: {self.title}"


@pytest.fixture
def vcl() -> Iterator[Units]:
    """Units of subroutines: ``vcl.unit("default.vcl").recv(url="/")``; see :mod:`varnishpy.kit.unit`.

    A program is compiled once in a session; mocks and sick backends are gone after each test.
    """
    from varnishpy.kit.units import Units

    units = Units()
    yield units
    units.restore()


@pytest.fixture
def vtc_stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """What ``varnishpy`` and ``origin`` of one test share; its ``log`` is shown when the test fails."""
    from .fixtures import Stage

    stage = Stage(tmp_path, _settings(request.config))
    yield stage
    try:
        stage.close()
    finally:
        if stage.used:
            request.node.add_report_section("teardown", "vtc log", stage.log)


@pytest.fixture
def origin(vtc_stage: Stage) -> Callable[..., Origin]:
    """``origin(script, repeat=1)``: start a scripted server."""
    return vtc_stage.origin


@pytest.fixture(scope="session")
def varnishpy_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    """The caches of the session that are used by more than one test."""
    from varnishpy.kit.caches import Caches

    caches = Caches(lambda: tmp_path_factory.mktemp("cache"))
    yield caches
    caches.close()


@pytest.fixture
def varnishpy(vtc_stage: Stage, varnishpy_caches: Caches) -> Iterator[Varnishpy]:
    """``varnishpy(Path("default.vcl"), backends={"app": origin})``: a cache with a program as it is in production.

    Or ``varnishpy("sub vcl_recv { ... }")``: one of its own, with the origins started so far as backends. See
    :class:`varnishpy.vtc.fixtures.Varnishpy`.
    """
    from .fixtures import Varnishpy

    yield Varnishpy(vtc_stage, varnishpy_caches)
    varnishpy_caches.end_test()
