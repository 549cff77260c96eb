"""Parameters and options that act when a process starts: what they change can be seen from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Origin, running
from tests.waiting import wait_for

RECURSE = """
from varnishpy.vmods.api import INT, Ctx

def _deeper(depth: int) -> int:
    \"\"\"Each level goes through C, which takes the most stack.\"\"\"
    return sorted([depth], key=lambda level: _deeper(level + 1))[0]

def fall(ctx: Ctx) -> INT:
    return _deeper(0)
"""


def log_segment(workdir: Path) -> int:
    (file,) = (workdir / "_.vsm_child").glob("_.Log.*")
    return file.stat().st_size


def test_the_size_of_the_log(short_tmp: Path, origin: Origin) -> None:
    backend = ["-b", f"127.0.0.1:{origin.port}"]
    with running(short_tmp / "v", *backend, "-l", "3m") as cache:
        assert log_segment(cache.workdir) == 3 << 20
        assert "Change will take effect when child is restarted" in cache.cli("param.set vsl_space 2m")
        cache.cli("stop")
        cache.cli("start")
        assert log_segment(cache.workdir) == 2 << 20


def test_the_size_of_last_words(short_tmp: Path, origin: Origin) -> None:
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "panic_buffer=4k", "-p", "feature=+no_coredump"]
    with running(short_tmp / "v", *arguments, status=0x40) as cache:
        cache.cli_result("debug.panic.worker")
        wait_for(lambda: cache.cli_result("panic.show")[0] == 200, "the panic")
        assert len(cache.cli("panic.show").encode()) <= 4096 + 2


def test_watched_locks(short_tmp: Path, origin: Origin) -> None:
    origin.pages["/"] = lambda exchange: exchange.answer(b"x", cache_control="max-age=60")
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "debug=+lck,+witness"]
    with running(short_tmp / "v", *arguments) as cache:
        assert cache.get("/").status == 200
        wait_for(lambda: cache.counters().get("LCK.objhdr.locks"), "the locks to be counted")


def test_recursion_fails_a_request_and_not_the_child(short_tmp: Path) -> None:
    (short_tmp / "recurse.py").write_text(RECURSE)
    program = short_tmp / "p.vcl"
    program.write_text("""
        vcl 4.1;
        import recurse;
        backend none none;
        sub vcl_recv {
            if (req.url == "/fall") {
                return (synth(200 + recurse.fall()));
            }
            return (synth(200));
        }
    """)
    with running(short_tmp / "v", "-f", str(program), "-p", f"vmod_path={short_tmp}") as cache:
        child = cache.child_pid
        assert cache.get("/fall").status == 503
        assert cache.get("/").status == 200
        assert cache.child_pid == child


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (["startup_timeout=0.5", "cli_timeout=0.1"], "within startup_timeout=0.50s\n"),
        (["startup_timeout=0.1", "cli_timeout=0.5"], "within cli_timeout=0.50s (tip: set startup_timeout)\n"),
    ],
)
def test_a_child_that_does_not_come_up(short_tmp: Path, parameters: list[str], text: str) -> None:
    (short_tmp / "endless.py").write_text("import threading\nthreading.Event().wait()\n")
    words = ["-F", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-b", "127.0.0.1:1"]
    words += ["-E", str(short_tmp / "endless.py")]
    for parameter in parameters:
        words += ["-p", parameter]
    done = subprocess.run(
        [sys.executable, "-m", "varnishpy", *words], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert f"Error: Child failed on launch {text}" in done.stderr
    assert not (short_tmp / "v").exists()
