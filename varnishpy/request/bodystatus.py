"""How a body is delimited, and whether it can still be read: one row per state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BodyStatus:
    """``number`` and ``name`` stand in ``Fetch_Body``; ``available`` is 0 no, 1 once, 2 any time, -1 broken."""

    number: int
    name: str
    available: int


NO_BODY: Final = BodyStatus(0, "none", 0)
ERROR: Final = BodyStatus(1, "error", -1)
CHUNKED: Final = BodyStatus(2, "chunked", 1)
LENGTH: Final = BodyStatus(3, "length", 1)
EOF: Final = BodyStatus(4, "eof", 1)
TAKEN: Final = BodyStatus(5, "taken", 0)
CACHED: Final = BodyStatus(6, "cached", 2)

BY_KIND: Final = {status.name: status for status in (NO_BODY, ERROR, CHUNKED, LENGTH, EOF)}
