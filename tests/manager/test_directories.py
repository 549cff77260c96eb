"""Directories of a manager, without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from varnishpy.manager import directories, jail
from varnishpy.manager.complain import StartupError
from varnishpy.storage.persistent.stevedore import OWNER

NONE = jail.parse(None)


def test_missing_directories_are_made_and_told(tmp_path: Path) -> None:
    made = directories.make(tmp_path / "a" / "b")
    assert made == [tmp_path / "a" / "b", tmp_path / "a"]
    assert directories.make(tmp_path / "a" / "b") == []


def test_the_place_for_temporary_files_is_emptied(tmp_path: Path) -> None:
    directories.renew_tmpdir(tmp_path, NONE)
    (tmp_path / "worker_tmpdir" / "left").write_text("x")
    directories.renew_tmpdir(tmp_path, NONE)
    assert list((tmp_path / "worker_tmpdir").iterdir()) == []


def test_no_place_for_temporary_files_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directories.renew_tmpdir(tmp_path / "missing", NONE)
    assert "worker_tmpdir': No such file or directory" in "".join(capsys.readouterr())


def test_a_storage_directory_has_one_owner(tmp_path: Path) -> None:
    (lock,) = directories.claim(tmp_path, NONE)
    lock.write()
    with pytest.raises(StartupError, match="is in use by process"):
        directories.claim(tmp_path, NONE)
    lock.remove()
    assert not (tmp_path / OWNER).exists()
    (again,) = directories.claim(tmp_path, NONE)
    again.remove()


def test_a_directory_that_cannot_be_locked_is_left_to_the_child(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / OWNER).mkdir()
    assert directories.claim(tmp_path, NONE) == []
    assert "cannot be locked: Is a directory" in "".join(capsys.readouterr())


def test_file_systems_are_told_apart() -> None:
    assert directories.file_system(Path("/proc/self")) == "proc"
    assert directories.file_system(Path("/proc/nowhere/at/all")) == "proc"
    assert directories.file_system(Path("/")) not in ("", "proc")
