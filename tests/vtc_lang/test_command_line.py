"""``varnishpy test``: options, exit statuses, reports."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from varnishpy.vtc import cli

PASS = 'vtest "a title"\nshell true\n'
FAIL = 'vtest "t"\nshell false\n'
SKIP = 'vtest "t"\nfeature cmd false\n'
ERROR = 'vtest "t"\nflurb\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name, text in (("pass", PASS), ("fail", FAIL), ("skip", SKIP), ("error", ERROR), ("other", "hello\n")):
        (tmp_path / f"{name}.vtc").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["pass.vtc"], 0),
        (["fail.vtc"], 1),
        (["skip.vtc"], 77),
        (["error.vtc"], 2),
        (["other.vtc"], 2),
        (["missing.vtc"], 2),
        (["-k", "pass.vtc", "skip.vtc"], 0),
        (["-k", "fail.vtc", "pass.vtc"], 1),
        (["-k", "fail.vtc", "error.vtc"], 2),
        (["-j2", "-n3", "-q", "pass.vtc"], 0),
        (["--compat", "fail.vtc"], 2),
        (["--compat", "-k", "fail.vtc"], 1),
        (["--compat", "-k", "other.vtc"], 77),
        (["--nonsense"], 2),
        (["-j", "0", "pass.vtc"], 2),
        (["-D", "novalue", "pass.vtc"], 2),
        (["-b", "lots", "pass.vtc"], 2),
        (["--junit", "no/folder/out.xml", "pass.vtc"], 2),
        (["--language", "7.1", "pass.vtc"], 0),
        (["--language", "klingon", "pass.vtc"], 2),
        ([], 2),
        (["-h"], 0),
        (["--check", "pass.vtc"], 0),
        (["--check", "error.vtc"], 2),
        (["--explain", "pass.vtc"], 0),
    ],
)
def test_exit_status(write: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int) -> None:
    monkeypatch.chdir(write)
    assert cli.main(words) == status


def test_reports(write: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    monkeypatch.chdir(write)
    cli.main(["-k", "-v", "--junit", "out.xml", "pass.vtc", "fail.vtc", "skip.vtc", "error.vtc"])
    out, err = (part.decode() for part in capfdbinary.readouterr())
    assert "TEST pass.vtc passed" in out
    assert "TEST fail.vtc FAILED" in out
    assert "fail.vtc:2:1" in out
    assert "---- top   shell_exit" in out
    assert "2 tests failed, 1 tests skipped, 1 tests passed" in err
    suite = ET.parse("out.xml").getroot()[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    assert "shell_exit" in (suite.findtext("testcase/failure") or "")


def test_a_failure_ends_the_run_unless_told_to_go_on(
    write: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write)
    cli.main(["fail.vtc", "pass.vtc"])
    assert "pass.vtc" not in capsys.readouterr().out


def test_macros_reach_the_script(write: Path) -> None:
    script = write / "macro.vtc"
    script.write_text('vtest "t"\nshell {test ${answer} = 42}\n')
    assert cli.main(["-D", "answer=42", "-q", str(script)]) == 0


def test_the_title_is_found(write: Path) -> None:
    assert cli.title(cli.load(str(write / "pass.vtc"))) == "a title"
