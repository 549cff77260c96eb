from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _log_ends(log_ends: None) -> None:
    """Benches keep what is logged."""
