"""The child dies, panics, is stopped, is loaded: what the manager does about it, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import Cache, Exchange, Origin, descriptors, process_gone, running
from tests.waiting import wait_for
from varnishpy.tools.adm import connect


def serve_plain(origin: Origin) -> None:
    @origin.page("/")
    def plain(exchange: Exchange) -> None:
        exchange.answer(b"x" * 1024, cache_control="max-age=3600")


@pytest.fixture
def mortal(origin: Origin, short_tmp: Path) -> Iterator[Cache]:
    """A cache whose child is going to die of a signal: the exit status tells of it."""
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2"]
    with running(short_tmp / "v", *arguments, status=0x40) as made:
        yield made


def test_killed_child_is_back_within_two_seconds_under_load(
    mortal: Cache, origin: Origin, program: Callable[[str], str]
) -> None:
    cache = mortal
    serve_plain(origin)
    assert cache.get("/").status == 200
    load = subprocess.Popen(
        [program("h2load"), "-n", "100000", "-c", "4", "-m", "10", f"{cache.url}/"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        cache.wait_counter("MAIN.client_req", lambda value: value > 500)
        first = cache.child_pid
        os.kill(first, signal.SIGKILL)
        killed = time.monotonic()
        # the listen socket outlives the child: this waits in its queue and is then answered
        assert cache.get("/").status == 200
        assert time.monotonic() - killed < 2.0
        wait_for(lambda: cache.said(f"Child ({first}) died signal=9"), "the obituary")
        assert cache.child_pid != first
        assert cache.cli_result("panic.show")[0] == 300, "being killed is no panic"
    finally:
        load.kill()
        load.wait()


def test_panic_is_kept_and_shown(short_tmp: Path, origin: Origin) -> None:
    serve_plain(origin)
    workdir = short_tmp / "v"
    cache = Cache(workdir, ["-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2,+no_coredump"])
    try:
        assert cache.get("/").status == 200
        first = cache.child_pid
        cache.cli_result("debug.panic.worker")
        wait_for(lambda: cache.cli_result("panic.show")[0] == 200, "the panic")
        text = cache.cli("panic.show")
        for part in ("Panic at:", "You asked for it", "version = varnishpy", "Backtrace:", "argv = {"):
            assert part in text, part
        wait_for(lambda: cache.cli_result("status")[1] == "Child in state running", "the next child")
        assert cache.child_pid != first
        assert cache.get("/").status == 200
        cache.cli("panic.clear")
        assert cache.cli_result("panic.show")[0] == 300
    finally:
        status = cache.stop()
    assert status == 0x40, "the exit status tells that a child died of a signal"


def test_stop_under_load_is_quick_and_clean(short_tmp: Path, origin: Origin, program: Callable[[str], str]) -> None:
    serve_plain(origin)
    workdir = short_tmp / "v"
    with running(workdir, "-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2") as cache:
        assert cache.get("/").status == 200
        load = subprocess.Popen(
            [program("h2load"), "-n", "1000000", "-c", "10", "-m", "10", f"{cache.url}/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            cache.wait_counter("MAIN.client_req", lambda value: value > 500)
            child = cache.child_pid
            begin = time.monotonic()
            cache.process.send_signal(signal.SIGTERM)
            cache.process.wait(10)
            assert time.monotonic() - begin < 5.0
            assert process_gone(child)
        finally:
            load.kill()
            load.wait()
    assert not workdir.exists()


def test_killed_manager_leaves_no_orphan(short_tmp: Path, origin: Origin) -> None:
    workdir = short_tmp / "v"
    cache = Cache(workdir, ["-b", f"127.0.0.1:{origin.port}"])
    child = cache.child_pid
    cache.process.kill()
    cache.process.wait(5)
    wait_for(lambda: process_gone(child), "the child to notice")
    # and the next manager takes the directory over
    with running(workdir, "-b", f"127.0.0.1:{origin.port}") as again:
        assert again.cli("status") == "Child in state running"


def test_nothing_grows(cache: Cache, origin: Origin, program: Callable[[str], str]) -> None:
    """100,000 requests, and afterwards no thread, descriptor or memory more than after the first thousand."""
    serve_plain(origin)
    command = [program("h2load"), "-c", "10", "-m", "10", f"{cache.url}/"]
    subprocess.run([*command, "-n", "5000"], check=True, capture_output=True, timeout=60)
    child = psutil.Process(cache.child_pid)
    cache.wait_counter("MAIN.sess_closed", lambda value: value >= 10)

    def memory() -> int:
        info = child.memory_info()
        return int(info.rss - info.shared)  # the log fills its ring in shared memory, which is as large as it is

    before = (child.num_threads(), descriptors(child.pid), memory())
    out = subprocess.run([*command, "-n", "100000"], check=True, capture_output=True, timeout=110, text=True).stdout
    assert "100000 succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert re.search(r"status codes: 100000 2xx", out)
    cache.wait_counter("MAIN.sess_closed", lambda value: value >= 20)
    wait_for(
        lambda: descriptors(child.pid) <= before[1], f"descriptors back to {before[1]}, now {descriptors(child.pid)}"
    )
    assert child.num_threads() <= before[0] + 2
    assert memory() - before[2] < 12 << 20
    assert cache.counter("MAIN.cache_hit") >= 104_000


def test_hits_while_a_vcl_is_loaded(cache: Cache, origin: Origin) -> None:
    serve_plain(origin)
    assert cache.get("/").status == 200
    stop = threading.Event()
    statuses: set[int] = set()

    def client() -> None:
        while not stop.is_set():
            statuses.add(cache.get("/").status)

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        vcl = f'vcl 4.1; backend b {{ .host = "127.0.0.1"; .port = "{origin.port}"; }}'
        cache.cli("vcl.inline", f"v{number}", vcl)
        cache.cli("vcl.use", f"v{number}")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert statuses == {200}
    cache.cli("vcl.discard", "boot")
    assert "boot" not in cache.cli("vcl.list")


def test_child_that_hangs_is_replaced(origin: Origin, short_tmp: Path) -> None:
    serve_plain(origin)
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "cli_timeout=0.5", "-p", "ping_interval=1"]
    with running(short_tmp / "v", *arguments, status=0x40) as cache:
        first = cache.child_pid
        cache.cli("param.set timeout_idle 9")
        os.kill(first, signal.SIGSTOP)
        wait_for(
            lambda: cache.said(f"Child ({first}) not responding to CLI, killed it."), "the manager's patience to end"
        )
        assert cache.get("/").status == 200
        assert "9.000" in cache.cli("param.show timeout_idle")


@pytest.mark.parametrize("asked", [False, True], ids=["idle", "asking"])
def test_child_that_hangs_does_not_delay_the_end(origin: Origin, short_tmp: Path, asked: bool) -> None:
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "ping_interval=0", "-p", "cli_timeout=never"]
    with running(short_tmp / "v", *arguments, status=0x40) as cache:
        child = cache.child_pid
        os.kill(child, signal.SIGSTOP)
        with connect(str(cache.workdir), None, None, 20) as sock:
            if asked:
                sock.sendall(b"ban.list\n")
            cache.process.send_signal(signal.SIGTERM)
            cache.process.wait(20)  # not the child's "never"
        assert process_gone(child)
