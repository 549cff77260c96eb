"""A running cache for tests: a daemon of this package in a folder of its own, with its CLI, counters and log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from varnishpy.cli import protocol
from varnishpy.log.cursor import Chunk, LogError, RingCursor
from varnishpy.log.grouping import Grouper, Transaction
from varnishpy.manager.compiler import STAND_INS
from varnishpy.shm.counters import CounterReader
from varnishpy.shm.reader import SetReader
from varnishpy.tools.adm import AdmError, connect

START: Final = 30.0  # seconds until it must serve
PATIENCE: Final = 20.0  # seconds for a counter or a log record, which trail by a moment
_CERTIFICATE: Final = Path(__file__).parent.parent / "vtc" / "example.com.pem"


class InstanceError(AssertionError):
    """The cache did not start, ended, or refused a command; the text is what it said."""


class Instance:
    """See the module text.

    :param program: the VCL file
    :param stand_ins: addresses of backends by name
    :raises InstanceError: with the compiler's report, or whatever else was wrong
    """

    def __init__(
        self,
        directory: Path,
        program: Path,
        stand_ins: Mapping[str, str],
        parameters: Mapping[str, object],
        arguments: Sequence[str],
    ) -> None:
        self.workdir = directory
        settings = {"feature": "+http2", "thread_pool_min": 10, "thread_pools": 1, "ban_lurker_sleep": 0.01}
        command = [sys.executable, "-m", "varnishpy", "-F", "-n", str(directory), "-f", str(program)]
        command += ["-a", "http=127.0.0.1:0", "-a", f"https=127.0.0.1:0,HTTPS,cert={_CERTIFICATE}", "-l", "8m"]
        # a test's own come after ours: its bits of ``feature`` are added to those that are on
        for name, value in (*settings.items(), *parameters.items()):
            command += ["-p", f"{name}={value}"]
        environment = {**os.environ, STAND_INS: json.dumps(dict(stand_ins))}
        self._said: list[str] = []
        self._cli: socket.socket | None = None
        self._cli_lock = threading.Lock()
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait_started()
        words = [line.split() for line in self.cli("debug.listen_address").splitlines()]
        self.ports = {row[0]: int(row[2]) for row in words}
        self._cursor: RingCursor | None = None
        self._log = SetReader(directory)
        self._counters = CounterReader(SetReader(directory))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)

    @property
    def said(self) -> str:
        """What the daemon has printed."""
        return "".join(list(self._said))

    def _wait_started(self) -> None:
        until = time.monotonic() + START
        while not any("Child launched OK" in line for line in list(self._said)):
            if self._process.poll() is not None:
                self._reader.join(5)
                raise InstanceError(self.said.strip())
            if time.monotonic() > until:
                self.stop()
                raise InstanceError(f"the cache did not start within {START:g} s:\n{self.said}")
            time.sleep(0.002)

    def stop(self) -> None:
        """End it."""
        if self._cli is not None:
            self._cli.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)

    # -- looking in ------------------------------------------------------------------------------------------------

    def cli(self, *words: str) -> str:
        """The answer to a CLI command; one word is split at blanks. :raises InstanceError: it was refused"""
        if len(words) == 1:
            words = tuple(words[0].split())
        try:
            with self._cli_lock:
                if self._cli is None:
                    self._cli = connect(str(self.workdir), None, None, START)
                    self._cli.settimeout(START)
                self._cli.sendall(protocol.join(words).encode() + b"\n")
                status, text = protocol.read_response(self._cli, START)
        except (AdmError, OSError, protocol.CliProtocolError) as error:
            raise InstanceError(f"{' '.join(words)}: {error}\n{self.said}") from None
        if status != protocol.OK:
            raise InstanceError(f"{' '.join(words)}: {status} {text}")
        return text

    def counter(self, name: str) -> int:
        """A counter's value as published; ``MAIN.`` may be left out. :raises KeyError: there is none of that name"""
        self._counters.refresh()
        wanted = name if "." in name else f"MAIN.{name}"
        for point in self._counters.points():
            if point.name == wanted:
                return point.value
        raise KeyError(name)

    def wait(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait for something that trails by a moment. :raises InstanceError: it does not come"""
        until = time.monotonic() + patience
        while not condition():
            if time.monotonic() > until:
                raise InstanceError(f"waited {patience:g} s in vain for {what}")
            time.sleep(0.002)

    # -- the log ---------------------------------------------------------------------------------------------------

    def chunks(self) -> list[Chunk]:
        """What was logged since the last call."""
        found: list[Chunk] = []
        try:
            if self._cursor is None:
                self._log.refresh()
                entries = self._log.find("Log")
                if not entries:
                    return found
                entry = entries[0]
                self._cursor = RingCursor(self._log.map(entry), False, lambda: self._log.valid(entry))
            while (chunk := self._cursor.next()) is not None:
                found.append(chunk)
        except LogError:
            self._cursor = None  # it went round while nobody read: what there is now begins anew
        return found


class Transactions:
    """The groups of transactions of an instance, as they end."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._grouper = Grouper("request")
        self.groups: list[list[Transaction]] = []

    def refresh(self) -> None:
        """Take in what was logged."""
        for chunk in self._instance.chunks():
            self.groups += self._grouper.feed(chunk)

    def forget(self) -> None:
        """Another test begins."""
        self.refresh()
        self.groups.clear()

    def of_port(self, port: int, patience: float = PATIENCE) -> list[Transaction]:
        """The group of the request that came from a client's port. :raises InstanceError: there is none"""
        found: list[list[Transaction]] = []

        def seen() -> bool:
            self.refresh()
            found[:] = [group for group in self.groups if _port_of(group[0]) == port]
            return bool(found)

        self._instance.wait(seen, f"the log of the request from port {port}", patience)
        return found[-1]


def _port_of(transaction: Transaction) -> int:
    for record in transaction.records:
        if record.name == "ReqStart":
            words = record.text.split()
            return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return 0
