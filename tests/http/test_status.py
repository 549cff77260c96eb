from __future__ import annotations

import pytest

from varnishpy.http.status import reason


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(200, "OK"), (404, "Not Found"), (503, "Service Unavailable"), (1404, "Not Found"), (799, "Unknown HTTP Status")],
)
def test_reason(status: int, phrase: str) -> None:
    assert reason(status) == phrase
