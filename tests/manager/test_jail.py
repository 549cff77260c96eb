"""What is said to who starts it as root."""

from __future__ import annotations

import os
import pwd

import pytest

from varnishpy.manager import jail


@pytest.mark.parametrize(
    ("uid", "argument", "told"),
    [(0, None, True), (0, "none", False), (0, "unix", False), (1000, None, False)],
)
def test_root_is_remarked_on(uid: int, argument: str | None, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert bool(jail.remark(argument)) is told


def test_the_remark_names_a_user_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    known = {"nobody": pwd.getpwuid(0)}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    assert "-j unix has it run as root;" in jail.remark(None)  # as the entry is named here
    known.clear()
    assert "-j unix,user=NAME" in jail.remark(None)
