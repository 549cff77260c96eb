"""An instance's shared memory without the instance: a manager's and a child's set, with a known log in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from varnishpy import log, stats
from varnishpy.log.tags import Tag as T
from varnishpy.params import params, table
from varnishpy.shm.process import ChildShm, ManagerShm

NOW = 1700000000.25


@dataclass
class Instance:
    """A directory that tools can attach to."""

    workdir: Path
    manager: ManagerShm
    child: ChildShm

    @property
    def n(self) -> str:
        return str(self.workdir)

    def request(
        self,
        vxid: int,
        parent: int,
        *,
        reason: str = "rxreq",
        url: str = "/a?b=c",
        calls: str = "RECV HASH MISS DELIVER",
        fetch: int = 0,
        include: int = 0,
    ) -> None:
        """Log a client request."""
        task = log.TaskLog(vxid, log.CLIENT)
        task.begin("req", parent, reason)
        task.start_clock(NOW)
        task.timestamp("Start", NOW)
        task.put(T.ReqStart, "127.0.0.1 41234 a0 http")
        for tag, text in ((T.ReqMethod, "GET"), (T.ReqURL, url), (T.ReqProtocol, "HTTP/1.1"),
                          (T.ReqHeader, "Host: example.com"), (T.ReqHeader, 'User-Agent: curl "q" \\x'),
                          (T.ReqHeader, "Authorization: Basic dXNlcjpwYXNz"), (T.ReqHeader, "Referer: http://r/\xe9"),
                          (T.ReqHeader, "X-Gone: 1"), (T.ReqUnset, "X-Gone: 1")):  # fmt: skip
            task.put(tag, text)
        for name in calls.split():
            task.put(T.VCL_call, name)
            task.put(T.VCL_return, "deliver")
        task.put(T.VCL_Log, "key:val ue")
        if fetch:
            task.link("bereq", fetch, "fetch")
        if include:
            task.link("req", include, "esi 1")
        task.timestamp("Process", NOW + 0.5)
        task.put(T.RespProtocol, "HTTP/1.1")
        task.put(T.RespStatus, "200")
        task.put(T.RespHeader, "Content-Type: text/html")
        task.timestamp("Resp", NOW + 0.75)
        task.put(T.ReqAcct, "100 0 100 200 300 500")
        task.end()

    def fill(self) -> None:
        """A session with a miss (fetch 1002, ESI include 1003) and a pipe, and records of no transaction."""
        self.request(1001, 1000, fetch=1002, include=1003)
        task = log.TaskLog(1002, log.BACKEND)
        task.begin("bereq", 1001, "fetch")
        task.start_clock(NOW)
        task.timestamp("Start", NOW)
        task.put(T.BereqMethod, "GET")
        task.put(T.BereqURL, "/a")
        task.put(T.BackendOpen, "20 default 127.0.0.1 80 127.0.0.1 5555 connect")
        task.timestamp("Beresp", NOW + 0.1)
        task.put(T.BerespStatus, "503")
        task.timestamp("BerespBody", NOW + 0.2)
        task.put(T.BereqAcct, "10 0 10 20 30 50")
        task.end()
        self.request(1003, 1001, reason="esi 1", url="/esi", calls="RECV HASH HIT DELIVER")
        self.request(1004, 1000, url="/pipe", calls="RECV")
        task = log.TaskLog(1000, log.SESSION)
        task.begin("sess", 0, "HTTP/1")
        task.link("req", 1001, "rxreq")
        task.link("req", 1004, "rxreq")
        task.put(T.SessClose, "REM_CLOSE 1.000")
        task.end()
        log.vsl(T.CLI, 0, "Rd ping")
        task = log.TaskLog(2000, log.CLIENT)
        task.begin("req", 1999, "rxreq")
        task.put(T.ReqURL, "/incomplete")
        task.flush()


@pytest.fixture(params=[1])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    """Layout 1 unless the test is parametrized otherwise."""
    os.chmod(tmp_path, 0o755)
    table.set("vsl_layout", str(request.param))
    manager = ManagerShm(tmp_path, "unit")
    child = ChildShm(manager.new_child(), params.vsl_layout, 1 << 20)
    made = Instance(tmp_path, manager, child)
    try:
        backend = stats.new_segment(stats.VBE, "boot.default")
        backend.inc("req", 3)
        made.fill()
        child.flush()
        yield made
        backend.destroy()
    finally:
        made.child.close()  # a test may have put another one there
        manager.close()
        table.reset("vsl_layout")
        log.configure()
