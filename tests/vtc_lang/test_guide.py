"""The examples of docs/testing.md and the README work as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def examples(page: str) -> list[tuple[str, str]]:
    """Language and text of each example."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def run(folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_of_the_guide_pass(tmp_path: Path) -> None:
    blocks = examples("docs/testing.md")
    (python,) = [text for language, text in blocks if language == "python"]
    (script,) = [text for _, text in blocks if text.startswith("vtest ")]
    (tmp_path / "test_example.py").write_text(python)
    (tmp_path / "example.vtc").write_text(script)
    assert "2 passed" in run(tmp_path)


def test_the_example_of_the_readme_passes(tmp_path: Path) -> None:
    (python,) = [text for language, text in examples("README.md") if language == "python"]
    (tmp_path / "test_example.py").write_text(python)
    assert "1 passed" in run(tmp_path)
