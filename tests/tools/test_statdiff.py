"""``varnishpy statdiff``: two snapshots of the counters compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.conftest import Instance
from varnishpy import stats
from varnishpy.tools import stat, statdiff

Text = pytest.CaptureFixture[str]

OLD = """\
FOO.counter    123     12.00 Only in the first
BAR.counter    456     45.00 In both
BAR.gauge      999       .   In both, a gauge
BAR.same       7       1.00  Does not change
"""
NEW = """\

BAR.same       7       1.00  Does not change
BAR.counter    789     79.00 In both
BAR.gauge      55555     .   In both, a gauge
BAZ.gauge      0         .
"""
DIFFERENCES = """\
 BAR.counter  -456    -45.00  In both
              +789    +79.00
 BAR.gauge    -999     .      In both, a gauge
              +55555   .
+BAZ.gauge     0       .
-FOO.counter   123     12.00  Only in the first
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("old").write_text(OLD, encoding="utf-8")
    Path("new").write_text(NEW, encoding="utf-8")
    return tmp_path


def test_what_differs(files: Path, capsys: Text) -> None:
    assert statdiff.main(["old", "new"]) == 0
    assert capsys.readouterr().out == f"--- old\n+++ new\n{DIFFERENCES}"
    assert statdiff.main(["old", "old"]) == 0
    assert capsys.readouterr().out == "--- old\n+++ old\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Error: not enough arguments.\n\nUsage: varnishpy statdiff <options> <file1> <file2>\n"),
        (["old"], "Error: not enough arguments.\n"),
        (["old", "new", "newer"], "Error: too many arguments.\n"),
        (["old", "none"], "Cannot open none: No such file or directory\n"),
        (["old", "bad"], "bad, line 2: not a counter with its value and rate: MAIN.x 5\n"),
        (["-Z", "old", "new"], "varnishpy statdiff: option -Z not recognized.\nUsage: "),
    ],
)
def test_what_cannot_be_compared(files: Path, arguments: list[str], message: str, capsys: Text) -> None:
    Path("bad").write_text("MAIN.y 5 . Y\nMAIN.x 5\n", encoding="utf-8")
    assert statdiff.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(message)


def test_snapshots_of_an_instance(instance: Instance, tmp_path: Path, capsys: Text) -> None:
    snapshots = []
    segment = stats.new_segment(stats.VBE, "boot.other")
    try:
        for name in ("before", "after"):
            instance.child.flush()
            assert stat.main(["-n", instance.n, "-1", "-I", "VBE.boot.other.*"]) == 0
            path = tmp_path / name
            path.write_text(capsys.readouterr().out, encoding="utf-8")
            snapshots.append(str(path))
            segment.inc("conn", 2)
    finally:
        segment.destroy()
    assert statdiff.main(snapshots) == 0
    before, after, *shown = capsys.readouterr().out.splitlines()
    assert (before, after) == (f"--- {snapshots[0]}", f"+++ {snapshots[1]}")
    assert [line.split()[:3] for line in shown] == [["VBE.boot.other.conn", "-0", "."], ["+2", "."]]
