"""Varnish's own programs (Debian's, of version 7.1) on our shared memory, and ours beside them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from tests.conftest import require_program
from tests.tools.conftest import Instance
from varnishpy import log
from varnishpy.log.tags import Tag
from varnishpy.tools import log as log_tool
from varnishpy.tools import ncsa, stat

Output = pytest.CaptureFixture[bytes]


@pytest.fixture(autouse=True)
def debian_varnish() -> None:
    """All of these need the package."""
    require_program("varnishlog")


def c_program(*argv: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


def ours(main: Callable[[list[str]], int], out: Output, argv: list[str]) -> tuple[int, bytes, bytes]:
    out.readouterr()
    status = main(argv)
    captured = out.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["-g", "vxid"],
        ["-g", "request"],
        ["-g", "session"],
        ["-g", "raw"],
        ["-c"],
        ["-b"],
        ["-E", "-g", "request"],
        ["-v", "-g", "session"],
        ["-i", "ReqURL,Resp*"],
        ["-x", "*Header"],
        ["-I", "ReqHeader:^Host"],
        ["-X", "ReqHeader:^Host"],
        ["-C", "-I", "ReqHeader:^host"],
        ["-k", "1"],
        ["-g", "request", "-q", "BerespStatus >= 500"],
        ["-g", "session", "-q", "vxid == 1004"],
        ["-q", "not ReqHeader:cookie and Timestamp:Process[2] > 0.4"],
        ["-q", "ReqURL ~ ("],
        ["-w", "-"],
        ["-i", "foo"],
    ],
)
def test_varnishlog_and_ours_print_the_same(instance: Instance, capsysbinary: Output, arguments: list[str]) -> None:
    argv = ["-n", instance.n, "-d", *arguments]
    theirs = c_program("varnishlog", *argv)
    assert ours(log_tool.main, capsysbinary, argv) == theirs
    if theirs[0] == 0:
        assert theirs[1] and not theirs[2]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-b"],
        ["-E"],
        ["-g", "request"],
        ["-F", "%m %U %q %r %H %u %{Host}i %{content-type}o %{X-Gone}i %{VCL_Log:key}x %T %{ms}T %D"],
        ["-F", "%{VSL:Timestamp:Process[2]}x %{VSL:ReqAcct[3]}x %{Varnish:time_firstbyte}x %{Varnish:handling}x %I %O"],
        ["-F", "%{%Y-%m}t %{sec}t %{msec}t %{usec_frac}t %{Varnish:hitmiss}x %{Varnish:vxid}x %{Varnish:side}x\\t."],
        ["-j", "-F", '{"a":"%{User-agent}i","b":%b,"x":"%{nope}i","r":"%{Host}i"}'],
        ["-F", "%{x"],
        ["-F", "%{Varnish:nope}x"],
        ["-F", "%{VSL:Req}x"],
    ],
)
def test_varnishncsa_and_ours_print_the_same(instance: Instance, capsysbinary: Output, arguments: list[str]) -> None:
    argv = ["-n", instance.n, "-d", *arguments]
    assert ours(ncsa.main, capsysbinary, argv) == c_program("varnishncsa", *argv)


@pytest.mark.parametrize(
    "arguments", [["-1", "-X", "*.uptime"], ["-l"], ["-1", "-f", "VBE.*"], ["-1", "-f", "^MAIN.*", "-f", "^MGT.*"]]
)
def test_varnishstat_and_ours_print_the_same(instance: Instance, capsysbinary: Output, arguments: list[str]) -> None:
    instance.child.publisher.stop()  # nothing may change between the two
    argv = ["-n", instance.n, *arguments]
    theirs = c_program("varnishstat", *argv)
    assert theirs[0] == 0 and b"VBE.boot.default.req" in theirs[1]
    assert ours(stat.main, capsysbinary, argv) == theirs


def test_varnishstat_json(instance: Instance, capsysbinary: Output) -> None:
    instance.child.publisher.stop()
    argv = ["-n", instance.n, "-j"]
    theirs = json.loads(c_program("varnishstat", *argv)[1])
    mine = json.loads(ours(stat.main, capsysbinary, argv)[1])
    assert theirs["counters"] == mine["counters"]
    assert theirs["counters"]["VBE.boot.default.req"]["value"] == 3


def test_varnishtop(instance: Instance) -> None:
    status, out, err = c_program("varnishtop", "-n", instance.n, "-1", "-i", "ReqURL")
    assert (status, err) == (0, b"")
    assert sorted(out.split()[2::3]) == [b"/a?b=c", b"/esi", b"/pipe"]


def test_their_file_is_read_by_us_and_ours_by_them(instance: Instance, capsysbinary: Output) -> None:
    theirs, mine = str(instance.workdir / "theirs"), str(instance.workdir / "ours")
    assert c_program("varnishlog", "-n", instance.n, "-d", "-w", theirs)[0] == 0
    assert log_tool.main(["-n", instance.n, "-d", "-w", mine]) == 0
    for path in (theirs, mine):
        argv = ["-r", path, "-g", "request"]
        output = c_program("varnishlog", *argv)
        assert output[0] == 0 and b"/pipe" in output[1]
        assert ours(log_tool.main, capsysbinary, argv) == output


def test_varnishlog_follows_four_writers_and_loses_nothing(instance: Instance) -> None:
    reader = subprocess.Popen(
        ["varnishlog", "-n", instance.n, "-g", "raw", "-i", "VCL_Log"], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    try:
        _wait_until_it_reads(reader)
        each = 150

        def write(which: int) -> None:
            for number in range(each):
                task = log.TaskLog(which * each + number + 1, log.CLIENT)
                task.put(Tag.ReqHeader, "x" * 100)
                task.put(Tag.VCL_Log, f"{which}/{number}")
                task.end()

        threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.vsl(Tag.VCL_Log, 0, "over")
        seen = set()
        for line in reader.stdout:
            text = line.split()[-1]
            if text == "over":
                break
            if "/" in text:
                seen.add(text)
        assert len(seen) == 4 * each
    finally:
        reader.kill()
        reader.wait()


def _wait_until_it_reads(reader: subprocess.Popen[str]) -> None:
    """Log marks until the first comes out."""
    assert reader.stdout is not None
    marks = threading.Event()

    def mark() -> None:
        deadline = time.monotonic() + 15
        while not marks.wait(0.05) and time.monotonic() < deadline:
            log.vsl(Tag.VCL_Log, 0, "mark")

    thread = threading.Thread(target=mark)
    thread.start()
    try:
        assert "mark" in reader.stdout.readline()
    finally:
        marks.set()
        thread.join()


def test_a_stopped_reader_delays_no_writer(instance: Instance) -> None:
    reader = subprocess.Popen(["varnishlog", "-n", instance.n, "-g", "raw"], stdout=subprocess.PIPE, text=True)
    try:
        _wait_until_it_reads(reader)
        os.kill(reader.pid, signal.SIGSTOP)
        cycles = instance.child.ring.cycles
        task = log.TaskLog(1, log.CLIENT)
        slowest = 0.0
        while instance.child.ring.cycles < cycles + 2:
            begin = time.thread_time()
            for _ in range(20):
                task.put(Tag.ReqHeader, "x" * 200)
            task.flush()
            slowest = max(slowest, time.thread_time() - begin)
        assert slowest < 0.1
    finally:
        reader.kill()
        reader.wait()
    # and a reader that comes now finds a sound log
    status, out, _ = c_program("varnishlog", "-n", instance.n, "-d", "-g", "raw", "-k", "100")
    assert status == 0 and out.count(b"ReqHeader") == 100
