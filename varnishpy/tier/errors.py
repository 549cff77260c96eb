"""Errors of the shared tier. None of them ever reaches a client: who catches one goes on without the tier."""

from __future__ import annotations


class TierConfigError(ValueError):
    """A wrong ``-s tier=...``; the text is for the user."""


class TierError(Exception):
    """The engine could not do it; the text says why."""


class TierTimeout(TierError):
    """The engine did not answer in time."""


class LeftAlone(TierError):
    """The engine was not asked: its breaker is open."""


class BadRecord(TierError):
    """What the engine holds is not what we wrote, or what another version of us wrote."""
