"""The process may have no more descriptors: connections wait, and are counted; afterwards all is as before."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running
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


def slow_uploads(cache: Cache, stack: contextlib.ExitStack, protocol: str, count: int) -> None:
    """Uploads of which an octet comes, and then nothing."""
    if protocol == "HTTP/1":
        for _ in range(count):
            sock = stack.enter_context(cache.connect())
            sock.sendall(b"POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nx")
        return
    client = stack.enter_context(H2Client(cache.port))
    for _ in range(count):
        number = client.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/up")]
        client.h2.send_headers(number, fields)
        client.h2.send_data(number, b"x")
    client.flush()


@pytest.mark.parametrize("protocol", ["HTTP/1", "HTTP/2"])
def test_slow_uploads_do_not_take_all_threads(short_tmp: Path, origin: Origin, protocol: str) -> None:
    origin.pages["/"] = lambda exchange: exchange.answer(b"here", cache_control="no-store")
    threads = 20
    settings = ["timeout_idle=300", "timeout_reqbody=0", "feature=+http2", "thread_pools=1"]
    settings += [f"thread_pool_min={threads}", f"thread_pool_max={threads}"]
    arguments = [word for text in settings for word in ("-p", text)]
    with (
        running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", *arguments) as cache,
        contextlib.ExitStack() as stack,
    ):
        slow_uploads(cache, stack, protocol, threads)
        assert cache.get("/").body == b"here"
        assert cache.get("/", "POST", b"y" * 100000).body == b"here", "one that comes at once"
        wait_for(lambda: counter(cache, "MAIN.req_body_slow"), "an upload that was given up")
        left = threads - counter(cache, "MAIN.req_body_slow")
        assert left >= threads // 3, "no more go at once than are needed"
