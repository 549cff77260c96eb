"""HTTP/2 as browsers speak it: TLS with ALPN ends in front of us, in hitch or haproxy, and comes on with PROXY."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.conftest import require_program
from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.waiting import wait_for

BIG = 3 << 20
PARTS = 100

PAGE = """<!doctype html><title>t</title><script>
const size = async (answer) => (await (await answer).arrayBuffer()).byteLength;
(async () => {
  const parts = await Promise.all([...Array(%d).keys()].map((n) => size(fetch('/?' + n))));
  const report = {
    parts: parts.filter((length) => length === 1000).length,
    big: await size(fetch('/big')),
    echo: await size(fetch('/echo', { method: 'POST', body: new Uint8Array(300000) })),
    page: performance.getEntriesByType('navigation')[0].nextHopProtocol,
    rest: [...new Set(performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol))],
  };
  await fetch('/report', { method: 'POST', body: JSON.stringify(report) });
})();
</script>"""

HAPROXY = """
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen front
    bind 127.0.0.1:{front} ssl crt {pem} alpn h2,http/1.1
    server cache 127.0.0.1:{back} send-proxy-v2
"""


@dataclass
class Front:
    """A TLS terminator, and what stands behind it."""

    url: str
    trusted: Path
    cache: Cache
    reports: list[dict[str, object]]


@contextmanager
def process(*command: str, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program for the length of the block, with all its children."""
    running_ = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield running_
    finally:
        os.killpg(running_.pid, signal.SIGKILL)
        running_.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def terminator(name: str, directory: Path, front: int, back: int, pem: Path) -> list[str]:
    """The command that starts one."""
    path = require_program(name)
    if name == "haproxy":
        config = directory / "haproxy.cfg"
        config.write_text(HAPROXY.format(front=front, back=back, pem=pem))
        return [path, "-db", "-f", str(config)]
    user = ["--user=nobody"] if os.getuid() == 0 else []
    address = [f"--frontend=[127.0.0.1]:{front}", f"--backend=[127.0.0.1]:{back}"]
    return [path, *address, "--alpn-protos=h2,http/1.1", "--write-proxy-v2=on", "--workers=1", *user, str(pem)]


@pytest.fixture(scope="module", params=["hitch", "haproxy"])
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    reports: list[dict[str, object]] = []

    def report(exchange: Exchange) -> None:
        reports.append(json.loads(exchange.body))
        exchange.answer(b"thanks")

    origin = Origin()
    origin.pages.update(
        {
            "/": lambda exchange: exchange.answer(b"x" * 1000, cache_control="max-age=3600"),
            "/big": lambda exchange: exchange.answer(bytes(BIG), cache_control="max-age=3600"),
            "/echo": lambda exchange: exchange.answer(exchange.body),
            "/page": lambda exchange: exchange.answer((PAGE % PARTS).encode(), content_type="text/html"),
            "/report": report,
        }
    )
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vp-")))
        pem, trusted = directory / "site.pem", directory / "ca.pem"
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        authority.cert_pem.write_to_path(trusted)
        arguments = ["-a", "127.0.0.1:0,PROXY", "-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2"]
        cache = stack.enter_context(running(directory / "v", *arguments))
        port = free_port()
        command = terminator(request.param, directory, port, cache.port, pem)
        started = stack.enter_context(process(*command))
        wait_for(lambda: listens(port) or started.poll() is not None, f"{request.param} to listen")
        assert started.poll() is None
        yield Front(f"https://127.0.0.1:{port}", trusted, cache, reports)
    origin.close()
    assert not origin.errors


@pytest.mark.parametrize(("option", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl(front: Front, program: Callable[[str], str], option: str, version: str) -> None:
    told = ("-w", "%{http_version} %{http_code} %{size_download}")
    before = front.cache.counter("MAIN.h2_sessions")
    done = subprocess.run(
        [program("curl"), "-sS", option, "--cacert", str(front.trusted), f"{front.url}/big", "-o", "/dev/null", *told],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == f"{version} 200 {BIG}", done.stderr
    assert front.cache.counter("MAIN.h2_sessions") - before == (version == "2")


def test_node(front: Front, program: Callable[[str], str]) -> None:
    done = subprocess.run(
        [program("node"), str(Path(__file__).parent / "node_client.js"), front.url],
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(front.trusted)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["problems"] == []
    assert [(answer["status"], answer["size"]) for answer in got["gets"]] == [(200, 1000)] * 200
    assert [(answer["status"], answer["size"]) for answer in got["big"]] == [(200, BIG)] * 5
    assert (got["post"]["status"], got["post"]["size"]) == (200, 1_000_000)


def test_chromium(front: Front, program: Callable[[str], str]) -> None:
    """A page that fetches a hundred parts at once, something large, and posts: all of it over HTTP/2."""
    front.reports.clear()
    with tempfile.TemporaryDirectory(prefix="vp-", ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--ignore-certificate-errors", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        with process(program("chromium"), *options, f"{front.url}/page", environment={"HOME": profile}):
            wait_for(lambda: front.reports, "the page's report", 60.0)
    assert front.reports == [{"parts": PARTS, "big": BIG, "echo": 300000, "page": "h2", "rest": ["h2"]}]
