"""For VMODs with something that all VCLs share: it is there while any VCL that imports the module is loaded."""

from __future__ import annotations

from collections.abc import Callable

from varnishpy.base.locks import make_lock
from varnishpy.vmods.api import PRIV_VCL


class Importers:
    """Counts the VCLs that import a module.

    :param begin: called before the first of them is loaded
    :param end: called when the last of them is gone
    """

    def __init__(self, lock_class: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self._lock = make_lock(lock_class)
        self._vcls = 0
        self._begin = begin
        self._end = end

    def hear(self, priv: PRIV_VCL, event: str) -> None:
        """An event of a VCL, as ``vmod_event`` is told of it.

        They come one at a time, from the thread of the CLI. A VCL that failed to load is discarded too, whether it was
        told of the loading or not; its private data remember.
        """
        with self._lock:
            if event == "load":
                priv[self] = True
                self._vcls += 1
                call = self._begin if self._vcls == 1 else None
            elif event == "discard" and priv.pop(self, False):
                self._vcls -= 1
                call = self._end if not self._vcls else None
            else:
                return
        if call is not None:
            call()
