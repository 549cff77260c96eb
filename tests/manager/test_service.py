"""sd_notify(3) and sd_listen_fds(3): a socket that listens to what the manager says, and listen sockets it is given."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_for
from varnishpy.base.endpoint import EndpointError, parse_listen
from varnishpy.manager import activation
from varnishpy.manager.activation import Passed, PassedSocket
from varnishpy.manager.complain import StartupError
from varnishpy.manager.service import ServiceManager
from varnishpy.tools.adm import ask, connect

# exec keeps the process id, which LISTEN_PID must name; the sockets come to stand at 3, 4, ...
_START = """
import fcntl, os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
for index, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]):
    os.dup2(fd, 3 + index)
if fds:
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(fds))
os.execv(sys.executable, [sys.executable, "-m", "varnishpy", *sys.argv[2:]])
"""


class Notified:
    """The service manager's end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.told: list[dict[str, str]] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(path)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while data := self._sock.recv(4096):
            self.told.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def heard(self, name: str, value: str | None = None) -> list[dict[str, str]]:
        return [fields for fields in self.told if name in fields and value in (None, fields[name])]

    def order(self, *names: str) -> list[str]:
        return [name for fields in self.told for name in fields if name in names]

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


@pytest.fixture
def notified(short_tmp: Path) -> Iterator[Notified]:
    made = Notified(str(short_tmp / "notify"))
    yield made
    made.close()


class Service:
    """A daemon started as a service manager does it."""

    def __init__(self, workdir: Path, *arguments: str, fds: tuple[int, ...] = (), **environ: str) -> None:
        self.workdir = workdir
        words = ["-F", "-n", str(workdir), "-b", "none", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, ",".join(map(str, fds)), *words],
            stderr=subprocess.PIPE, text=True, pass_fds=fds, env={**os.environ, **environ},
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)

    def said(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    def until(self, text: str) -> None:
        wait_for(lambda: self.said(text) or self.process.poll() is not None, text)
        assert self.said(text), "".join(self.lines)

    def cli(self, line: str) -> str:
        with connect(str(self.workdir), None, None, 20.0) as sock:
            status, text = ask(sock, line)
        assert status == 200, text
        return text

    def end(self, status: int = 0) -> None:
        """Tell it to end, unless it is to end by itself."""
        if status == 0:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == status, "".join(self.lines)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def get(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_service_tells_how_it_is(short_tmp: Path, notified: Notified) -> None:
    vcl = short_tmp / "two.vcl"
    vcl.write_text("vcl 4.1;\nbackend default none;\n")
    words = ["-a", "127.0.0.1:0"]
    service = Service(short_tmp / "v", *words, NOTIFY_SOCKET=notified.path, WATCHDOG_USEC="100000")
    wait_for(lambda: notified.heard("READY"), "READY")
    assert notified.told[0] == {"READY": "1", "MAINPID": str(service.process.pid)}
    wait_for(lambda: notified.heard("STATUS", "Child running, active VCL: boot"), "the status")
    service.cli(f"vcl.load two {vcl}")
    service.cli("vcl.use two")
    assert notified.order("RELOADING", "READY")[1:] == ["RELOADING", "READY"] * 2
    assert notified.heard("RELOADING")[0]["MONOTONIC_USEC"].isdecimal()
    wait_for(lambda: notified.heard("STATUS", "Child running, active VCL: two"), "the new status")
    wait_for(lambda: len(notified.heard("WATCHDOG", "1")) >= 3, "three signs of life")
    assert service.said("should be more than cli_timeout")
    service.end()
    assert notified.told[-1] == {"STOPPING": "1"}


def test_a_start_that_fails_is_never_ready(short_tmp: Path, notified: Notified) -> None:
    service = Service(short_tmp / "v", "-a", "127.0.0.1:0", "-p", "nosuch=1", NOTIFY_SOCKET=notified.path)
    service.end(2)
    assert notified.told == []


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1"])
def test_a_socket_that_nobody_has_is_told_of_once(address: str) -> None:
    complaints: list[str] = []
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "OTHER": "x"}
    service = ServiceManager(environ, complaints.append)
    service.ready()
    service.stopping()
    assert len(complaints) == 1 and "nobody is told" in complaints[0]
    assert environ == {"OTHER": "x"}
    assert service.watchdog == 0  # another process is meant


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0varnishpy-test-{os.getpid()}")
        service = ServiceManager({"NOTIFY_SOCKET": f"@varnishpy-test-{os.getpid()}"}, pytest.fail)
        service.ready()
        assert sock.recv(100).startswith(b"READY=1\n")


def test_a_passed_socket_is_accepted_from(short_tmp: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        waiting = socket.create_connection(("127.0.0.1", port))  # nobody serves yet
        words = ["-a", "web=fd@front"]
        service = Service(short_tmp / "v", *words, fds=(listener.fileno(),), LISTEN_FDNAMES="front")
        service.until(f"Listening on http://127.0.0.1:{port}/")
        assert service.cli("debug.listen_address").split()[-2:] == ["127.0.0.1", str(port)]
        with waiting:
            waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert waiting.recv(100).startswith(b"HTTP/1.1 503 ")
        service.cli("stop")
        service.cli("start")
        assert get(port) == 503
        service.end()
        socket.create_connection(("127.0.0.1", port)).close()  # it is still there: the service manager has it


def test_a_passed_unix_socket(short_tmp: Path) -> None:
    path = short_tmp / "web.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        service = Service(short_tmp / "v", fds=(listener.fileno(),))  # without -a all that were passed
        service.until("Child launched OK")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        service.end()
    assert path.exists()  # who made it removes it


def test_a_passed_socket_that_is_not_used_is_refused(short_tmp: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = Service(short_tmp / "v", "-a", "127.0.0.1:0", fds=(listener.fileno(),), LISTEN_FDNAMES="web")
        service.end(2)
    assert service.said("Passed sockets that no -a takes: fd@web")


def test_what_was_passed_to_somebody_else_is_not_ours() -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x"}
    assert activation.take(environ) == []
    assert environ == {}


def test_passed_sockets_that_are_not_there_are_an_error() -> None:
    with pytest.raises(StartupError, match=r"descriptor \d+ is not open"):
        activation.take({"LISTEN_FDS": "100000", "LISTEN_PID": str(os.getpid())})


@pytest.mark.parametrize(
    ("name", "text"),
    [("http", "there are 0 "), ("0", "stream socket|no socket")],
)
def test_errors(name: str, text: str) -> None:
    read_end, write_end = os.pipe()
    try:
        passed = Passed([PassedSocket(read_end, "0")])
        text = text.replace("there are 0 ", f"there are {read_end} 0")
        with pytest.raises(EndpointError, match=text):
            passed.open(parse_listen(f"fd@{name}", "a0"), 10)
    finally:
        os.close(read_end)
        os.close(write_end)
    with pytest.raises(EndpointError, match="lacks the name"):
        parse_listen("fd@", "a0")


def test_two_instances_take_turns_at_one_socket(short_tmp: Path) -> None:
    """How an upgrade loses no connection: the new one accepts from the same socket before the old one ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        answers: list[int] = []
        failures: list[Exception] = []
        over = threading.Event()

        def ask_on_and_on() -> None:
            while not over.is_set():
                try:
                    answers.append(get(port))
                except (OSError, http.client.HTTPException) as error:
                    failures.append(error)
                    return

        old = Service(short_tmp / "a", "-a", "fd@3", fds=(listener.fileno(),))
        old.until("Child launched OK")
        client = threading.Thread(target=ask_on_and_on)
        client.start()
        try:
            new = Service(short_tmp / "b", "-a", "fd@3", fds=(listener.fileno(),))
            new.until("Child launched OK")
            old.cli("traffic.stop")
            wait_for(lambda: " 0 sessions" in old.cli("traffic.status"), "the drain")
            old.end()
            seen = len(answers)
            wait_for(lambda: failures or len(answers) > seen + 5, "answers of the new one")
        finally:
            over.set()
            client.join()
        new.end()
    assert not failures and set(answers) == {503}
