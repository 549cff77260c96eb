"""The breaker opens after failures in a row, lets one try after a pause, and closes when that one succeeds."""

from __future__ import annotations

import pytest

from tests.conftest import Setting
from varnishpy.base import clock
from varnishpy.tier.breaker import Breaker, State


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, which stands still unless a test moves it."""
    at = [1000.0]
    monkeypatch.setattr(clock, "mono", lambda: at[0])
    return at


def test_it_opens_after_failures_in_a_row(setting: Setting, moment: list[float]) -> None:
    setting("tier_breaker_errors", "3")
    breaker = Breaker()
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    assert not breaker.failed() and not breaker.failed()
    assert breaker.allows()
    assert breaker.failed()
    assert breaker.state is State.OPEN and not breaker.allows() and breaker.opened == 1


def test_one_tries_after_the_pause_and_the_others_wait(setting: Setting, moment: list[float]) -> None:
    setting("tier_breaker_errors", "1")
    setting("tier_breaker_pause", "2")
    breaker = Breaker()
    breaker.failed()
    moment[0] += 2.0
    assert breaker.allows() and breaker.state is State.TRYING
    assert not breaker.allows()
    assert not breaker.failed(), "it was open before"
    moment[0] += 1.9
    assert not breaker.allows()
    moment[0] += 0.2
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.state is State.CLOSED and breaker.allows() and breaker.allows()


def test_who_tries_and_never_tells_does_not_block_it_for_ever(setting: Setting, moment: list[float]) -> None:
    setting("tier_breaker_errors", "1")
    setting("tier_breaker_pause", "1")
    breaker = Breaker()
    breaker.failed()
    moment[0] += 1.0
    assert breaker.allows()
    moment[0] += 1.0
    assert breaker.allows()
