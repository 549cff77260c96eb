"""How long a request's body may keep a thread waiting.

A client that sends an octet now and then is never idle, and holds a thread for as long as it likes: in HTTP/1 one for
each connection, in HTTP/2 one for each stream. While threads are plenty nobody is hurried. Once more than half of a
pool's threads are busy, a body may keep one waiting for ``timeout_reqbody`` in all, and for a second more with every
``reqbody_rate`` octets that have come; the fewer threads are left, the less of ``timeout_reqbody``. So uploads that
come too slowly are the first to go, and never have much more than half of the pool for long; no more of them go at once
than are needed for that. What a backend takes its time for does not count.
"""

from __future__ import annotations

from typing import Final

from varnishpy.base import clock
from varnishpy.params import params
from varnishpy.threads import current_worker

_AT_EASE: Final = 0.5  # the part of a pool's threads that must be free
_LEAST: Final = 1.0  # seconds that every body is given


class Patience:
    """With one body; used by the thread that reads it."""

    __slots__ = ("_waited",)

    def __init__(self) -> None:
        self._waited = 0.0

    def left(self, received: int) -> float:
        """Seconds that the next wait may last, 0 if it must not begin; to be asked again after that.

        :param received: octets of the body so far
        """
        whole: float = params.timeout_reqbody
        worker = current_worker()
        free = worker.pool.free_share() if worker is not None else 1.0
        if free >= _AT_EASE:
            return max(whole, _LEAST)
        rate = params.reqbody_rate
        allowed = max(whole * free / _AT_EASE, _LEAST) + (received / rate if rate else 0.0)
        left = allowed - self._waited
        if left > 0:
            return left
        return 0.0 if worker is not None and worker.give_up(_AT_EASE) else _LEAST

    def spend(self, began: float) -> None:
        """A wait that began then is over."""
        self._waited += clock.mono() - began


def too_slow() -> str:
    """Count a body that has used up all patience; what to say of it."""
    worker = current_worker()
    if worker is not None:
        worker.stats.req_body_slow += 1
    return "request body comes too slowly"
