"""Deliveries that leave the request's thread (see ``http1/elsewhere.py``), one of them through a reluctant source."""

from __future__ import annotations

from varnishpy.storage.source import END, LATER, Piece, Source, _Mark
from varnishpy.threads import Priority
from varnishpy.threads.pool import Pool
from varnishpy.threads.worker import Worker
from varnishpy.vcl.tasks import ClientTask
from varnishpy.vmods.api import Ctx, restrict

_HELLO = b"hello "


class _Reluctant(Source):
    """Says hello before the body, and must be asked for each piece twice."""

    __slots__ = ("_inner", "_pool", "_said_hello", "_was_reluctant")

    def __init__(self, inner: Source, pool: Pool) -> None:
        super().__init__(inner.length + len(_HELLO) if inner.length >= 0 else -1, False)
        self._inner = inner
        self._pool = pool
        self._said_hello = False
        self._was_reluctant = False

    def pull(self, limit: int) -> Piece | _Mark:
        if not self._was_reluctant:
            ready = self.on_ready
            if ready is not None:
                self._was_reluctant = True
                if not self._pool.schedule(lambda _wrk: ready(), Priority.BO):
                    ready()
            return LATER
        if not self._said_hello:
            self._said_hello = True
            self._was_reluctant = False
            return _HELLO
        self._inner.on_ready = self.on_ready
        piece = self._inner.pull(limit)
        if piece is not LATER and piece is not END:
            self._was_reluctant = False
        return piece

    def close(self) -> None:
        self._inner.on_ready = None
        self._inner.close()


def _greet(wrk: Worker, req: ClientTask, source: Source) -> Source:
    """What is stored is greeted; what processors make goes its usual way."""
    if req.computes_body():
        return source
    length = req.resp.get("content-length")
    if length is not None:
        req.resp.set("Content-Length", str(int(length) + len(_HELLO)))
    return _Reluctant(source, wrk.pool)


@restrict("vcl_deliver")
def use_reembarking_http1(ctx: Ctx) -> None:
    """Have another worker deliver this response."""
    ctx.vcl.host.deliver_elsewhere(ctx, "DBG", None)


@restrict("vcl_deliver")
def use_vai_http1(ctx: Ctx) -> None:
    """Have another worker deliver this response, waiting for each piece of its body."""
    ctx.vcl.host.deliver_elsewhere(ctx, "DBG VAI", _greet)
