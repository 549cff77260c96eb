"""``varnishpy demo`` as a newcomer meets it: start, try the lines it prints, Ctrl-C."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import wait_for


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_the_port_that_was_found_is_told(short_tmp: Path) -> None:
    command = [sys.executable, "-m", "varnishpy", "demo", "-a", "127.0.0.1:0", "-n", str(short_tmp / "d")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:
        assert demo.stdout is not None
        found = re.search(r"serving http://127\.0\.0\.1:(\d+)/", demo.stdout.readline())
        assert found
        with socket.create_connection(("127.0.0.1", int(found[1])), 20):
            pass
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0


def test_a_unix_socket_is_no_address_for_a_browser() -> None:
    command = [sys.executable, "-m", "varnishpy", "demo", "-a", "/nowhere/sock"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 2 and "not a Unix socket (/nowhere/sock)" in told.stderr


def test_demo(free_port: int, short_tmp: Path, program: Callable[[str], str]) -> None:
    program("curl")
    demo = subprocess.Popen(
        [sys.executable, "-m", "varnishpy", "demo", "-a", f"127.0.0.1:{free_port}", "-n", str(short_tmp / "d")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    assert demo.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(demo.stdout.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        wait_for(lambda: any("Ctrl-C ends" in line for line in lines) or demo.poll() is not None, "the demo")
        commands = [line.split("  ")[1] for line in lines if line.startswith("  curl -i ")]
        assert len(commands) == 3
        for command in commands * 2:
            done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 0, (command, done.stderr)
            assert re.search(r"^HTTP/[0-9.]+ 200", done.stdout, re.MULTILINE)
            assert "It works" in done.stdout
        assert re.search(r"x-varnish: \d+ \d+", done.stdout.lower()), "the last of them is a hit"
        for path, text in (
            ("/esi", "inner"),
            ("/gzip", "plain text"),
            ("/uncached", "never stored"),
            ("/nosuch", "no such"),
        ):
            url = f"http://127.0.0.1:{free_port}{path}"
            done = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, timeout=20, check=False)
            assert text in done.stdout
        (ban,) = [line.strip() for line in lines if " adm " in line]
        assert subprocess.run(shlex.split(ban), capture_output=True, timeout=20, check=False).returncode == 0, ban
        (metrics,) = [line.strip() for line in lines if "--unix-socket" in line]
        done = subprocess.run(shlex.split(metrics), capture_output=True, text=True, timeout=20, check=False)
        assert "varnishpy_main_bans " in done.stdout, metrics
    finally:
        demo.send_signal(signal.SIGINT)
        status = demo.wait(20)
        reader.join(10)
    assert status == 0, "".join(lines)
    assert not any("Traceback" in line for line in lines), "".join(lines)
    assert not list((short_tmp / "d").iterdir()), "nothing is left in the directory that was named"
