"""Fixtures of the HTTP/2 tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.h2.conversation import Conversation
from varnishpy.params import table


@pytest.fixture
def talk() -> Conversation:
    """A conversation whose settings have been exchanged."""
    return Conversation()


@pytest.fixture
def compat() -> Iterator[None]:
    """``feature=+h2_compat``."""
    table.set("feature", "+h2_compat")
    yield
    table.reset("feature")
