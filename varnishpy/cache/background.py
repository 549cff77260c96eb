"""What the cache's own threads share.

Counters of their own, and a body that ends the process rather than die silently.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from varnishpy import stats
from varnishpy.base.panic import Panic, panic


class BackgroundCounts(stats.Counting):
    """Counters of a thread that is no worker; stands where a worker is asked for."""

    __slots__ = ()

    def flush(self) -> None:
        """Add them to the process's."""
        stats.main.merge(self.stats)


def start_thread(name: str, body: Callable[[], None]) -> threading.Thread:
    """Run a body on a thread of its own. The cache cannot live without its threads: an exception there is a panic."""

    def guarded() -> None:
        try:
            body()
        except Panic:
            raise
        except Exception as exc:
            panic(f"thread {name}: {type(exc).__name__}: {exc}", exc)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
