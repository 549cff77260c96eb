"""The log to a syslog: by Unix socket and by UDP, and when nobody is there."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.conftest import Instance
from varnishpy.tools import log, ncsa
from varnishpy.tools.syslog_output import MOST, SyslogOutput, parse_syslog
from varnishpy.tools.usage import ToolError

Text = pytest.CaptureFixture[str]


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        yield sock


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(20)
    return sock


def waiting(sock: socket.socket) -> list[bytes]:
    """The datagrams that have come."""
    found = []
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(1 << 16))
    return found


def test_lines_to_the_local_syslog(instance: Instance, short_tmp: Path) -> None:
    with listening(short_tmp / "log") as sock:
        assert ncsa.main(["-n", instance.n, "-d", "-F", "%U %s", "-S", f"{short_tmp}/log,facility=local3,tag=web"]) == 0
        messages = waiting(sock)
    assert len(messages) == 2
    for message, path in zip(messages, (b"/a 200", b"/pipe 200"), strict=True):
        # local3 (19) * 8 + info (6)
        assert re.fullmatch(rb"<158>[A-Z][a-z]{2} [ 0-3]\d \d\d:\d\d:\d\d web\[\d+\]: " + path, message), message


def test_objects_by_udp(instance: Instance, udp: socket.socket) -> None:
    where = f"udp://127.0.0.1:{udp.getsockname()[1]},level=notice"
    assert log.main(["-n", instance.n, "-d", "--json", "-k", "1", "-S", where]) == 0
    head, _, body = udp.recv(1 << 16).partition(b" - - ")
    # RFC 5424 section 6: daemon (3) * 8 + notice (5), version, time, host, name, process
    assert re.fullmatch(rb"<29>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ varnishpy-log \d+", head), head
    assert json.loads(body)["id"] == "1001"


def test_text_goes_line_by_line(instance: Instance, udp: socket.socket) -> None:
    where = f"udp://127.0.0.1:{udp.getsockname()[1]}"
    assert log.main(["-n", instance.n, "-d", "-g", "raw", "-i", "ReqURL", "-S", where]) == 0
    lines = [message.partition(b" - - ")[2] for message in waiting(udp)]
    assert len(lines) == 4 and all(b"ReqURL" in line and b"\n" not in line for line in lines)


def test_a_syslog_that_goes_and_comes(short_tmp: Path) -> None:
    path, notices = short_tmp / "log", list[str]()
    sock = listening(path)
    output = SyslogOutput(parse_syslog(str(path), "t"), notices.append)
    output.write(b"one\n" + b"x" * (2 * MOST) + b"\n\n")
    first, long = waiting(sock)
    assert first.endswith(b": one") and long.count(b"x") == MOST
    sock.close()
    path.unlink()
    output.write(b"lost 1\nlost 2\n")
    assert output.lost == 2 and len(notices) == 1 and "syslog" in notices[0]
    with listening(path) as again:
        output._retry_at = 0.0
        output.write(b"back\n")
        assert [message[-4:] for message in waiting(again)] == [b"back"]
    assert notices[1:] == ["syslog: 2 messages lost"] and output.lost == 0
    output.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("here", "-S: here is none of local, /path, udp://host[:port]"),
        ("udp://", "none of local"),
        ("local,facilty=daemon", "Did you mean facility?"),
        ("local,facility=locla0", "Did you mean local0?"),
        ("local,level=loud", "Unknown level loud"),
        ("local,tag=a b", "a tag is"),
        ("local,tag=", "-S: tag= is none of"),
    ],
)
def test_what_is_no_syslog(text: str, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_syslog(text, "t")
    assert message in str(caught.value)


def test_nobody_there(instance: Instance, short_tmp: Path, capsys: Text) -> None:
    assert ncsa.main(["-n", instance.n, "-d", "-S", f"{short_tmp}/none"]) == 1
    assert f"-S {short_tmp}/none: " in capsys.readouterr().err
    assert ncsa.main(["-S", "local", "-w", "file"]) == 1
    assert capsys.readouterr().err == "Only one of -w and -S may be used\n"


def test_in_the_background(instance: Instance, short_tmp: Path) -> None:
    """-D needs no file where there is a syslog."""
    with listening(short_tmp / "log") as sock:
        words = ["log", "-n", instance.n, "-D", "-d", "-k", "1", "--json", "-S", f"{short_tmp}/log"]
        done = subprocess.run([sys.executable, "-m", "varnishpy", *words], capture_output=True, timeout=20, check=False)
        assert (done.returncode, done.stdout) == (0, b""), done
        assert b'"id":"1001"' in sock.recv(1 << 16)
