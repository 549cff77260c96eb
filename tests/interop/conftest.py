"""Tests of clients written by others, and of what such clients may demand; the daemon's harness is the e2e tests'."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "e2e")]
