"""VMODs are tested through VCL: the bench of tests/vcl compiles, loads and runs it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "vcl"))
