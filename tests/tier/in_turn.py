"""Requests that are run on the thread that sends them."""

from __future__ import annotations

import time

from tests.builders import make_worker
from tests.request.request_harness import Cache, Client
from varnishpy.request.client import run_request
from varnishpy.request.request import Request, Step


class InTurn(Client):
    """See the module text."""

    def run(self, req: Request) -> InTurn:
        self.req = req
        wrk = make_worker()
        if run_request(wrk, req) is Step.DONE:
            self._end(wrk, req)
        return self


def ask(cache: Cache, url: str, method: str = "GET") -> InTurn:
    """One request, answered."""
    _, req = cache.request(url, method)
    client = InTurn(cache)
    req.transport = client  # type: ignore[assignment]
    req.t_first = req.t_prev = req.t_req = time.time()
    client.run(req)
    assert client.done.is_set(), "it waits for somebody"
    return client
