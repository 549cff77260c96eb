"""A cache without a process around it; threads run only where a test starts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.builders import make_env, make_request, make_session, make_worker
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.cache.hash import Found
from varnishpy.cache.objcore import OC_HFM, OC_HFP, ObjectCore
from varnishpy.cache.vary import build
from varnishpy.request.request import Request
from varnishpy.storage.boc import BocState
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.stevedore import Stevedore


def counted(counters: stats.TaskCounters) -> dict[str, int]:
    """What a task has counted so far."""
    counts = {column.name: getattr(counters, column.name) for column in stats.MAIN.columns if column.task}
    return {name: count for name, count in counts.items() if count}


class Transport:
    """Remembers who was woken."""

    name = "TEST"

    def __init__(self) -> None:
        self.woken: list[Request] = []

    def reembark(self, req: Request) -> None:
        self.woken.append(req)


class Cache:
    """A hash with expiry, bans and storage."""

    def __init__(self) -> None:
        self.wrk = make_worker()
        self.transport = Transport()
        self.env = make_env()
        self.session = make_session(self.env)
        self.expiry = self.env.expiry
        self.bans = self.env.bans
        self.hash = self.env.hash
        self.stevedore: Stevedore = MallocStevedore("t0")
        self.stevedore.lru.reclaimer = self.hash
        self._xid = 1000

    def request(self, url: str = "/", **headers: str) -> Request:
        req = make_request(self.env, self.session, self.transport)
        req.wrk = self.wrk
        req.t_req = clock.now()
        req.http.url = url
        for name, value in headers.items():
            req.http.add(name.replace("_", "-"), value)
        req.digest = url.encode().ljust(32, b"\0")
        return req

    def lookup(self, req: Request, always_insert: bool = False) -> Found:
        return self.hash.lookup(self.wrk, req, req.digest, always_insert)

    def fetch(
        self,
        req: Request,
        oc: ObjectCore,
        *,
        ttl: float = 120.0,
        grace: float = 10.0,
        keep: float = 0.0,
        flags: int = 0,
        vary: str | None = None,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes = b"body",
        status: int = 200,
        age: float = 0.0,
        finish: bool = True,
    ) -> None:
        """What a fetch does with a busy object core; gives its references back unless told not to finish."""
        self._xid += 1
        stobj = self.stevedore.new_object(oc, 100)
        stobj.headers.status = status
        stobj.headers.add("Content-Type", "text/plain")
        for name, value in fields:
            stobj.headers.add(name, value)
        if vary is not None:
            stobj.headers.add("Vary", vary)
            oc.vary = build(stobj.headers, req.http)
            stobj.attrs["VARY"] = oc.vary or b""
        oc.xid = self._xid
        oc.t_origin = clock.now() - age
        oc.ttl, oc.grace, oc.keep = ttl, grace, keep
        oc.flags |= flags
        self.hash.set_state(self.wrk, oc, BocState.STREAM)
        if finish:
            assert oc.boc is not None
            oc.boc.extend(body)
            self.finish(oc)

    def finish(self, oc: ObjectCore) -> None:
        self.hash.set_state(self.wrk, oc, BocState.FINISHED)
        self.hash.deref_boc(self.wrk, oc)
        self.hash.deref(self.wrk, oc)

    def fail(self, oc: ObjectCore) -> None:
        self.hash.set_state(self.wrk, oc, BocState.FAILED)
        self.hash.deref_boc(self.wrk, oc)
        self.hash.deref(self.wrk, oc)

    def insert(self, url: str = "/", headers: dict[str, str] | None = None, **how: Any) -> ObjectCore:
        """Put an object into the cache; returns its core, without a reference."""
        req = self.request(url, **(headers or {}))
        _, _, busy = self.lookup(req, always_insert=True)
        assert busy is not None
        self.fetch(req, busy, **how)
        return busy

    def deref(self, oc: ObjectCore | None) -> None:
        assert oc is not None
        self.hash.deref(self.wrk, oc)

    def settle(self) -> None:
        """Let the expiry do what is in its inbox and what is due, without its thread."""
        for _ in range(10):
            self.expiry.step()

    def clear(self) -> None:
        """Remove everything; afterwards nothing may be left."""
        for oc in self.hash.all_objects():
            self.hash.ref(oc)
            self.hash.kill(oc)
            self.hash.deref(self.wrk, oc)
        self.settle()
        assert self.hash.all_objects() == []
        assert len(self.hash) == 0
        assert self.stevedore.used_space == 0
        assert len(self.stevedore.lru) == 0
        assert len(self.expiry) == 0


HFM = OC_HFM
HFP = OC_HFP | OC_HFM
