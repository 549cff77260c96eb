"""``tools/bench --tier``: what a hit in the shared tier costs beside a miss that goes to the origin and a hit of nginx.

One connection asks for one page after the other, so the time is what a client waits. CPU is that of the server's
processes (and, where it is named, of the engine): it travels better than time. Local hits are asked for in turns, of a
node with a tier and one without; the median of many short turns counts.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.e2e.harness import Cache, running
from tests.tier.engine_process import EngineProcess, running_engine
from tests.waiting import wait_for
from tools.benching import peers

PAGES = 500
TURNS = 60
HITS = 500  # in a turn


class Asker:
    """One connection to one server."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str) -> None:
        """A page, to its last octet; each has 1 KB."""
        self._sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head, body = b"", b""
        while not body:
            head += self._receive()
            head, _, body = head.partition(b"\r\n\r\n") if b"\r\n\r\n" in head else (head, b"", b"")
        assert head.startswith(b"HTTP/1.1 200"), head
        while len(body) < 1024:
            body += self._receive()

    def _receive(self) -> bytes:
        data = self._sock.recv(65536)
        assert data, "the server closed"
        return data


Cpu = Callable[[], float]


def cpu_of(*pids: int) -> Cpu:
    """Seconds that processes have used."""
    processes = [psutil.Process(pid) for pid in pids]
    return lambda: sum(sum(process.cpu_times()[:2]) for process in processes)


def walk(asker: Asker, cpu: Cpu) -> tuple[float, float]:
    """Milliseconds and CPU milliseconds a page, asking for each once."""
    asker.ask("/warm")
    began, used = time.perf_counter(), cpu()
    for number in range(PAGES):
        asker.ask(f"/page/{number}")
    return (time.perf_counter() - began) * 1e3 / PAGES, (cpu() - used) * 1e3 / PAGES


@contextmanager
def node(place: Path, origin: int, *words: str) -> Iterator[Cache]:
    with running(place, "-b", f"127.0.0.1:{origin}", "-s", "malloc,200m", *words) as cache:
        yield cache


def run(directory: Path, origin: int, rounds: int, pem: Path) -> dict[str, tuple[float, float]]:
    """Everything; for each subject milliseconds and CPU milliseconds a page."""
    found: dict[str, list[tuple[float, float]]] = {}

    def note(name: str, figures: tuple[float, float]) -> None:
        found.setdefault(name, []).append(figures)

    with running_engine(directory / "e") as engine:
        tier = ("-s", f"tier=valkey,{engine.path}")
        with node(directory / "first", origin, *tier) as first:
            walk(Asker(first.port), cpu_of(first.child_pid))
            wait_for(lambda: first.counter("TIER.put") > PAGES, "the pages to be stored", 60.0)
            for number in range(rounds):
                with node(directory / f"t{number}", origin, *tier) as fresh:
                    both = cpu_of(fresh.child_pid, _pid(engine))
                    note("hit in the tier (CPU with the engine's)", walk(Asker(fresh.port), both))
                    assert fresh.counter("TIER.hit") >= PAGES
                with node(directory / f"o{number}", origin) as plain:
                    note("miss to the origin", walk(Asker(plain.port), cpu_of(plain.child_pid)))
                with nginx(directory / f"n{number}", origin, pem) as launch:
                    asker = Asker(launch.port("h1"))
                    for name in ("nginx, miss to the origin", "nginx, hit of its proxy cache"):
                        note(name, walk(asker, lambda: launch.usage()[0]))
            with node(directory / "without", origin) as plain:
                subjects = {"local hit, with a tier": first, "local hit, without": plain}
                for turn in range(TURNS):
                    for name in sorted(subjects, reverse=bool(turn % 2)):
                        note(name, hits(subjects[name]))
    return {name: (statistics.median(a for a, _ in all_), statistics.median(b for _, b in all_))
            for name, all_ in found.items()}  # fmt: skip


def hits(cache: Cache) -> tuple[float, float]:
    """Milliseconds and CPU milliseconds of a local hit, in one turn."""
    asker, cpu = Asker(cache.port), cpu_of(cache.child_pid)
    asker.ask("/page/0")
    began, used = time.perf_counter(), cpu()
    for _ in range(HITS):
        asker.ask("/page/0")
    return (time.perf_counter() - began) * 1e3 / HITS, (cpu() - used) * 1e3 / HITS


def _pid(engine: EngineProcess) -> int:
    assert engine.process is not None
    return engine.process.pid


@contextmanager
def nginx(directory: Path, origin: int, pem: Path) -> Iterator[peers.Launch]:
    directory.mkdir()
    peer = next(peer for peer in peers.peers() if peer.name == "nginx")
    launch = peer.launch("h1")
    peers.start(peer, launch, directory, origin, pem)
    try:
        yield launch
    finally:
        launch.stop()


def main(directory: Path, rounds: int, pem: Path) -> int:
    program = str(Path(__file__).parent / "origin.py")
    with ExitStack() as stack:
        origin = stack.enter_context(subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True))
        stack.callback(origin.terminate)
        assert origin.stdout is not None
        figures = run(directory, int(origin.stdout.readline()), rounds, pem)
    for name, (milliseconds, cpu) in figures.items():
        print(f"{name:42s} {milliseconds:7.3f} ms {cpu:7.3f} ms of CPU")
    with_tier, without = figures["local hit, with a tier"][1], figures["local hit, without"][1]
    print(f"a local hit with a tier takes {with_tier / without - 1.0:+.1%} of CPU")
    return 0
