"""The command line: what works, and clear words with status 2 and nothing left behind for what does not."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Origin, process_gone, running
from tests.waiting import wait_for
from varnishpy.cli import protocol
from varnishpy.shm.reader import SetReader


def run(*arguments: str, stdin: str | None = None, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "varnishpy", *arguments], capture_output=True, text=True, timeout=timeout, check=False,
        input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
    )  # fmt: skip


WRONG = [
    ([], "Neither -b nor -f given"),
    (["-z"], "invalid option -- 'z'"),
    (["-b", "127.0.0.1:1", "-f", "x"], "Only one of -b or -f"),
    (["-b", "127.0.0.1:1", "-d", "-F"], "Only one of -d or -F"),
    (["-b", "127.0.0.1:1", "stray"], "Too many arguments (stray...)"),
    (["-b", "127.0.0.1:1", "-p", "nosuch=1"], 'Unknown parameter "nosuch"'),
    (["-b", "127.0.0.1:1", "-p", "timeout_idle=-1"], "timeout_idle"),
    (["-b", "127.0.0.1:1", "-p", "timeout_idle"], "-p lacks '='"),
    (["-b", "127.0.0.1:1", "-s", "foo"], "foo"),
    (["-b", "127.0.0.1:1", "-s", "malloc,1x"], "1x"),
    (["-b", "127.0.0.1:1", "-a", "127.0.0.1:notaport"], "notaport"),
    (["-b", "127.0.0.1:1", "-a", "x=1,y=2,BANANA"], "-a"),
    (["-f", "/nonexistent.vcl"], "/nonexistent.vcl"),
    (["-b", "127.0.0.1:1", "-S", "/nonexistent"], "/nonexistent"),
    (["-b", "127.0.0.1:1", "-j", "banana"], "banana"),
    (["-b", "127.0.0.1:1", "-h", "banana"], "banana"),
    (["-b", "127.0.0.1:1", "-r", "nosuch"], "nosuch"),
    (["-b", "127.0.0.1:1", "-i", "bad name"], "-i"),
    (["-b", "127.0.0.1:1", "-I", "/nonexistent"], "/nonexistent"),
    (["-x", "banana"], "-x"),
    (["-C"], "-C needs"),
    (["banana"], "Too many arguments (banana...)"),
]


@pytest.mark.parametrize(
    ("arguments", "text"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_options(short_tmp: Path, arguments: list[str], text: str) -> None:
    workdir = short_tmp / "v"
    if arguments and not arguments[0].startswith(("-x", "-C", "banana")):
        arguments = ["-n", str(workdir), "-a", "127.0.0.1:0", "-F", *arguments] if "-d" not in arguments else arguments
    done = run(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not workdir.exists()


def test_bad_vcl(short_tmp: Path) -> None:
    vcl = short_tmp / "bad.vcl"
    vcl.write_text('vcl 4.1;\nbackend b { .host = "127.0.0.1"; }\nsub vcl_recv { set req.nosuch = "x"; }\n')
    done = run("-F", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-f", str(vcl))
    assert done.returncode == 2
    assert "Line 3" in done.stderr
    assert "VCL compilation failed" in done.stderr
    assert not (short_tmp / "v").exists()


def test_no_directory_is_left_behind(short_tmp: Path) -> None:
    workdir = short_tmp / "a" / "b" / "v"
    done = run("-F", "-n", str(workdir), "-a", "127.0.0.1:0", "-f", "/nonexistent.vcl")
    assert done.returncode == 2
    (short_tmp / "file").touch()
    done = run("-F", "-n", str(short_tmp / "file" / "v"), "-a", "127.0.0.1:0", "-b", "127.0.0.1:1")
    assert done.returncode == 2
    assert f"Cannot create working directory '{short_tmp}/file/v': Not a directory" in done.stderr
    assert [entry.name for entry in short_tmp.iterdir()] == ["file"]


def test_port_in_use(short_tmp: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("-F", "-n", str(short_tmp / "v"), "-a", f"127.0.0.1:{port}", "-b", "127.0.0.1:1")
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
    assert str(port) in done.stderr
    assert not (short_tmp / "v").exists()


def test_information_options() -> None:
    version = run("-V")
    assert version.returncode == 0
    assert "varnishpy" in version.stderr
    assert "-a [name=]address" in run("-?").stdout
    assert "timeout_idle" in run("-x", "parameter").stdout
    assert "ReqMethod" in run("-x", "vsl").stdout
    assert "vcl.load" in run("-x", "cli").stdout
    assert "vcl_builtin_recv" in run("-x", "builtin").stdout
    compiled = run("-C", "-b", "127.0.0.1:1")
    assert compiled.returncode == 0
    compile(compiled.stderr, "vgc.py", "exec")  # as varnishd does: standard error


def test_second_instance_in_the_same_directory_is_refused(cache: Cache, origin: Origin) -> None:
    done = run("-F", "-n", str(cache.workdir), "-a", "127.0.0.1:0", "-b", f"127.0.0.1:{origin.port}")
    assert done.returncode == 2
    assert "already running" in done.stderr
    assert cache.cli("status") == "Child in state running"


def test_background(short_tmp: Path, origin: Origin) -> None:
    workdir, pid_file = short_tmp / "v", short_tmp / "pid"
    done = run("-n", str(workdir), "-a", "127.0.0.1:0", "-b", f"127.0.0.1:{origin.port}", "-P", str(pid_file))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Info: Listening on http://127\.0\.0\.1:\d+/ \(a0\)$", done.stderr, re.MULTILINE)
    pid = int(pid_file.read_text())
    try:
        assert int((workdir / "_.pid").read_text()) == pid
        answer = run("adm", "-n", str(workdir), "status")
        assert (answer.returncode, answer.stdout.strip()) == (0, "Child in state running")
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: process_gone(pid), "the daemon's end")
    assert not workdir.exists()
    assert not pid_file.exists()


def test_a_hangup_is_a_reload(short_tmp: Path, origin: Origin) -> None:
    vcl = short_tmp / "site.vcl"
    text = 'vcl 4.1; backend a { .host = "127.0.0.1"; } sub vcl_recv { return (synth(%s)); }'
    vcl.write_text(text % "701")
    with running(short_tmp / "v", "-f", str(vcl)) as cache:
        assert cache.get("/").status == 701
        vcl.write_text(text % "702")
        cache.process.send_signal(signal.SIGHUP)
        wait_for(lambda: cache.said("is in use"), "the reload")
        assert cache.get("/").status == 702
        assert len(cache.cli("vcl.list").splitlines()) == 1
        vcl.write_text(text % "oh")
        cache.process.send_signal(signal.SIGHUP)
        wait_for(lambda: cache.said("SIGHUP: vcl.load failed"), "the reason")
        assert cache.get("/").status == 702


def test_a_hangup_without_a_file(short_tmp: Path) -> None:
    with running(short_tmp / "v", "-b", "127.0.0.1:1") as cache:
        cache.process.send_signal(signal.SIGHUP)
        wait_for(lambda: cache.said("does not come from a file"), "the reason")
        assert cache.cli("status") == "Child in state running"


def test_failing_background_start_says_so(short_tmp: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("-n", str(short_tmp / "v"), "-a", f"127.0.0.1:{taken.getsockname()[1]}", "-b", "127.0.0.1:1")
    assert done.returncode == 2
    assert "in use" in done.stderr


def test_debug_mode_speaks_cli_on_standard_input(short_tmp: Path, origin: Origin) -> None:
    script = "status\nstart\nstatus\nstop\nstatus\n"
    done = run("-d", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-b", f"127.0.0.1:{origin.port}", stdin=script)
    assert done.returncode == 0, done.stderr
    states = [line for line in done.stdout.splitlines() if line.startswith("Child in state")]
    assert states == ["Child in state stopped", "Child in state running", "Child in state stopped"]


@pytest.mark.parametrize("script", ["", "start\nstatus\n"])
def test_debug_mode_reads_a_plain_file(short_tmp: Path, origin: Origin, script: str) -> None:
    commands = short_tmp / "commands"
    commands.write_text(script)
    words = ["-d", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-b", f"127.0.0.1:{origin.port}"]
    with open(commands if script else os.devnull) as stdin:
        done = subprocess.run([sys.executable, "-m", "varnishpy", *words], stdin=stdin, capture_output=True, text=True,
                              timeout=30, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert ("Child in state running" in done.stdout) == bool(script)


def test_debug_mode_ends_if_nobody_is_there_to_read_the_banner(short_tmp: Path) -> None:
    """A script's end, while its daemon was still starting: the daemon may not stay."""
    command = [sys.executable, "-m", "varnishpy", "-d", "-n", str(short_tmp / "v"), "-a", "127.0.0.1:0", "-b", "none"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.close()
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_cli_peer_that_resets_its_connection(short_tmp: Path, origin: Origin) -> None:
    with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", "-T", "127.0.0.1:0") as cache:
        reader = SetReader(cache.workdir)
        reader.attach(20)
        host, port = (reader.read_text("Arg", "-T") or "").split()
        address = (host, int(port))
        os.kill(cache.process.pid, signal.SIGSTOP)  # so that it finds them reset when it accepts them
        for _ in range(5):
            with socket.create_connection(address) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.kill(cache.process.pid, signal.SIGCONT)
        assert cache.cli("status") == "Child in state running"


@pytest.mark.parametrize("made", ["", "_.pid", "_.vsm_mgt", "_.secret"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_nothing_behind(short_tmp: Path, number: signal.Signals, made: str) -> None:
    """Sent as soon as something has been made: that moment must find it already noted for removal."""
    workdir = short_tmp / "v"
    vcl = short_tmp / "endless.vcl"
    os.mkfifo(vcl)  # nobody writes: the start waits at the reading of it
    words = ["-F", "-n", str(workdir), "-a", "127.0.0.1:0", "-f", str(vcl)]
    with subprocess.Popen([sys.executable, "-m", "varnishpy", *words], stderr=subprocess.PIPE, text=True) as process:
        while not (workdir / made).exists():  # without a pause: the moment after matters
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(20) != 0
        assert "Traceback" not in process.communicate()[1]
    assert not workdir.exists()


def test_master_connection(short_tmp: Path, origin: Origin) -> None:
    secret = short_tmp / "secret"
    secret.write_bytes(b"open sesame\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", "-M", f"127.0.0.1:{port}", "-S", str(secret)):
            sock, _ = listener.accept()
            with sock:
                status, text = protocol.read_response(sock, 20)
                assert status == protocol.AUTH
                sock.sendall(f"auth {protocol.auth_response(text[:32], secret.read_bytes())}\n".encode())
                assert protocol.read_response(sock, 20)[0] == 200
                sock.sendall(b"ping\n")
                assert protocol.read_response(sock, 20)[1].startswith("PONG ")


def test_wrong_secret(cache: Cache, short_tmp: Path) -> None:
    secret = short_tmp / "wrong"
    secret.write_bytes(b"nope\n")
    done = run("adm", "-n", str(cache.workdir), "-S", str(secret), "status")
    assert done.returncode != 0
    assert "Rejected" in done.stderr


@pytest.mark.parametrize(
    "words", [["ban req.url ~ ^/news"], ["ban", "req.url ~ ^/news"], ["ban", "req.url", "~", "^/news"]]
)
def test_adm_takes_a_command_in_one_word_or_many(cache: Cache, words: list[str]) -> None:
    done = run("adm", "-n", str(cache.workdir), *words)
    assert done.returncode == 0, done.stderr
    assert "req.url ~ ^/news" in cache.cli("ban.list")


def test_cli_file(short_tmp: Path, origin: Origin) -> None:
    script = short_tmp / "cli"
    script.write_text("param.set timeout_idle 7\n")
    with running(short_tmp / "v", "-b", f"127.0.0.1:{origin.port}", "-I", str(script)) as cache:
        assert "7.000" in cache.cli("param.show timeout_idle")
    script.write_text("param.set nosuch 7\n")
    done = run("-F", "-n", str(short_tmp / "w"), "-a", "127.0.0.1:0", "-b", "127.0.0.1:1", "-I", str(script))
    assert done.returncode == 2
    assert "-I file CLI command failed" in done.stderr


def test_unix_listen_socket(short_tmp: Path, origin: Origin) -> None:
    path = short_tmp / "listen"
    origin.pages["/"] = lambda exchange: exchange.answer(b"over unix")
    with running(short_tmp / "v", "-a", f"{path},mode=0600", "-a", "tcp=127.0.0.1:0", "-b", f"127.0.0.1:{origin.port}"):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(path))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            out = b""
            while piece := sock.recv(65536):
                out += piece
        assert out.endswith(b"over unix")
    assert not path.exists()


def test_unix_origin(short_tmp: Path) -> None:
    path = short_tmp / "origin"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with running(short_tmp / "v", "-b", str(path)) as cache, cache.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            listener.settimeout(20)
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
                out = b""
                while piece := client.recv(65536):
                    out += piece
            assert out.endswith(b"unix")


def test_parameters_reach_the_child(cache: Cache) -> None:
    cache.cli("param.set timeout_idle 11")
    page = json.loads(cache.stats_page("/params"))
    rows = page if isinstance(page, list) else page["params"]
    value = next(row for row in rows if row["name"] == "timeout_idle")["value"]
    assert float(value) == 11
