"""What a lookup needs of a request, and leaves with it.

`Request` is an `Asking`, so that this room knows nothing of the rooms above it and the compiler still reads attributes
where they lie: a Protocol would be looked up by name on the way of every hit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from varnishpy.cache.catflap import Catflap
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.cache.objhead import WaitEntry
    from varnishpy.http.message import Message
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.threads.worker import Worker


class Asking:
    """See the module text. Who makes one sets every attribute.

    :ivar wrk: the worker that runs the request; ``None`` while it waits
    :ivar t_req: when it came (wall clock): against this an object's times are read
    :ivar d_ttl: ``req.ttl``, negative if VCL has not set it; likewise ``d_grace``
    :ivar hitmiss_info: transaction id and remaining ttl of the marker that was found
    :ivar was_stale: a stale object was found
    :ivar other_variant: something was found that another request may have
    :ivar before_wait: see `settle`
    :ivar catflap: what a VMOD has to say about the next lookup
    """

    __slots__ = (
        "before_wait", "catflap", "d_grace", "d_ttl", "digest", "hash_always_miss", "hash_ignore_busy",
        "hash_ignore_vary", "hitmiss_info", "http", "log", "objcore", "other_variant", "t_req", "vxid", "waiting_on",
        "was_stale", "wrk",
    )  # fmt: skip

    wrk: Worker | None
    vxid: int
    log: TaskLog
    http: Message
    digest: bytes
    t_req: float
    d_ttl: float
    d_grace: float
    hash_always_miss: bool
    hash_ignore_busy: bool
    hash_ignore_vary: bool
    hitmiss_info: tuple[int, float] | None
    was_stale: bool
    other_variant: bool
    objcore: ObjectCore | None
    waiting_on: WaitEntry | None
    catflap: Catflap | None
    before_wait: Callable[[], None] | None

    def settle(self) -> None:
        """The request is about to wait, or to leave its thread: what its transport holds back for it leaves first.

        That may wait itself: no lock is held.
        """
        before_wait = self.before_wait
        if before_wait is not None:
            self.before_wait = None
            before_wait()

    def reembark(self) -> None:
        """Send it on: it was woken, and is to look up again. Any thread."""
        raise NotImplementedError
