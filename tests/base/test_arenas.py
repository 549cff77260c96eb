"""Arenas of the C library, counted in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys, threading
from varnishpy.base.arenas import share_one_arena
print(share_one_arena() if sys.argv[1] == "yes" else False)
barrier = threading.Barrier(20)
def work():
    barrier.wait()
    kept = [bytes(5000 + n) for n in range(200)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.stdout.flush()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(call: str, **environment: str) -> tuple[bool, int]:
    """What the call says, and how many arenas there are after twenty threads have asked for memory."""
    command = [sys.executable, "-c", COUNT, call]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**plain, **environment}, check=True)
    return done.stdout.startswith("True"), done.stdout.count("<heap nr=")


@pytest.mark.skipif("glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="no glibc")
def test_threads_share_one_arena() -> None:
    assert arenas("yes") == (True, 1)
    assert arenas("no")[1] > 1
    assert arenas("yes", MALLOC_ARENA_MAX="4")[0] is False  # the user has decided
