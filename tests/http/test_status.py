from __future__ import annotations

import pytest

from varnishpy.http.status import has_body, reason


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(200, "OK"), (404, "Not Found"), (503, "Service Unavailable"), (1404, "Not Found"), (799, "Unknown HTTP Status")],
)
def test_reason(status: int, phrase: str) -> None:
    assert reason(status) == phrase


@pytest.mark.parametrize(
    ("status", "expected"), [(100, False), (101, False), (200, True), (204, False), (304, False), (404, True)]
)
def test_has_body(status: int, expected: bool) -> None:
    assert has_body(status) is expected
