"""The two clocks.

``now`` is wall-clock time in seconds since the epoch: what is logged, what objects age by. ``mono`` is monotonic time
in seconds: what deadlines are measured with. Both are the C functions themselves, so reading a clock costs one call.
"""

from __future__ import annotations

import time
from typing import Final

now: Final = time.time
mono: Final = time.monotonic

NEVER: Final = float("inf")
"""The deadline of what may wait for ever."""
