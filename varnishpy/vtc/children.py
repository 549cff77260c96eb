"""Processes a test starts: judging how they ended, and making sure that none outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator

from .log import Voice

PR_SET_CHILD_SUBREAPER = 36


def check_exit(
    voice: Voice,
    pid: int,
    status: int,
    usage: resource.struct_rusage,
    expect_exit: int,
    expect_signal: int = 0,
    allow_core: bool = False,
) -> None:
    """Log how a process ended and fail the test if not as expected.

    ``expect_signal`` above 0: it must have died of that signal; below 0: it may have.
    """
    voice.say(2, f"WAIT4 pid={pid} status=0x{status:04x} (user {usage.ru_utime:.6f} sys {usage.ru_stime:.6f})")
    if os.WIFEXITED(status) and expect_signal <= 0 and os.WEXITSTATUS(status) == expect_exit:
        return
    core = int(os.WCOREDUMP(status))
    died_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if died_of and core <= allow_core and died_of == abs(expect_signal):
        return
    voice.say(1, f"Expected exit: 0x{expect_exit:x} signal: {expect_signal} core: {int(allow_core)}")
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
    voice.fatal(f"Bad exit status: 0x{status:04x} exit 0x{code:x} signal {died_of} core {core}")


def become_subreaper() -> None:
    """Have orphaned descendants become children of this process (where the system can), so that none gets away."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _parents() -> Iterator[tuple[int, int]]:
    """Process ids with those of their parents, of all processes that can be seen."""
    if not os.path.isdir("/proc/self"):
        listed = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, check=False).stdout
        yield from ((int(pid), int(parent)) for pid, parent in (row.split() for row in listed.splitlines()))
        return
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry}/stat", "rb") as file:
                yield int(entry), int(file.read().rpartition(b")")[2].split()[1])


def direct_children(pid: int) -> list[int]:
    """The children of a process."""
    with contextlib.suppress(OSError):
        found: list[int] = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found.extend(int(word) for word in file.read().split())
        return found
    return [child for child, parent in _parents() if parent == pid]


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = direct_children(todo.pop())
        found.extend(below)
        todo.extend(below)
    return found


def reap() -> None:
    """Collect children that have ended and nobody waits for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_descendants(pid: int, patience: float = 2.0, spared: int = 0) -> list[int]:
    """Kill everything below ``pid`` but the process ``spared``, also what appears meanwhile; the ids killed."""
    killed: list[int] = []
    until = time.monotonic() + patience
    while time.monotonic() < until:
        alive = [one for one in descendants(pid) if one != spared and not _is_zombie(one)]
        if not alive:
            break
        for one in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
                if one not in killed:
                    killed.append(one)
        if pid == os.getpid():
            reap()
        time.sleep(0.01)
    return killed


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True
