"""Coverage: what is counted where, how it is merged, and the reports."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from varnishpy.kit import coverage, coverage_report, unit
from varnishpy.kit.coverage import Coverage
from varnishpy.kit.coverage_run import CoverageRun
from varnishpy.vcl import counts

PROGRAM = """vcl 4.1;
backend default none;
sub vcl_recv {
    if (req.url == "/a") {
        return (pass);
    } elseif (req.url == "/b") {
        return (pipe);
    }
    call other;
}
sub other {
    set req.http.X = "1";
}
sub never {
    set req.http.Y = "1";
}
sub vcl_miss { if (req.http.never) { call never; } }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "main.vcl"
    file.write_text(PROGRAM)
    return file


def covered(path: Path, *urls: str) -> Coverage:
    made = unit(path)
    for url in urls:
        made.recv(url=url)
    found = Coverage()
    found.add(made.program.coverage)
    made.discard()
    return found


def test_lines_branches_and_subs(path: Path) -> None:
    (one,) = covered(path, "/a", "/a", "/c").sorted()
    assert one.lines == {4: 3, 5: 2, 6: 1, 7: 0, 9: 1, 12: 1, 15: 0, 17: 0}
    assert one.missed_lines == [7, 15, 17]
    assert [(b.line, b.true, b.false) for b in one.branches.values()] == [(4, 2, 1), (6, 0, 1), (17, 0, 0)]
    assert one.missed_arms == [(6, "true")]
    assert one.subs["other"] == (12, 1)
    assert one.subs["never"] == (15, 0)
    assert one.counts == (14, 8)


def test_runs_are_merged(path: Path) -> None:
    merged = covered(path, "/a")
    made = unit(path)
    made.recv(url="/b")
    merged.add(made.program.coverage)
    (one,) = merged.sorted()
    assert (one.lines[5], one.lines[7]) == (1, 1)


def test_a_file_that_has_changed_starts_anew(path: Path) -> None:
    merged = covered(path, "/a")
    path.write_text(PROGRAM.replace("/a", "/z"))
    made = unit(path)
    made.recv(url="/c")
    merged.add(made.program.coverage)
    (one,) = merged.sorted()
    assert one.lines[5] == 0


def test_counts_travel_through_files(path: Path, tmp_path: Path) -> None:
    made = unit(path)
    made.recv(url="/a")
    folder = tmp_path / "counts"
    folder.mkdir()
    counts.write(folder, "boot", made.program.coverage)
    counts.write(folder, "boot", made.program.coverage)
    found = Coverage()
    found.add_directory(folder)
    (one,) = found.sorted()
    assert one.lines[5] == 2
    (folder / f"bad{counts.SUFFIX}").write_text(json.dumps({"version": 1}))
    with pytest.raises(counts.CoverageError, match="bad"):
        found.add_directory(folder)


def test_the_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    text = coverage_report.table(covered(path, "/a", "/a", "/c"))
    assert text.splitlines()[2].split("  ")[-1] == "7, 15, 17, 6 never true"
    assert "main.vcl" in text
    assert text.splitlines()[-1].split()[-1] == "57%"


def test_whole_per_cents_do_not_flatter() -> None:
    assert [coverage_report.percent(share) for share in (0, 0.001, 0.5, 0.999, 1)] == ["0%", "1%", "50%", "99%", "100%"]


def test_lcov(path: Path) -> None:
    lines = coverage_report.lcov(covered(path, "/a", "/a", "/c")).splitlines()
    assert f"SF:{path}" in lines
    assert "DA:5,2" in lines and "DA:7,0" in lines
    assert "BRDA:4,0,0,2" in lines and "BRDA:4,0,1,1" in lines and "BRDA:17,2,0,-" in lines
    assert "FNDA:1,other" in lines and "FNDA:0,never" in lines
    assert "LF:8" in lines and "LH:5" in lines and "BRF:6" in lines and "BRH:3" in lines
    assert lines[-1] == "end_of_record"


def test_cobertura(path: Path) -> None:
    root = ElementTree.fromstring(coverage_report.cobertura(covered(path, "/a", "/a", "/c")))
    assert (root.get("lines-valid"), root.get("lines-covered"), root.get("branches-covered")) == ("8", "5", "3")
    line = next(each for each in root.iter("line") if each.get("number") == "6")
    assert line.get("condition-coverage") == "50% (1/2)"


def test_html(path: Path, tmp_path: Path) -> None:
    index = coverage_report.html(covered(path, "/a", "/a", "/c"), tmp_path / "html")
    assert "57%" in index.read_text()
    page = next(each for each in index.parent.iterdir() if each.name != "index.html").read_text()
    assert '<tr class="miss" id="L7">' in page
    assert '<tr class="part" id="L6">' in page and "never true" in page
    assert '<tr class="hit" id="L5">' in page


def test_a_run_gathers_what_other_processes_write(path: Path) -> None:
    code = f"from varnishpy.kit import unit\nfrom varnishpy.vcl import counts\nu = unit({str(path)!r})\n"
    code += "u.recv(url='/b')\nu.program.take_hits()\ncounts.write_program('x', {**u.program.globals, 'HITS': "
    code += "u.program.coverage.hits})\n"
    run = CoverageRun(least=100.0)
    with run:
        subprocess.run([sys.executable, "-c", code], check=True)
    said: list[str] = []
    assert run.report(said.append) == 1
    assert run.coverage.files[str(path)].lines[7] == 1
    assert "is less than 100%" in said[-1]


def test_unknown_reports_are_refused(path: Path) -> None:
    with pytest.raises(coverage_report.ReportError, match="there are: term, html, lcov, xml"):
        coverage_report.write_report(Coverage(), "pdf")


def test_text_given_inline_is_nobodys_file() -> None:
    made = unit(PROGRAM)
    made.recv()
    found = Coverage()
    found.add(made.program.coverage)
    assert found.files == {}
    assert coverage.Coverage().share == 1.0


SUITE = """
def test_it(vcl):
    shop = vcl.unit("main.vcl")
    assert shop.recv(url="/a").action == "pass"
    shop.mock("other", "pass")

def test_mocks_are_gone(vcl):
    assert vcl.unit("main.vcl").recv(url="/c").action == "hash"
"""
SCRIPT = """vtest "coverage of scripts"
server s1 { rxreq; txresp } -start
varnish v1 -arg "-f ${testdir}/main.vcl -p vcl_path=${testdir}" -start
client c1 {
	txreq -url "/b"
	expect_close
 } -run
"""


def test_pytest_and_its_workers(path: Path, tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--vcl-cov", "--vcl-cov-report"]
    command += ["lcov:out.info", "--vcl-cov-fail-under", "99"]
    for more in ([], ["-n", "2"]):
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "2 passed" in done.stdout, done.stdout + done.stderr
        assert "7, 15, 17, 6 never true" in done.stdout
        assert "is less than 99%" in done.stdout
        assert done.returncode == 1
        assert "DA:5,1" in (tmp_path / "out.info").read_text()


def test_scripts_and_the_daemons_that_they_start(path: Path, tmp_path: Path) -> None:
    """What a child counts is written when it ends."""
    path.write_text(PROGRAM.replace("backend default none;", 'backend default { .host = "127.0.0.1"; }'))
    (tmp_path / "s.vtc").write_text(SCRIPT)
    command = [sys.executable, "-m", "varnishpy", "test", "--vcl-cov", "--vcl-cov-fail-under", "10", "s.vtc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5, 9, 12, 15, 17, 4 never true, 6 never false" in done.stdout
