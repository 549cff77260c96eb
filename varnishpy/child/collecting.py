"""Python's garbage collector, kept from stopping the process for long.

Cached objects are no garbage that the collector could find, and in pure Python each is five objects that it would look
at: three seconds for a million, during which nobody is served. So once a full collection has taken long, what is there
is *frozen* (``gc.freeze``): later collections look at what has come since, and frozen objects still go when their last
reference does. Cycles among them do not. An HTTP/2 session is such a cycle when it has ended, and a VCL when it is
discarded. So it is counted how many of them may have been frozen, and after enough of them everything is looked at
once more.

The collector calls us on whatever thread it runs, which holds the interpreter.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

_LONG: Final = 0.05  # seconds of processor time
_MOST: Final = 5000  # sessions that may be left behind: some 10 KB each
#: thresholds for the child: a request leaves no cycle, but many are under way at once, and Python's own 700 would have
#: them all looked at again and again; and the second generation is looked at within hundredths of a second
YOUNG: Final = (20_000, 2, 1)


class Collecting:
    """See the module text.

    :param cycles: about how many of the things that are cycles when they end there are now
    """

    def __init__(
        self,
        cycles: Callable[[], int],
        clock: Callable[[], float] = time.thread_time,
        freeze: Callable[[], None] = gc.freeze,
        unfreeze: Callable[[], None] = gc.unfreeze,
    ) -> None:
        self._cycles = cycles
        self._clock = clock
        self._freeze = freeze
        self._unfreeze = unfreeze
        self._began = 0.0
        self._left = 0

    def start(self) -> None:
        """Look after the collector from now on."""
        gc.callbacks.append(self.heard)

    def stop(self) -> None:
        """Undo `start`."""
        gc.callbacks.remove(self.heard)

    def heard(self, phase: str, info: dict[str, int]) -> None:
        """What the collector calls as it begins and ends (``gc.callbacks``)."""
        if info["generation"] != 2:
            return
        if phase == "start":
            self._began = self._clock()
        elif self._clock() - self._began > _LONG:
            self._left += self._cycles()
            self._freeze()
        if phase == "stop" and self._left > _MOST:
            self._left = 0
            self._unfreeze()  # the next full collection looks at everything
