"""Fixtures of the HTTP/2 session's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Setting
from tests.http2.h2_room import Room


@pytest.fixture(params=["on", "off"], ids=["inline", "handed"])
def room(request: pytest.FixtureRequest, setting: Setting) -> Iterator[Room]:
    """Both ways to run requests: by the session thread itself, and by others."""
    setting("h2_inline", request.param)
    room = Room()
    yield room
    room.stop()
