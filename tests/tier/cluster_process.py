"""Three of Debian's redis-server as one cluster on loopback, each with a third of the slots."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import require_program
from tests.tier.engine_process import EngineProcess, free_port
from tests.waiting import wait_for

COUNT = 3


class ClusterProcess:
    """The three, and ways to move slots between them.

    :param announced: ports under which clients are told to find them, if others than their own
    :param tls: options of ``redis-cli`` for servers that speak TLS only
    """

    def __init__(self, directory: Path, *options: str, announced: Sequence[int] = (), tls: Sequence[str] = ()) -> None:
        self.engines: list[EngineProcess] = []
        self._tls = tls
        self._buses = [free_port() for _ in range(COUNT)]
        for number, bus in enumerate(self._buses):
            words = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-announce-ip", "127.0.0.1"]
            if announced:
                words += ["--cluster-announce-port", str(announced[number])]
            engine = EngineProcess(directory / str(number), *words, *options)
            if tls:  # the one port is for TLS
                engine.options = (*engine.options, "--port", "0", "--tls-port", str(engine.port))
            self.engines.append(engine)
        self.announced = announced

    def start(self) -> None:
        for engine in self.engines:
            engine.start()
        addresses = [f"127.0.0.1:{engine.port}@{bus}" for engine, bus in zip(self.engines, self._buses, strict=True)]
        self.cli("create", *addresses)
        wait_for(lambda: all(b"cluster_state:ok" in e.command("CLUSTER", "INFO") for e in self.engines), "a cluster")

    def cli(self, *words: str) -> str:
        """``redis-cli --cluster``."""
        program = require_program("redis-cli")
        made = subprocess.run(
            [program, *self._tls, "--cluster", *words, "--cluster-yes"],
            check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return made.stdout

    def stop(self) -> None:
        for engine in self.engines:
            engine.stop()

    # -- slots -------------------------------------------------------------------------------------------------------

    def owner(self, slot: int) -> int:
        """Which of the three has a slot, as the first sees it."""
        for line in self.engines[0].command("CLUSTER", "NODES").decode().splitlines():
            cells = line.split()
            for cell in cells[8:]:
                first, _, last = cell.partition("-")
                if not cell.startswith("[") and int(first) <= slot <= int(last or first):
                    return self._names().index(cells[0])
        raise AssertionError(f"nobody has slot {slot}")

    def _names(self) -> list[str]:
        return [engine.command("CLUSTER", "MYID").split(b"\r\n")[1].decode() for engine in self.engines]

    def move(self, slot: int) -> Iterator[str]:
        """Move a slot to another server, one command at each step; yields what was done."""
        names = self._names()
        source = self.owner(slot)
        target = (source + 1) % COUNT
        here, there = self.engines[source], self.engines[target]
        _well(there.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", names[source]))
        yield "importing"
        _well(here.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", names[target]))
        yield "migrating"
        while keys := _strings(here.command("CLUSTER", "GETKEYSINSLOT", str(slot), "1")):
            _well(here.command("MIGRATE", "127.0.0.1", str(there.port), keys[0], "0", "5000", "REPLACE"))
            yield f"moved {keys[0]}"
        order = [target, source, *(number for number in range(COUNT) if number not in (target, source))]
        for number in order:
            _well(self.engines[number].command("CLUSTER", "SETSLOT", str(slot), "NODE", names[target]))
            yield f"told {number}"


def _well(answer: bytes) -> None:
    assert answer.startswith((b"+OK", b"+NOKEY")), answer


def _strings(answer: bytes) -> list[str]:
    """An array of simple words, as the engine sends it."""
    return [line.decode() for line in answer.split(b"\r\n")[2::2] if line]


@contextlib.contextmanager
def running_cluster(
    directory: Path, *options: str, announced: Sequence[int] = (), tls: Sequence[str] = ()
) -> Iterator[ClusterProcess]:
    made = ClusterProcess(directory, *options, announced=announced, tls=tls)
    try:
        made.start()
        yield made
    finally:
        made.stop()
