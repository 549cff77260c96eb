"""What a failure shows: a page, an annotation; and the options of a run that people work with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_for
from varnishpy.vtc import watching
from varnishpy.vtc.digest import annotation, digest
from varnishpy.vtc.job import Outcome, Verdict
from varnishpy.vtc.runner import Finished
from varnishpy.vtc.text import Source

SCRIPT = """vtest "fails"
server s1 {
    rxreq
    txresp -status 404
} -start
varnish v1 -vcl+backend { sub vcl_recv { return (pass); } } -start
client c1 {
    txreq -url "/x"
    rxresp
    expect resp.status == 200
} -run
"""
LOG = """**** c1    txreq|GET /x HTTP/1.1\\r
**** c1    txreq|Host: h\\r
**** s1    rxhdr|GET /x HTTP/1.1\\r
**** s1    txresp|HTTP/1.1 404 OK\\r
**** v1    vsl|       1002 VCL_call        b BACKEND_FETCH
**** v1    vsl|       1002 VCL_return      b fetch
**** v1    vsl|       1002 FetchError      b Resource temporarily unavailable
**** v1    vsl|       1001 VCL_call        c RECV
**** v1    vsl|       1001 VCL_return      c hash
**** v1    vsl|       1001 Hit             c 5 1.0 2.0 3.0
**** c1    rxhdr|HTTP/1.1 404 OK\\r
"""


def failed(log: str = LOG, line: int = 10) -> Finished:
    outcome = Outcome(Verdict.FAILED, line, 5, 'EXPECT resp.status (404) == "200" failed')
    return Finished(Source("t.vtc", SCRIPT), outcome, 0.1, log.encode())


def test_the_page_of_a_failure() -> None:
    assert digest(failed()).splitlines() == [
        't.vtc:10:5: EXPECT resp.status (404) == "200" failed',
        "     7  client c1 {",
        '     8      txreq -url "/x"',
        "     9      rxresp",
        ">   10      expect resp.status == 200",
        "    11  } -run",
        "",
        "    c1   sends GET /x HTTP/1.1",
        "    s1   gets  GET /x HTTP/1.1",
        "    s1   sends HTTP/1.1 404 OK",
        "    v1   1002 (fetch): BACKEND_FETCH fetch, FetchError: Resource temporarily unavailable",
        "    v1   1001: RECV hash, Hit",
        "    c1   gets  HTTP/1.1 404 OK",
        "",
        "    (the whole log: varnishpy test -v)",
    ]


def test_a_page_stays_a_page() -> None:
    page = digest(failed(LOG * 100)).splitlines()
    assert len(page) < 40
    assert "more before" in page[7]


def test_annotations() -> None:
    assert annotation(failed()) == (
        '::error file=t.vtc,line=10,col=5,title=varnishpy test::EXPECT resp.status (404) == "200" failed'
    )


def run(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "varnishpy", "test", *words],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_a_folder_without_scripts_is_an_error(tmp_path: Path) -> None:
    done = run(".", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "varnishpy test: there is no script (*.vtc) in .\n")


PASSING = 'vtest "passes"\nshell { true }\n'
FAILING = 'vtest "fails"\nshell { false }\n'


def test_failures_are_annotated_in_a_workflow(tmp_path: Path) -> None:
    (tmp_path / "f.vtc").write_text(FAILING)
    done = run("f.vtc", folder=tmp_path, GITHUB_ACTIONS="true")
    assert done.returncode == 1
    assert "::error file=f.vtc,line=2,col=1," in done.stdout
    assert "::error" not in run("f.vtc", folder=tmp_path, GITHUB_ACTIONS="").stdout


def test_the_whole_log_is_there_for_who_wants_it(tmp_path: Path) -> None:
    (tmp_path / "f.vtc").write_text(FAILING)
    assert "TEST f.vtc starting" not in run("f.vtc", folder=tmp_path).stdout
    assert "TEST f.vtc starting" in run("-v", "f.vtc", folder=tmp_path).stdout


def test_order_by_lot(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"t{number}.vtc").write_text(PASSING)
    first, again, plain = (run(*words, ".", folder=tmp_path) for words in (["--shuffle", "--seed", "3"],) * 2 + ([],))
    order = [line.split()[3] for line in first.stdout.splitlines() if " TEST " in line]
    assert "(--seed 3)" in first.stdout
    assert order == [line.split()[3] for line in again.stdout.splitlines() if " TEST " in line]
    assert order != sorted(order)
    assert sorted(order) == [line.split()[3] for line in plain.stdout.splitlines() if " TEST " in line]


def test_what_is_watched(tmp_path: Path) -> None:
    (tmp_path / "a.vtc").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.vcl").write_text("x")
    state = watching.state_of([str(tmp_path / "a.vtc")])
    assert [Path(name).name for name in state] == ["a.vtc", "c.vcl"]
    (tmp_path / "deep" / "c.vcl").write_text("xx")
    assert watching.state_of([str(tmp_path)]) != state


def test_watch_runs_again_after_a_change(tmp_path: Path) -> None:
    (tmp_path / "w.vtc").write_text(FAILING)
    command = [sys.executable, "-u", "-m", "varnishpy", "test", "--watch", "w.vtc"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("#    watching"):
                break
        (tmp_path / "w.vtc").write_text(PASSING + "# changed\n")
        for line in process.stdout:
            said.append(line)
            if line.startswith("#    watching"):
                break
        process.send_signal(signal.SIGINT)
        wait_for(lambda: process.poll() is not None, "the end of the watch")
    finally:
        process.kill()
        process.wait()
    text = "".join(said)
    assert "w.vtc FAILED" in text and "w.vtc changed" in text and "w.vtc passed" in text
    assert process.returncode == 0


@pytest.mark.parametrize("words", [["--vcl-cov-fail-under", "101"], ["--vcl-cov-fail-under", "x"]])
def test_a_percentage_is_one(tmp_path: Path, words: list[str]) -> None:
    done = run(*words, "x.vtc", folder=tmp_path)
    assert done.returncode == 2
    assert "expected a number from 0 to 100" in done.stderr
