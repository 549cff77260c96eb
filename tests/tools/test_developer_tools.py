"""The programs of ``tools/`` that nothing else runs: they start, and measure what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent.parent.parent / "tools"


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        (["--profile"], "HTTP/2, 3 bursts of 5: least "),
        (["--http1", "--mask", "none"], "HTTP/1.1, 3 bursts of 5: least "),
    ],
)
def test_hit_cost(options: list[str], begins: str) -> None:
    command = [sys.executable, str(TOOLS / "hit-cost"), "--bursts", "3", "--size", "5", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(begins)
    assert ("share  room\n" in done.stdout) == ("--profile" in options)


def test_hit_cost_keeps_within_the_connection_window() -> None:
    """A client that gave more window back than it was sent would go over 2^31-1 after some two thousand bursts."""
    command = [sys.executable, str(TOOLS / "hit-cost"), "--bursts", "2100", "--size", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
