"""Debian's redis-server as the engine, on a unix socket and a port of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import require_program
from tests.waiting import wait_for


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class EngineProcess:
    """One engine. It can be killed, stopped for a while, and started again with its old data or none."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.program = require_program("redis-server")
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "engine.sock"
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [
            self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.path),
            "--dir", str(self.directory), "--save", "", "--appendonly", "no", "--dbfilename", "dump.rdb",
            "--loglevel", "warning", *self.options,
        ]  # fmt: skip
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, "the engine to answer")

    def command(self, *words: str) -> bytes:
        """Ask it directly, over a connection of its own; the raw answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.path))
            parts = [f"*{len(words)}\r\n"] + [f"${len(word)}\r\n{word}\r\n" for word in words]
            sock.sendall("".join(parts).encode())
            return sock.recv(1 << 20)

    def answers(self) -> bool:
        try:
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            assert self.process is not None and self.process.poll() is None, "redis-server ended at once"
            return False

    def memory(self) -> int:
        """Octets that it says it uses."""
        text = self.command("INFO", "memory").decode()
        return int(text.split("used_memory:")[1].split()[0])

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Gone without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    def stop(self) -> None:
        """The end of a test."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.kill()

    def freeze(self) -> None:
        """A black hole: the kernel accepts connections, nobody answers."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


@contextlib.contextmanager
def running_engine(directory: Path, *options: str) -> Iterator[EngineProcess]:
    engine = EngineProcess(directory, *options)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
