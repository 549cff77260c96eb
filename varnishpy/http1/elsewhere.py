"""A response delivered as a task of its own, on whichever worker takes it, while the request's worker does other work.

A VMOD puts `Elsewhere` in the place of the HTTP/1 transport for one request. It shows, and lets scripts exercise, what
any transport may do: take a response, leave the request's thread, and come back on another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from varnishpy.http1.transport import Http1Transport
from varnishpy.log.tag_numbers import DEBUG
from varnishpy.request.transport import Delivered
from varnishpy.threads import Priority

if TYPE_CHECKING:
    from varnishpy.request.request import Request
    from varnishpy.storage.source import Source
    from varnishpy.threads import Worker


#: what is sent instead of a source; it may change the headers, which have not left yet
Wrapper = Callable[["Worker", "Request", "Source"], "Source"]


class Elsewhere(Http1Transport):
    """For one request in the place of a transport, which goes on with what follows.

    :param wrap: called on the worker that delivers, just before it does
    """

    def __init__(self, inner: Http1Transport, name: str, wrap: Wrapper | None) -> None:
        super().__init__(inner.env, inner.run_request)
        self._inner = inner
        self.name = name
        self._wrap = wrap

    def deliver(self, wrk: Worker, req: Request, source: Source | None) -> Delivered:
        """Have another task send the response, and the session go on behind it."""
        if source is None:
            return super().deliver(wrk, req, None)
        self.settle(req)
        req.log.put(DEBUG, f"w={id(wrk):#x} scheduling delivery")
        sess = req.sess
        req.wrk = None
        if not sess.pool.schedule(lambda other: self._send(other, req, source), Priority.RUSH):
            sess.close("OVERLOAD")  # only a pool that is being stopped refuses: the process is about to end
        return Delivered.TAKEN

    def _send(self, wrk: Worker, req: Request, source: Source) -> None:
        req.log.put(DEBUG, f"w={id(wrk):#x} delivering")
        req.wrk = wrk
        if self._wrap is not None:
            source = self._wrap(wrk, req, source)
        super().deliver(wrk, req, source)
        self._inner.carry_on(wrk, req)

    def reembark(self, req: Request) -> None:
        """The session goes on in the transport that it belongs to."""
        self._inner.reembark(req)
