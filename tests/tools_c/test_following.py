"""Readers that stay: they follow the cache process through its death; a stopped one slows and spoils nothing."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.harness import Cache, Origin, running
from tests.e2e.screen import Screen
from tests.tools_c.conftest import Following, following, run, screen
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    """A daemon with a small log, that may lose a child."""
    origin = Origin()
    origin.pages["/"] = lambda exchange: exchange.answer(b"x" * 100, cache_control="max-age=600")
    workdir = tmp_path_factory.mktemp("following") / "v"
    # the smallest log that the parameter allows: a few thousand records
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "vsl_layout=1", "-l", "1m", "-p", "ping_interval=1"]
    with running(workdir, *arguments, status=0x40) as made:
        yield made
    origin.close()


def _attached(cache: Cache, reader: Following, path: str) -> int:
    """Wait until a reader that prints URLs shows one that is asked for now; how often it was asked for."""
    asked = 0

    def seen() -> bool:
        nonlocal asked
        assert cache.get(path).status == 200
        asked += 1
        return any(path in line for line in list(reader.lines))

    wait_for(seen, f"{path} in the reader's output, which is {reader.lines[-5:]} {reader.errors}")
    return asked


def _shows(shown: Screen, pattern: str) -> None:
    """Wait for a row of varnishstat, at the top of its list: rows that appear above the selected one push that down."""
    top = itertools.count()

    def there(text: str) -> object:
        if next(top) % 50 == 0:
            shown.type("g")
        return re.search(pattern, text, re.M)

    shown.wait_for(there, pattern)


def test_readers_follow_into_the_next_child(cache: Cache) -> None:
    workdir = str(cache.workdir)
    log = following("varnishlog", "-n", workdir, "-g", "raw", "-i", "ReqURL")
    ncsa = following("varnishncsa", "-n", workdir, "-F", "%U%q")
    stat = screen("varnishstat", "-n", workdir)
    with log as log_reader, ncsa as ncsa_reader, stat as stat_screen:
        _attached(cache, log_reader, "/?before")
        _attached(cache, ncsa_reader, "/?before")
        _shows(stat_screen, r"^MAIN\.client_req +[1-9]")
        child = cache.child_pid
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: cache.cli("status").endswith("running") and cache.child_pid != child, "the next child")
        wanted = _attached(cache, log_reader, "/?after") + _attached(cache, ncsa_reader, "/?after")
        assert log_reader.process.poll() is None and ncsa_reader.process.poll() is None
        cache.wait_counter("MAIN.client_req", lambda value: value == wanted)  # a request is counted when it is over
        _shows(stat_screen, rf"^MAIN\.client_req +{wanted} ")
    lines = [" ".join(line.split()) for line in run("varnishstat", "-n", workdir, "-1").splitlines()]
    assert any(line.startswith(f"MAIN.client_req {wanted} ") for line in lines), (len(lines), lines[:20])


def _load(cache: Cache, count: int) -> int:
    """Hits over one connection; the records that they wrote to the log."""
    before = cache.counter("MAIN.shm_records")
    with cache.connect() as sock:
        done = 0
        while done < count:
            batch = min(100, count - done)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * batch)
            got = b""
            while got.count(b"HTTP/1.1 200 OK\r\n") < batch or not got.endswith(b"x" * 100):
                piece = sock.recv(1 << 20)
                assert piece
                got += piece
            done += batch
    cache.wait_counter("MAIN.shm_records", lambda value: value >= before + count)
    return cache.counter("MAIN.shm_records") - before


def test_a_stopped_reader_costs_nothing_and_finds_a_sound_log_again(cache: Cache) -> None:
    workdir = str(cache.workdir)
    _load(cache, 500)
    flushed = cache.counter("MAIN.shm_flushes")
    with following("varnishlog", "-n", workdir, "-g", "raw") as reader:
        _attached(cache, reader, "/?here")
        reader.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: psutil.Process(reader.process.pid).status() == psutil.STATUS_STOPPED, "the reader to stop")
        # far more than the ring holds: the reader is overrun many times over; whoever waited for it would wait for ever
        cycles = cache.counter("MAIN.shm_cycles")
        written = 0
        while cache.counter("MAIN.shm_cycles") < cycles + 3:
            written += _load(cache, 500)
        assert psutil.Process(reader.process.pid).status() == psutil.STATUS_STOPPED
        assert written > 10_000
        assert cache.counter("MAIN.shm_flushes") == flushed, "no buffer was too small, no record was dropped"
        reader.process.send_signal(signal.SIGCONT)
        _attached(cache, reader, "/?again")
        # what it prints after the gap is whole: a torn record would have no known tag or no number
        begin = next(number for number, line in enumerate(reader.lines) if "/?again" in line)
        for line in reader.lines[begin:]:
            assert re.match(r" +\d+ \w+ +[-bc] ", line) or not line, line
    output = run("varnishlog", "-n", workdir, "-d", "-g", "vxid", "-q", 'ReqURL eq "/"', "-i", "ReqURL,RespStatus,End")
    whole = [group for group in output.split("\n\n") if group.strip()]
    assert len(whole) > 100
    assert all("RespStatus     200" in group and "ReqURL         /" in group for group in whole)
