"""The examples of docs/testing.md work as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


def test_the_examples_of_the_guide_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (python,) = [text for language, text in blocks if language == "python"]
    (script,) = [text for _, text in blocks if text.startswith("vtest ")]
    (tmp_path / "test_example.py").write_text(python)
    (tmp_path / "example.vtc").write_text(script)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
