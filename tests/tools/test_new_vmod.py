"""``varnishpy new-vmod``: what it makes works as it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from varnishpy.__main__ import main


def test_the_test_of_a_new_vmod_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    assert main(["new-vmod", "greeter", str(folder)]) == 0
    assert f"pytest {folder}" in capsys.readouterr().out
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"] == {"varnishpy.vmods": {"greeter": "greeter"}}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("std", "std is built in"),
        ("a-b", "cannot be the name"),
        ("class", "cannot be the name"),
        ("json", "Python's own"),
    ],
)
def test_names_that_will_not_do(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-vmod", name]) == 2
    assert words in capsys.readouterr().err


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert main(["new-vmod", "greeter", str(tmp_path / "x")]) == 1
    assert not any((tmp_path / "x").iterdir())
