"""docs/examples work as they stand there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.harness import running
from tests.vtc_lang.test_guide import ROOT

EXAMPLES = ROOT / "docs" / "examples"


def test_the_tests_among_them_pass() -> None:
    folder = str(EXAMPLES)
    here = [path.name for path in EXAMPLES.iterdir() if path.suffix == ".vtc" or path.name.startswith("test_")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, *here]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_vmod_shouts(short_tmp: Path) -> None:
    with running(short_tmp / "v", "-f", str(EXAMPLES / "shout.vcl"), "-p", f"vmod_path={EXAMPLES}") as cache:
        assert cache.raw(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 HEY HEY ")


def test_all_are_listed() -> None:
    page = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        if path.name.startswith((".", "__")):  # what tests leave there
            continue
        assert path.name == "README.md" or f"({path.name}" in page, path.name
