"""The manager as a container has it: process 1, or at least the one that inherits orphans; SIGTERM to a group."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Cache, process_gone
from tests.waiting import wait_for

# A subreaper (prctl(2)) with an orphan, which ends when it has read a line; then the daemon, in the same process.
_SUBREAPER = """
import ctypes, os, sys
assert ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) == 0
if os.fork() == 0:
    if os.fork():
        os._exit(0)
    os.read(int(sys.argv[1]), 1)
    os._exit(0)
os.wait()
os.execv(sys.executable, [sys.executable, "-m", "varnishpy", *sys.argv[2:]])
"""


def test_orphans_are_buried(short_tmp: Path) -> None:
    read_end, write_end = os.pipe()
    words = ["-F", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-b", "none"]
    command = [sys.executable, "-c", _SUBREAPER, str(read_end), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, pass_fds=[read_end]) as daemon:
        os.close(read_end)
        assert daemon.stderr is not None
        assert any("Child launched OK" in line for line in daemon.stderr)
        assert len(psutil.Process(daemon.pid).children()) == 2  # the child and the orphan
        os.close(write_end)
        wait_for(lambda: len(psutil.Process(daemon.pid).children()) == 1, "the burial")
        daemon.send_signal(signal.SIGTERM)
        rest = daemon.stderr.read()
        assert daemon.wait(30) == 0, rest


def test_a_signal_to_the_whole_group_is_an_end_and_no_death(short_tmp: Path) -> None:
    """systemd's KillMode=control-group, and whoever kills a process group."""
    cache = Cache(short_tmp / "v", ["-b", "none"])
    child = cache.child_pid
    os.kill(child, signal.SIGTERM)  # the child may well have its signal first
    assert cache.cli("status") == "Child in state running"
    assert cache.stop() == 0
    assert process_gone(child)
    assert not cache.said("died")


def _may_unshare() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return subprocess.run([unshare, "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not _may_unshare(), reason="namespaces are for root here")
def test_as_process_one(short_tmp: Path) -> None:
    """In a namespace of its own, in a read-only directory, as in a container: it serves, and SIGTERM ends it."""
    bare = short_tmp / "bare"
    bare.mkdir(mode=0o555)
    words = ["-F", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-b", "none"]
    command = ["unshare", "--pid", "--fork", sys.executable, "-m", "varnishpy", *words]
    root = Path(__file__).resolve().parents[2]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=bare, stderr=subprocess.PIPE, text=True, env=environ) as daemon:
        assert daemon.stderr is not None
        assert any("Child launched OK" in line for line in daemon.stderr)
        (manager,) = psutil.Process(daemon.pid).children()
        assert (short_tmp / "v" / "_.pid").read_text().strip() == "1"
        manager.send_signal(signal.SIGTERM)
        rest = daemon.stderr.read()
        assert daemon.wait(30) == 0, rest
    assert not any(bare.iterdir())
