"""Files that only one process can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from varnishpy.base.pidfile import PidFile, PidFileError


def test_the_holder_is_told_to_whoever_comes_second(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(path)
    file.write()
    assert path.read_text() == str(os.getpid())
    with pytest.raises(PidFileError) as caught:
        PidFile(path)
    assert caught.value.holder == os.getpid()
    file.remove()
    assert not path.exists()
    PidFile(path).remove()


def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    file = PidFile(tmp_path / "pid")
    with pytest.raises(PidFileError, match="unavailable") as caught:
        PidFile(tmp_path / "pid")
    assert caught.value.holder is None
    file.remove()


def test_what_a_dead_process_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("4194304999\n")
    file = PidFile(path)
    file.write()
    assert path.read_text() == str(os.getpid())
    file.remove()


def test_the_file_that_took_its_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(path)
    path.unlink()
    other = PidFile(path)
    file.remove()
    assert path.exists()
    other.remove()


def test_a_place_that_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(PidFileError, match="No such file") as caught:
        PidFile(tmp_path / "no" / "pid")
    assert caught.value.holder is None
    with pytest.raises(PidFileError):
        PidFile(tmp_path)
