"""A cache with the soak's origin behind it and clients in front of it, and what is held against it at the end."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.harness import Cache, descriptors, running
from tests.waiting import wait_for
from tools.soaking.shim import Shim
from tools.soaking.site import Site
from tools.soaking.traffic import Client, Tally
from tools.soaking.watch import Watch

CERTIFICATE: Final = Path(__file__).resolve().parents[2] / "varnishpy" / "vtc" / "example.com.pem"
SORTS: Final = ("h1", "h1", "h1", "h2", "h2", "h2", "tls", "tls", "pipe", "quit")

PROGRAM: Final = """vcl 4.1;
import std;
import xkey;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    if (req.http.Upgrade) { return (pipe); }
    if (req.url ~ "^/[pu]/") { return (pass); }
}
sub vcl_pipe { set bereq.http.Connection = req.http.Connection; set bereq.http.Upgrade = req.http.Upgrade; }
sub vcl_backend_response {
    if (beresp.http.X-ESI) { set beresp.do_esi = true; }
    if (bereq.url ~ "^/k/") { set beresp.keep = 60s; }
    if (bereq.url ~ "^/v/") { set beresp.do_gzip = true; }
}
"""

# counters that stay at nothing: defects that were contained, log that was lost
NEVER: Final = ("MAIN.req_contained", "MAIN.losthdr")


class Stand:
    """See the module text; `stand` makes one."""

    def __init__(self, cache: Cache, site: Site, program: Path, shim: Shim | None) -> None:
        self.cache = cache
        self.site = site
        self.program = program
        self.directory = program.parent
        self.shim = shim
        self.tally = Tally()
        self.watch = Watch(cache)
        self._find_ports()
        self._rate = 0.0
        self._clients: list[Client] = []
        self._seed = 0
        self.replaced = "boot"  # the VCL that is discarded when another is in use

    def _find_ports(self) -> None:
        rows = [line.split() for line in self.cache.cli("debug.listen_address").splitlines()]
        self._ports = {row[0]: int(row[2]) for row in rows}

    def begin_again(self) -> None:
        """Its manager was killed: the clients have nobody to talk to until there is another daemon in its place."""
        self.cache.begin_again()
        self.leave()
        if self.shim is not None:
            self.shim.spare(self.cache.process.pid)
        self.replaced = "boot"
        self._find_ports()
        self.wait_well()
        self.come(self._rate)

    # -- clients ---------------------------------------------------------------------------------------------------

    def come(self, rate: float, sorts: tuple[str, ...] = SORTS) -> None:
        """Clients begin, with so many requests per second together."""
        self._rate = rate
        for sort in sorts:
            self._seed += 1
            port = self._ports["https" if sort == "tls" else "http"]
            self._clients.append(Client(sort, port, self.site, self.tally, rate / len(sorts), self._seed))
            self._clients[-1].start()

    def leave(self) -> None:
        """All clients end."""
        for client in self._clients:
            client.stop()
        for client in self._clients:
            client.join(60)
        self._clients.clear()

    def figures(self) -> tuple[int, int]:
        """Threads and descriptors of the child, nobody being connected."""
        self.watch.rest()
        pid = self.cache.child_pid
        sample = self.watch.look()
        return (sample.threads if sample is not None else 0), descriptors(pid)

    # -- judging ---------------------------------------------------------------------------------------------------

    def errors(self) -> dict[str, int]:
        """What did not come to a good end, by sort."""
        return {name: n for name, n in self.tally.outcomes.items() if name not in ("ok", "quit", "mistake")}

    def wrongs(self) -> list[str]:
        """What must never be, whatever has failed. Nobody is connected any more."""
        wrong = list(self.tally.mistakes)
        left = self.watch.rest()
        if left:
            wrong.append(f"left over: {left}")
        counters = self.cache.counters()
        wrong += [f"{name} is {counters[name]}" for name in NEVER if counters.get(name)]
        said = [line for line in self.cache.output if "Traceback" in line or "Panic" in line]
        if said:
            wrong.append("the cache said:\n" + "".join(self.cache.output)[-4000:])
        wrong += [f"the origin failed: {error!r}" for error in self.site.origin.errors]
        return wrong

    def wait_well(self, patience: float = 30.0) -> None:
        """Wait until a child serves. :raises AssertionError: none does"""
        wait_for(self._is_well, "a child that serves", patience)

    def _is_well(self) -> bool:
        try:
            return bool(self.cache.child_pid) and self.cache.get("/c/0/0").status == 200
        except (OSError, AssertionError, ValueError):
            time.sleep(0.05)
            return False


class NoMount(Exception):
    """A file system of a size of its own cannot be mounted here; the text is why."""


@contextmanager
def _directory(disk: str) -> Iterator[Path]:
    """A temporary directory, on a file system of that size where one is named. :raises NoMount:"""
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        if not disk:
            yield Path(name)
            return
        words = ["mount", "-t", "tmpfs", "-o", f"size={disk},mode=0755", "tmpfs", name]
        try:
            subprocess.run(words, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoMount(getattr(error, "stderr", "") or str(error)) from None
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)  # the shim is still mapped


@contextmanager
def stand(
    *words: str, storage: str = "malloc,24m", faults: bool = False, status: int = 0, disk: str = ""
) -> Iterator[Stand]:
    """A stand for the length of the block.

    :param words: more of the command line
    :param storage: what ``-s`` says of the storage ``s0``
    :param faults: with a shim, see `Shim`
    :param status: with which the daemon must end
    :param disk: size of a file system of its own for all files
    :raises NoMount: there can be no such file system
    """
    site = Site()
    with _directory(disk) as directory:
        file = directory / "soak.vcl"
        file.write_text(PROGRAM % site.port)
        shim = Shim(directory) if faults else None
        environment: Mapping[str, str] = shim.environment if shim is not None else {}
        line = ["-f", str(file), "-a", "http=127.0.0.1:0", "-a", f"https=127.0.0.1:0,HTTPS,cert={CERTIFICATE}"]
        line += [
            "-s",
            f"s0={storage.format(directory=directory)}",
            "-l",
            "8m",
            "-p",
            "default_grace=0",
            "-p",
            "timeout_idle=60",
        ]
        line += ["-p", "feature=+http2,+esi_disable_xml_check", *words]
        try:
            with running(directory / "v", *line, status=status, environment=environment) as cache:
                if shim is not None:
                    shim.spare(cache.process.pid)
                yield Stand(cache, site, file, shim)
        finally:
            site.close()
