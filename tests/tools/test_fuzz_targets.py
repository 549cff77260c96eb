"""What tools/fuzz checks holds of its corpora and of some inputs made of them; the long search is that program's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.fuzzing.targets import TARGETS, by_lot

CORPUS = Path(__file__).parents[2] / "tools" / "fuzzing" / "corpus"
INPUTS = {"vcl": 12}  # programs take their time


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where findings are left
    count, found = by_lot(name, 60.0, CORPUS / name, most=INPUTS.get(name, 100))
    assert found is None
    assert count >= len(list((CORPUS / name).iterdir()))
