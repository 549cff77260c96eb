"""How the C library keeps memory: in one arena, where only one thread at a time asks for it.

glibc gives threads arenas of their own, up to eight for each processor, so that they need not wait for one another.
Under the interpreter's lock they do not wait anyway; but what one thread frees in its arena is of no use to another,
and with a hundred workers memory goes on growing for long. Under the traffic of tools/soak it was 96 MiB after three
minutes and rising still, against 72 MiB.
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h
_CHOSEN: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")  # with which a user decides


def share_one_arena() -> bool:
    """Have all threads that are still to come share the arena of this one, unless the user has decided otherwise.

    Call it before there are threads. False: nothing was changed; so it is with other C libraries, and on an interpreter
    whose threads run at once.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED") or not sys.platform.startswith("linux"):
        return False
    if any(name in os.environ for name in _CHOSEN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    return bool(mallopt(_M_ARENA_MAX, 1))
