"""Rounds of kill -9: a cache with persistent storage dies in the middle of its work, again and again.

Each round lets clients ask, purge and ban for a moment, kills the cache process (now and then the manager too), has it
started again, and asks for every object there is. Whatever is served must be an answer that the origin once gave, octet
for octet, and no older than the last purge or ban that was answered. `tools/kill-rounds` runs many of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.harness import Cache, Exchange, Origin
from tests.waiting import wait_for

VCL = """
vcl 4.1;
import xkey;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_hash { hash_data(req.url); return (lookup); }
sub vcl_recv {
    if (req.method == "PURGE") { return (purge); }
    if (req.method == "BAN") {
        ban("obj.http.x-group == " + req.http.x-group);
        return (synth(200, "banned"));
    }
    if (req.method == "KEY") {
        set req.http.n = xkey.purge(req.http.x-key);
        return (synth(200, "purged"));
    }
}
"""

CLIENTS = 4
_OBJECTS = 24  # of each client
_SIZES = (0, 1, 900, 4000, 17_000, 60_000, 150_000, 700_000)


@dataclass
class Tally:
    """What was seen."""

    rounds: int = 0
    managers: int = 0
    hits: int = 0
    misses: int = 0
    cut: int = 0
    purges: int = 0
    swept_hits: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds ({self.managers} of them killed the manager too): {self.hits} hits"
            f" ({self.swept_hits} of them right after a start), {self.misses} misses, {self.purges} purges and bans,"
            f" {self.cut} answers cut off by a kill, {len(self.wrong)} wrong"
        )


class Rounds:
    """See the module text.

    :param directory: for the working directory and the storage
    """

    def __init__(self, directory: Path, seed: int, size: str = "12m") -> None:
        self.tally = Tally()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._versions: dict[str, int] = {}
        self._floor: dict[str, int] = {}  # versions below must not be served any more
        self._given: dict[tuple[str, int], str] = {}  # what the origin gave, as a checksum
        self._stop = threading.Event()
        self._killed = threading.Event()
        self._origin = Origin()
        self._origin.pages["/o"] = self._answer
        self._workdir = directory / "v"
        vcl = directory / "kill.vcl"
        vcl.write_text(VCL % self._origin.port)
        self._arguments = ["-f", str(vcl), "-s", f"persistent,{directory / 'store'},{size}", "-p", "cli_timeout=20"]
        self.cache = Cache(self._workdir, self._arguments)

    # -- the origin ----------------------------------------------------------------------------------------------------

    def _answer(self, exchange: Exchange) -> None:
        name = exchange.target.partition("?")[2]
        with self._lock:
            version = self._versions[name] = self._versions.get(name, 0) + 1
            dice = random.Random(f"{name} {version}")
        body = dice.randbytes(dice.choice(_SIZES))
        checksum = hashlib.sha1(body).hexdigest()
        with self._lock:
            self._given[name, version] = checksum
        exchange.answer(
            body, cache_control="max-age=9999", x_name=name, x_version=str(version), x_sum=checksum,
            x_group=name.partition(".")[0], xkey=f"k{name.replace('.', '-')}",
        )  # fmt: skip

    # -- clients -------------------------------------------------------------------------------------------------------

    def _ask(self, connection: http.client.HTTPConnection, name: str) -> bool | None:
        """Ask for an object and judge the answer: was it a hit? ``None``: it was cut off."""
        try:
            connection.request("GET", f"/o?{name}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.tally.cut += 1
            return None
        if response.status == 503:  # the origin's connection was cut off with the process
            return None
        version = int(response.headers.get("x-version", "0"))
        hit = len(response.headers.get("x-varnish", "").split()) == 2
        with self._lock:
            right = self._given.get((name, version))
            floor = self._floor.get(name, 0)
        if right != hashlib.sha1(body).hexdigest() or response.headers.get("x-name") != name:
            self.tally.wrong.append(f"{name} version {version}: {len(body)} octets that the origin never gave")
        elif version < floor:
            self.tally.wrong.append(f"{name} version {version}: it was purged, {floor} is the oldest there can be")
        with self._lock:
            self.tally.hits += hit
            self.tally.misses += not hit
        return hit

    def _purge(self, connection: http.client.HTTPConnection, group: int, name: str, dice: random.Random) -> None:
        method = dice.choice(("PURGE", "PURGE", "KEY", "BAN"))
        names = [name] if method != "BAN" else [f"{group}.{number}" for number in range(_OBJECTS)]
        with self._lock:
            floors = {name: self._versions.get(name, 0) + 1 for name in names}
        headers = {"X-Group": str(group), "X-Key": f"k{name.replace('.', '-')}"}
        try:
            connection.request(method, f"/o?{name}", headers=headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return
        if response.status == 200:
            with self._lock:
                self._floor.update(floors)
                self.tally.purges += 1

    def _client(self, group: int, seed: float) -> None:
        """All requests for a group's objects are this thread's, one after the other."""
        dice = random.Random(seed)
        connection = self._connect()
        while not self._stop.is_set():
            name = f"{group}.{dice.randrange(_OBJECTS)}"
            if dice.random() < 0.08:
                self._purge(connection, group, name, dice)
            elif self._ask(connection, name) is None and self._killed.is_set():
                break
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.cache.port, timeout=30)

    def _sweep(self, group: int) -> None:
        connection = self._connect()
        for number in range(_OBJECTS):
            hit = self._ask(connection, f"{group}.{number}")
            if hit:
                with self._lock:
                    self.tally.swept_hits += 1
        connection.close()

    def _together(self, *threads: threading.Thread) -> None:
        for thread in threads:
            thread.start()

    # -- rounds --------------------------------------------------------------------------------------------------------

    def round(self, manager: bool = False) -> None:
        """One round; see the module text."""
        self._stop.clear()
        self._killed.clear()
        clients = [threading.Thread(target=self._client, args=(group, self._dice.random())) for group in range(CLIENTS)]
        self._together(*clients)
        time.sleep(self._dice.uniform(0.01, 0.35))  # the moment of the kill: any will do
        pid = self.cache.child_pid
        self._killed.set()
        if manager:
            os.kill(self.cache.process.pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        self._stop.set()
        if manager:
            self.cache.process.wait(20)
            self.tally.managers += 1
            self.cache = Cache(self._workdir, self._arguments)
        else:
            self._start_again(pid)
        for client in clients:
            client.join(40)
            if client.is_alive():
                raise AssertionError("a client does not end")
        sweepers = [threading.Thread(target=self._sweep, args=(group,)) for group in range(CLIENTS)]
        self._together(*sweepers)
        for sweeper in sweepers:
            sweeper.join(60)
        self.tally.rounds += 1

    def _start_again(self, old: int) -> None:
        """The manager would do it by itself, but takes longer each time for a child that dies young."""

        def started() -> bool:
            self.cache.cli_result("start")
            return self.cache.child_pid not in (0, old)

        wait_for(started, "a new child")

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self.cache.stop()
        self._origin.close()
