"""Log tools in the background (-D, -P, SIGHUP, -a): ours and Debian's behave alike."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.tools.conftest import Instance
from tests.waiting import wait_for
from varnishpy.base.pidfile import PidFile, PidFileError

OURS = {"varnishlog": ["log"], "varnishncsa": ["ncsa"]}
Command = Callable[[str], list[str]]


@pytest.fixture(params=["ours", "theirs"])
def command(request: pytest.FixtureRequest) -> Command:
    """The words that start a tool: this project's, or the C program."""

    def words(tool: str) -> list[str]:
        if request.param == "theirs":
            return [require_program(tool)]
        return [sys.executable, "-m", "varnishpy", *OURS[tool]]

    return words


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def daemons() -> Iterator[list[int]]:
    """Process ids that must be gone afterwards."""
    started: list[int] = []
    yield started
    for pid in started:
        if not _gone(pid):
            os.kill(pid, signal.SIGKILL)


def _start(words: list[str], pid_file: Path, daemons: list[int]) -> int:
    done = subprocess.run(words, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b""), done
    wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), "the pid file")
    pid = int(pid_file.read_text())
    daemons.append(pid)
    assert not _gone(pid)
    return pid


def _logged(instance: Instance, path: Path, url: str) -> None:
    """Log requests until the URL stands in the file."""
    number = iter(range(10_000, 99_999))

    def seen() -> bool:
        instance.request(next(number), 1, url=url)
        instance.child.flush()
        return path.exists() and url.encode() in path.read_bytes()

    wait_for(seen, f"{url} in {path.name}")


@pytest.mark.parametrize("tool", ["varnishlog", "varnishncsa"])
def test_background_rotation_and_end(
    instance: Instance, tmp_path: Path, command: Command, tool: str, daemons: list[int]
) -> None:
    out, pid_file = tmp_path / "out", tmp_path / "pid"
    words = [*command(tool), "-n", instance.n, "-D", "-P", str(pid_file), "-w", str(out)]
    pid = _start(words, pid_file, daemons)
    _logged(instance, out, "/first")

    again = subprocess.run([*words[:-1], str(tmp_path / "other")], capture_output=True, timeout=20, check=False)
    assert again.returncode != 0, "a second one with the same pid file"
    assert not _gone(pid) and int(pid_file.read_text()) == pid

    rotated = out.rename(tmp_path / "out.1")
    os.kill(pid, signal.SIGHUP)
    _logged(instance, out, "/second")
    # what was written before the signal stays where it is, whole
    assert b"/first" in rotated.read_bytes() and b"/second" not in rotated.read_bytes()
    assert not _gone(pid)

    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: _gone(pid), "the end")
    wait_for(lambda: not pid_file.exists(), "the pid file's end")


def test_appending(instance: Instance, tmp_path: Path, command: Command, daemons: list[int]) -> None:
    out, pid_file = tmp_path / "out", tmp_path / "pid"
    for append, kept in ((True, True), (False, False)):
        out.write_bytes(b"from before\n")
        words = [*command("varnishncsa"), "-n", instance.n, "-D", "-P", str(pid_file), "-w", str(out)]
        pid = _start([*words, *(["-a"] if append else [])], pid_file, daemons)
        _logged(instance, out, f"/appended-{append}")
        assert out.read_bytes().startswith(b"from before\n") is kept
        os.kill(pid, signal.SIGTERM)
        wait_for(functools.partial(_gone, pid), "the end")
        wait_for(lambda: not pid_file.exists(), "the pid file's end")


def test_background_needs_a_file(instance: Instance, command: Command) -> None:
    done = subprocess.run(
        [*command("varnishlog"), "-n", instance.n, "-D"], capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert b"Missing -w option" in done.stderr


def test_the_lock_goes_with_the_fork(tmp_path: Path) -> None:
    """The process in the background writes the file while its parent is still there; others stay out all the time."""
    path = tmp_path / "pid"
    held = PidFile(str(path))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            held.write()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_text() == str(child)
    with pytest.raises(PidFileError):
        PidFile(str(path))
    held.remove()
    PidFile(str(path)).remove()
