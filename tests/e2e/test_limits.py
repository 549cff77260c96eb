"""The process may have no more descriptors: connections wait, and are counted; afterwards all is as before."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from tests.e2e.harness import Cache, Exchange, Origin
from tests.waiting import wait_for
from varnishpy.shm.counters import CounterReader
from varnishpy.shm.reader import SetReader


def counter(cache: Cache, name: str) -> int:
    """From shared memory: asking the child would take one of its descriptors."""
    reader = CounterReader(SetReader(cache.workdir))
    reader.refresh()
    return next(point.value for point in reader.points() if point.name == name)


def test_descriptors_run_out(cache: Cache, origin: Origin) -> None:
    @origin.page("/")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"here", cache_control="no-store")

    assert cache.get("/").body == b"here"
    cache.cli("param.set", "timeout_idle", "120")
    child = psutil.Process(cache.child_pid)
    limits = child.rlimit(psutil.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path(f"/proc/{child.pid}/fd").iterdir())
    with contextlib.ExitStack() as held:
        child.rlimit(psutil.RLIMIT_NOFILE, (highest + 8, limits[1]))
        sockets = [held.enter_context(cache.connect()) for _ in range(30)]
        wait_for(lambda: counter(cache, "MAIN.sess_fail_emfile"), "connections that are not accepted")
        child.rlimit(psutil.RLIMIT_NOFILE, limits)
        for sock in sockets:  # those that had to wait are served as well
            sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            answer = b""
            while not answer.endswith(b"here"):
                piece = sock.recv(65536)
                assert piece
                answer += piece
    assert cache.get("/").body == b"here"
    assert cache.counter("MAIN.sess_dropped") == 0
