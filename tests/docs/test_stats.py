"""docs/stats.md: the pages that it names, and the fields that it names, are there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DOCS
from tests.e2e.harness import running

PAGE = (DOCS / "stats.md").read_text()


def keys(value: object) -> Iterator[str]:
    """Every name of a field, at whatever depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_pages_and_their_fields(short_tmp: Path) -> None:
    rows = re.findall(r"^\| (`/.*?) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 10
    with running(short_tmp / "v", "-b", "none") as cache:
        cache.get("/")
        for names, about in rows:
            for page in re.findall(r"`(/[\w.]*)`", names):
                query = "?g=request&d&k=1" if page == "/log" else ""
                answer = cache.stats_page(page + query)
                if len(re.findall(r"`\w+`", about)) > 5:  # a row of the table of fields
                    fields = set(keys(json.loads(answer)))
                    assert set(re.findall(r"`([a-z_]{2,})`", about)) <= fields, page
