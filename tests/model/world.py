"""A real cache with the origin of the model behind it, started once for many histories."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.e2e.harness import Origin
from tests.model.asking import Clients
from tests.model.pages import Page, Site
from tests.waiting import wait_for
from varnishpy.kit.instance import Instance

PAGES: Final = (
    Page("/a", keys=("k1",)),
    Page("/b", keys=("k1", "k2")),
    Page("/v", varies=True, keys=("k2",)),
    Page("/w", varies=True),
    Page("/big", storage="small"),
    Page("/huge", keys=("k1",), storage="small"),
    Page("/e", includes=("/a", "/v"), keys=("k2",)),
    Page("/f", includes=("/w",)),
)

PROGRAM: Final = """vcl 4.1;
import std;
import xkey;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    if (req.method == "PURGE") { return (purge); }
    if (req.http.X-Purge-Key) { return (synth(200, "" + xkey.purge(req.http.X-Purge-Key))); }
    if (req.http.X-Soft-Key) { return (synth(200, "" + xkey.softpurge(req.http.X-Soft-Key))); }
    if (req.http.X-Pass) { return (pass); }
}
sub vcl_backend_response {
    if (beresp.http.X-Storage == "small") { set beresp.storage = storage.small; }
    if (beresp.http.X-Stream == "no") { set beresp.do_stream = false; }
    if (beresp.http.X-ESI) { set beresp.do_esi = true; }
    if (beresp.status == 500) { set beresp.uncacheable = true; }
    set beresp.keep = std.duration(beresp.http.X-Keep, 0s);
}
"""

# connections are kept from one history to the next, however slow the machine
PARAMETERS: Final = {"default_grace": 0, "default_keep": 0, "default_ttl": 0, "timeout_idle": 3600}
ARGUMENTS: Final = ("-s", "s0=malloc,64m", "-s", "small=malloc,1m")

# what must be back at nothing once the cache is empty and nobody is connected
GAUGES: Final = (
    "MAIN.n_object", "MAIN.n_objectcore", "MAIN.n_objecthead", "MAIN.thread_queue_len", "MAIN.req_contained",
    "SMA.s0.g_bytes", "SMA.s0.g_alloc", "SMA.small.g_bytes", "SMA.small.g_alloc", "SMA.Transient.g_bytes",
)  # fmt: skip


class World:
    """See the module text."""

    def __init__(self, directory: Path) -> None:
        self.ahead = 0
        self.site = Site({page.path: page for page in PAGES}, lambda: self.ahead)
        self.origin: Origin = self.site.open()
        program = directory / "model.vcl"
        program.write_text(PROGRAM % self.origin.port)
        self.cache = Instance(directory / "v", program, {}, PARAMETERS, ARGUMENTS)
        self.clients = Clients(self.cache.ports["http"])
        self.histories = 0
        self.restarts = 0
        self.failures: list[str] = []  # what led to each failure

    def close(self) -> None:
        """End it all."""
        self.clients.close()
        self.cache.stop()
        self.origin.close()
        assert not self.origin.errors, self.origin.errors
        assert "Traceback" not in self.cache.said, self.cache.said

    def begin(self) -> None:
        """Another history: an empty cache, its clock right, all pages plain."""
        self.cache.cli("debug.empty")
        self.travel(self.ahead, -self.ahead)
        self.site.forget()
        self.histories += 1

    def remember(self, story: list[str], error: Exception) -> None:
        """Something has failed, after this."""
        self.failures.append("\n".join([*story, f"{type(error).__name__}: {error}", self.cache.said]))

    def travel(self, start: int, seconds: int) -> None:
        """Move the cache's clock from where it is, in seconds ahead of the machine's."""
        if seconds:
            self.cache.cli("debug.travel", str(seconds))
        self.ahead = start + seconds

    def tell(self, method: str, path: str, **headers: str) -> None:
        """A request that changes what is kept; it must be obeyed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cache.ports["http"], timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, None, {"Host": "test", **headers})
            assert connection.getresponse().status == 200

    def restart(self, kill: bool) -> None:
        """A new child, by command or because the old one was killed."""
        self.clients.close()
        self.restarts += 1
        before = self._child()
        if kill:
            os.kill(int(before), signal.SIGKILL)
        else:
            self.cache.cli("stop")
            self.cache.cli("start")
        wait_for(lambda: self._child() not in ("", before), "the new child")
        self.travel(0, self.ahead)

    def _child(self) -> str:
        """The process id of the child that serves; nothing while there is none."""
        serves = "running" in self.cache.cli("status") and self.counters()
        return self.cache.cli("pid").split()[-1] if serves else ""

    def log_of(self, vxid: str) -> str:
        """What the cache has logged of a request, and what it has printed; for messages."""
        command = [sys.executable, "-m", "varnishpy", "log", "-n", str(self.cache.workdir), "-d", "-g", "request"]
        found = subprocess.run([*command, "-q", f"vxid == {vxid or 0}"], capture_output=True, text=True, check=False)
        return found.stdout + found.stderr

    def counters(self) -> dict[str, int]:
        """All counters, as they are now; none while no child is there to tell."""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(self.cache.workdir / "stats.sock"))
                sock.sendall(b"GET /stats.json HTTP/1.0\r\n\r\n")
                page = b"".join(iter(lambda: sock.recv(1 << 20), b""))
        except OSError:
            return {}
        return {name: row["value"] for name, row in json.loads(page.partition(b"\r\n\r\n")[2])["counters"].items()}

    def leftovers(self) -> dict[str, int]:
        """Gauges that are not back at nothing."""
        return {name: value for name, value in self.counters().items() if value and _gauge(name)}

    def check_empty(self) -> None:
        """Nothing is left once everything is taken out."""
        self.clients.close()
        self.cache.cli("debug.empty")
        try:
            wait_for(lambda: not self.leftovers(), "gauges at nothing")
        except AssertionError:
            raise AssertionError(f"left over: {self.leftovers()}") from None


def _gauge(name: str) -> bool:
    return name in GAUGES or (name.startswith("VBE.") and name.endswith(".conn"))


@contextlib.contextmanager
def world(directory: Path) -> Iterator[World]:
    """A world for the length of the block."""
    made = World(directory)
    try:
        yield made
    finally:
        made.close()
