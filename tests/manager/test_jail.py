"""Which jail somebody gets who started it as root and has not said."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from varnishpy.manager import jail, reach
from varnishpy.manager.options import parse
from varnishpy.params import table
from varnishpy.storage.config import parse_storage

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_tmp(short_tmp: Path) -> Path:
    """A directory that everybody may look into."""
    short_tmp.chmod(0o755)
    return short_tmp


def test_who_is_not_root_keeps_its_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    chosen, told = jail.choose([])
    assert not chosen.gives_up_rights and told == ""


def test_no_user_to_become(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)
    chosen, told = jail.choose([])
    assert not chosen.gives_up_rights
    assert "runs as root: there is no user vcache, varnish, nobody." in told and "-j unix,user=NAME" in told


@AS_ROOT
def test_root_is_given_up(open_tmp: Path) -> None:
    chosen, told = jail.choose([reach.Need(open_tmp, os.R_OK | os.X_OK, "the working directory")])
    assert chosen.gives_up_rights and told == ""
    assert chosen.user in ("vcache", "varnish", "nobody")
    assert chosen.uid == pwd.getpwnam(chosen.user).pw_uid


def closed_file(path: Path) -> reach.Need:
    path.touch(mode=0o600)
    return reach.Need(path, os.R_OK, "a file")


def closed_directory(path: Path) -> reach.Need:
    path.mkdir(mode=0o700)
    (path / "file").touch(mode=0o644)
    return reach.Need(path / "file", os.R_OK, "a file")


def unwritable(path: Path) -> reach.Need:
    path.mkdir(mode=0o755)
    return reach.Need(path, os.W_OK | os.X_OK, "storage")


@AS_ROOT
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (closed_file, "cannot read {path} (a file)."),
        (closed_directory, "cannot read {path}/file (a file), for {path} is closed to it."),
        (unwritable, "cannot write into {path} (storage)."),
    ],
)
def test_what_hinders_is_told(make: Callable[[Path], reach.Need], sentence: str, open_tmp: Path) -> None:
    need = make(open_tmp / "thing")
    chosen, told = jail.choose([need])
    assert not chosen.gives_up_rights
    assert sentence.format(path=open_tmp / "thing") in told


def test_a_user_that_cannot_be_become() -> None:
    def become() -> None:
        raise PermissionError(1, "Operation not permitted")

    assert reach.first_out_of_reach(become, []) == "is a user that this process cannot become (Operation not permitted)"


def test_what_a_child_needs(open_tmp: Path, setting: Callable[[str, str], object]) -> None:
    places = {name: open_tmp / name for name in ("vmods", "app.sock", "own.py", "bodies")}
    for name in ("vmods", "bodies"):
        places[name].mkdir()
    for name in ("app.sock", "own.py"):
        places[name].touch()
    setting("vmod_path", f"{places['vmods']}:{open_tmp}/none")
    options = parse(["-F", "-b", str(places["app.sock"]), "-E", str(places["own.py"])])
    storage = parse_storage(
        [f"file,{open_tmp}/bodies,10m", f"file,{open_tmp}/one.bin,10m", f"persistent,{open_tmp}/kept,10m"]
    )
    needs = {(str(need.path), need.mode) for need in reach.of_child(options, storage, open_tmp)}
    assert {
        (str(open_tmp), os.R_OK | os.X_OK),  # the working directory
        (str(open_tmp), os.X_OK),  # where files of storage are, which will be its own
        (str(places["bodies"]), os.W_OK | os.X_OK),
        (str(places["vmods"]), os.R_OK | os.X_OK),
        (str(places["app.sock"]), os.W_OK),
        (str(places["own.py"]), os.R_OK),
        (jail.__file__, os.R_OK),
        (os.path.dirname(os.__file__), os.R_OK | os.X_OK),
    } <= needs
    assert f"{open_tmp}/none" not in {path for path, _ in needs}
    assert table.text("vmod_path").endswith("none")
