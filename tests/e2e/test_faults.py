"""The campaigns of tools/faults, as far as a minute's patience goes; `make soak` runs them all, and longer."""

from __future__ import annotations

import pytest

from tests.conftest import require_program
from tools.soaking.campaigns import CAMPAIGNS, run


@pytest.mark.parametrize("name", ["short", "sockets", "disk", "kill"])
def test_campaign(name: str) -> None:
    require_program("cc")
    wrong, _ = run(CAMPAIGNS[name], seconds=1.5, rate=80, seed=1, calm=0.5)
    assert not wrong
