"""Memory that objects have left goes back to the system.

The C library keeps what is freed for its next use, and a heap that was once full of bodies has a piece in use here and
there, so that it does not shrink by itself: a process would for ever look as large as it ever was. And what a body was
put together from leaves holes between bodies that stay. Whoever owns the storage has `HeapKeeper.look` called from time
to time; after much has been given back, and no more is just then, or much has been stored, the C library is asked to
return what it can.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

# Octets that must have been given back since the last time: it takes some milliseconds per 100 MB.
_WORTH: Final = 64 << 20
_STORED: Final = 32 << 20  # octets, or a sixteenth of what is used, that must have been stored since the last time


def _malloc_trim() -> Callable[[], object] | None:
    """malloc_trim(3), where the C library has it."""
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: function(0)


class HeapKeeper:
    """Looks at how much memory bodies take, and has the heap trimmed when that has fallen.

    :param used: octets that the storage has in use
    :param stored: octets that were ever stored
    :param trim: what returns memory to the system; malloc_trim(3) if not given
    """

    def __init__(
        self, used: Callable[[], int], stored: Callable[[], int], trim: Callable[[], object] | None = None
    ) -> None:
        self._used = used
        self._stored = stored
        self._trim = trim or _malloc_trim()
        self._peak = 0
        self._last = 0
        self._stored_before = 0

    def look(self) -> None:
        """To be called now and then, always from the same thread."""
        if self._trim is None:
            return
        used, before = self._used(), self._last
        self._last = used
        stored = self._stored()
        if stored - self._stored_before >= max(_STORED, used // 16):
            self._stored_before = stored
            self._trim()
        if used > self._peak:
            self._peak = used
        elif self._peak - used >= _WORTH and used >= before:
            self._peak = used
            self._trim()
