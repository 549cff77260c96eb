"""The servers: how each is started, where it listens, what it uses of the machine.

One server may need several processes (an application server that speaks either TLS or not); each is a `Launch`,
started when the first scenario asks for its protocol, and stopped at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tools.benching.scenarios import Protocol

BIN = Path(sys.executable).parent

VCL = """
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "{origin}"; }
sub vcl_recv { if (req.url == "/pass") { return (pass); } }
sub vcl_backend_response {
    if (bereq.url == "/esi") { set beresp.do_esi = true; }
    if (bereq.url == "/gzip") { set beresp.do_gzip = true; }
}
"""

ASGI_APP = """
BODIES = {"/1m": b"x" * 1048576}
DEFAULT = b"x" * 1024


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = BODIES.get(scope["path"], DEFAULT)
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""

NGINX = """
daemon off; worker_processes auto; pid {dir}/nginx.pid; error_log {dir}/error.log; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 1000000000; keepalive_timeout 1h;
  ssl_certificate {pem}; ssl_certificate_key {pem};
  proxy_cache_path {dir}/cache keys_zone=one:64m;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{h1}; listen 127.0.0.1:{h2} http2; listen 127.0.0.1:{tls} ssl http2;
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{ proxy_pass http://origin; proxy_cache one; proxy_cache_valid 200 1h; }}
    location = /pass {{ proxy_pass http://origin; }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 4000
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
cache one
  total-max-size 512
  max-object-size 2000000
  max-age 3600
frontend front
  bind 127.0.0.1:{h1}
  bind 127.0.0.1:{h2}
  bind 127.0.0.1:{tls} ssl crt {pem} alpn h2,http/1.1
  http-request cache-use one unless {{ path /pass }}
  http-response cache-store one
  default_backend origin
backend origin
  http-reuse always
  server o 127.0.0.1:{origin}
"""


@dataclass(frozen=True)
class Place:
    """Where a launch lives: its directory, its ports, its origin and the PEM file with key and certificate."""

    dir: Path
    h1: int
    h2: int
    tls: int
    origin: int
    pem: Path


def _varnish(words: list[str], place: Place, tls: bool) -> list[str]:
    vcl = place.dir / "bench.vcl"
    vcl.write_text(VCL.replace("{origin}", str(place.origin)))
    command = [*words, "-F", "-a", f"127.0.0.1:{place.h1}", "-a", f"127.0.0.1:{place.h2}", "-f", str(vcl)]
    if tls:
        command += ["-a", f"127.0.0.1:{place.tls},HTTPS,cert={place.pem}"]
    return [*command, "-n", str(place.dir), "-s", "malloc,1g", "-p", "feature=+http2", "-p", "default_ttl=3600"]


def _varnishd(place: Place) -> list[str]:
    return _varnish(["varnishd", "-j", "none"], place, tls=False)


def _nginx(place: Place) -> list[str]:
    path = place.dir / "nginx.conf"
    path.write_text(NGINX.format(**vars(place)))
    return ["nginx", "-p", str(place.dir), "-c", str(path)]


def _haproxy(place: Place) -> list[str]:
    path = place.dir / "haproxy.cfg"
    path.write_text(HAPROXY.format(**vars(place)))
    return ["haproxy", "-db", "-f", str(path)]


def _asgi(place: Place) -> None:
    (place.dir / "asgi_app.py").write_text(ASGI_APP)


def _hypercorn(place: Place, port: int, *more: str) -> list[str]:
    _asgi(place)
    settings = place.dir / "hypercorn.toml"
    settings.write_text("keep_alive_max_requests = 1000000000\n")  # else it closes after 1000
    return [str(BIN / "hypercorn"), "-c", str(settings), "-b", f"127.0.0.1:{port}", "-w", "1", "--log-level", "error",
            *more, "asgi_app:app"]  # fmt: skip


def _granian(place: Place, port: int, http: str, *more: str) -> list[str]:
    _asgi(place)
    return [str(BIN / "granian"), "--interface", "asgi", "--http", http, "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1", "--log-level", "error", *more, "asgi_app:app"]  # fmt: skip


@dataclass
class Launch:
    """One process of a server, for some protocols."""

    protocols: tuple[Protocol, ...]
    command: Callable[[Place], list[str]]
    process: subprocess.Popen[bytes] | None = None
    place: Place | None = None
    rss: int = 0

    def port(self, protocol: Protocol) -> int:
        """Where it takes that protocol."""
        assert self.place is not None
        return {"h1": self.place.h1, "h2": self.place.h2, "tls": self.place.tls}[protocol]

    def usage(self) -> tuple[float, int]:
        """CPU seconds used so far and resident octets, over the process tree; remembers the peak of the latter."""
        cpu, rss = 0.0, 0
        for each in self._tree():
            try:
                times = each.cpu_times()
                cpu += times.user + times.system
                rss += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.rss = max(self.rss, rss)
        return cpu, rss

    def private(self) -> int:
        """Octets of the process tree's own, shared memory left out."""
        return sum(each.memory_full_info().uss for each in self._tree())

    def _tree(self) -> list[psutil.Process]:
        assert self.process is not None
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End the process and what it started."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class StartFailed(Exception):
    """A server did not come up; the text is what it said."""


@dataclass
class Peer:
    """A server under test. ``needs``: the program that must exist."""

    name: str
    needs: str
    launches: list[Launch] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """Is it varnishpy, in whatever build?"""
        return self.name.startswith("varnishpy")

    @property
    def installed(self) -> bool:
        """Can it be started here?"""
        return shutil.which(self.needs) is not None

    def launch(self, protocol: Protocol) -> Launch:
        """The process that speaks a protocol, started or not."""
        return next(each for each in self.launches if protocol in each.protocols)

    def stop(self) -> None:
        """End all processes."""
        for each in self.launches:
            each.stop()

    @property
    def rss(self) -> int:
        """Peak resident octets of all its processes seen so far."""
        return sum(each.rss for each in self.launches)


def ours(name: str, program: str) -> Peer:
    """A varnishpy by the path of its program."""
    return Peer(name, program, [Launch(("h1", "h2", "tls"), lambda place: _varnish([program], place, tls=True))])


def peers() -> list[Peer]:
    """Whom we are compared with."""
    return [
        Peer("varnishd", "varnishd", [Launch(("h1", "h2"), _varnishd)]),
        Peer("nginx", "nginx", [Launch(("h1", "h2", "tls"), _nginx)]),
        Peer("haproxy", "haproxy", [Launch(("h1", "h2", "tls"), _haproxy)]),
        Peer("granian", str(BIN / "granian"), [
            Launch(("h1",), lambda place: _granian(place, place.h1, "1")),
            Launch(("h2",), lambda place: _granian(place, place.h2, "2")),
            Launch(("tls",), lambda place: _granian(
                place, place.tls, "2", "--ssl-certificate", str(place.pem), "--ssl-keyfile", str(place.pem))),
        ]),
        Peer("hypercorn", str(BIN / "hypercorn"), [
            Launch(("h1",), lambda place: _hypercorn(place, place.h1)),
            Launch(("h2",), lambda place: _hypercorn(place, place.h2)),
            Launch(("tls",), lambda place: _hypercorn(
                place, place.tls, "--certfile", str(place.pem), "--keyfile", str(place.pem))),
        ]),
    ]  # fmt: skip


def free_port() -> int:
    """A port of loopback that nobody has at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(peer: Peer, launch: Launch, directory: Path, origin: int, pem: Path) -> float:
    """Start a process and wait until it answers; seconds from the start to the first answer.

    :raises StartFailed: it ended, or did not answer within 30 s
    """
    own = Path(directory, f"{peer.name}-{'-'.join(launch.protocols)}".replace(" ", "-"))
    own.mkdir(exist_ok=True)
    launch.place = Place(own, free_port(), free_port(), free_port(), origin, pem)
    with open(own / "bench.log", "wb") as log:
        began = time.perf_counter()
        launch.process = subprocess.Popen(
            launch.command(launch.place), cwd=own, stdout=log, stderr=log, start_new_session=True
        )
    port = launch.port(launch.protocols[0])
    deadline = began + 30
    while not _answers(port, launch.protocols[0]):
        if launch.process.poll() is not None or time.perf_counter() > deadline:
            launch.stop()
            raise StartFailed(f"{peer.name} does not start:\n{(own / 'bench.log').read_text(errors='replace')}")
        time.sleep(0.002)
    return time.perf_counter() - began


def _answers(port: int, protocol: Protocol) -> bool:
    """Does it take connections, and answer where we can ask simply?"""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            if protocol != "h1":
                return True
            sock.sendall(b"GET /1k HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
