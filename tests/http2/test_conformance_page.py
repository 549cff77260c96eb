"""``docs/http2-conformance.md`` names tests and counters: all of them exist."""

from __future__ import annotations

import re
from pathlib import Path

from varnishpy.stats.main_table import MAIN_COLUMNS

TESTS = Path(__file__).resolve().parent.parent
PAGE = (TESTS.parent / "docs" / "http2-conformance.md").read_text()
FILES = {
    letter: next(file for room in ("h2", "http2") if (file := TESTS / room / name).exists())
    for letter, name in re.findall(r"`([A-Z])` is `(test_\w+\.py)`", PAGE)
}


def rows(section: str) -> list[list[str]]:
    """The cells of the rows of a section's table."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_file_exists() -> None:
    named = set(re.findall(r"\b(?:test_\w+|conformance_cases)\.py", PAGE))
    assert named
    assert sorted(name for name in named if not list(TESTS.glob(f"*/{name}"))) == []
    assert len(FILES) >= 7


def test_every_test_exists() -> None:
    missing = []
    found = 0
    for where, name in re.findall(r"\b([A-Z]|tests/\w+)::(test_\w+\*?)", PAGE):
        sources = [FILES[where]] if where in FILES else list((TESTS.parent / where).glob("test_*.py"))
        pattern = re.compile(rf"^def {name.replace('*', '[a-z_0-9]*')}\(", re.MULTILINE)
        found += 1
        if not any(pattern.search(source.read_text()) for source in sources):
            missing.append(f"{where}::{name}")
    assert found > 100
    assert missing == []


def test_every_demand_has_a_test() -> None:
    for section in ("RFC 9113", "RFC 7541", "RFC 9218"):
        table = rows(section)
        assert table
        assert [row for row in table if "test_" not in row[-1]] == []


def test_every_limit_has_a_counter() -> None:
    known = {column.name for column in MAIN_COLUMNS}
    table = rows("Limits on hostile clients")
    assert len(table) > 8
    counters = {name for row in table for name in re.findall(r"`(\w+)`", row[-1])}
    assert len(counters) > 5
    assert sorted(counters - known) == []
