"""The production programs of docs/examples with their tests: all pass, and every line and branch is passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_every_line_and_branch_of_the_examples() -> None:
    folders = sorted(path.parent.name for path in EXAMPLES.glob("*/default.vcl"))
    assert len(folders) >= 10
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--vcl-cov",
        "--vcl-cov-fail-under",
        "100",
    ]
    done = subprocess.run([*command, *folders], cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for folder in folders:
        assert f"{folder}/default.vcl" in done.stdout
        assert folder in (EXAMPLES / "README.md").read_text()
