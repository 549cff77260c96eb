"""``varnishpy demo``: a cache on loopback in front of a small embedded origin, to try things on.

It starts an origin on a free port, a varnishpy in a working directory of its own, prints what to type, and shows each
request that reaches the origin, so that one sees what the cache keeps away from it. Ctrl-C ends both and cleans up.
"""

from __future__ import annotations

import email.utils
import gzip
import os
import queue
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from varnishpy.tools.usage import HELP, VERSION, Option, ToolError, parse

_LISTENING: Final = re.compile(r"Info: Listening on (https?://\S+?)/? ")
_PAGE: Final = """<!doctype html>
<title>varnishpy demo</title>
<h1>It works</h1>
<p>The origin made this page at <b>{now}</b>. Reload: while it is cached, the time stands still.</p>
<ul>
<li><a href="/">/</a>: cached for 10 seconds, with grace</li>
<li><a href="/uncached">/uncached</a>: the origin says no-store</li>
<li><a href="/big">/big</a>: 10 MB, streamed</li>
<li><a href="/slow?seconds=2">/slow</a>: the origin takes its time; many clients share one fetch</li>
<li><a href="/gzip">/gzip</a>: stored compressed, unpacked for clients that want it plain</li>
<li><a href="/esi">/esi</a>: a page put together by the cache</li>
</ul>
"""

_VCL: Final = """vcl 4.1;

backend default {{
    .host = "127.0.0.1";
    .port = "{port}";
}}

sub vcl_backend_response {{
    if (bereq.url == "/esi") {{
        set beresp.do_esi = true;
    }}
}}

sub vcl_deliver {{
    if (obj.hits > 0) {{
        set resp.http.X-Cache = "hit " + obj.hits;
    }} else {{
        set resp.http.X-Cache = "miss";
    }}
}}
"""


class Origin(BaseHTTPRequestHandler):
    """The embedded origin."""

    protocol_version = "HTTP/1.1"
    server_version = "varnishpy-demo-origin"

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if path.path == "/uncached":
            self._answer(f"never stored: {time.time():.3f}\n", "no-store")
        elif path.path == "/big":
            self._answer(b"0123456789abcdef" * (10 << 16), "max-age=60", "application/octet-stream")
        elif path.path == "/slow":
            try:
                seconds = min(10.0, float(parse_qs(path.query).get("seconds", ["1"])[0]))
            except ValueError:
                seconds = 1.0
            time.sleep(seconds)
            self._answer(f"that took {seconds} s\n", "max-age=10")
        elif path.path == "/gzip":
            packed = gzip.compress(b"plain text, stored compressed\n" * 1000)
            self._answer(packed, "max-age=60", "text/plain", {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        elif path.path == "/esi":
            page = '<h1>Outer, 60 s</h1>\n<esi:include src="/part"/>\n<p>end</p>\n'
            self._answer(page, "max-age=60", "text/html")
        elif path.path == "/part":
            self._answer(f"<p>inner, 1 s: {time.time():.3f}</p>\n", "max-age=1", "text/html")
        elif path.path == "/":
            self._answer(_PAGE.format(now=time.strftime("%H:%M:%S")), "max-age=10", "text/html; charset=utf-8")
        else:
            self._answer("no such page\n", "max-age=5", status=404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._answer(self.rfile.read(length), "no-store", "application/octet-stream")

    def _answer(self, body: str | bytes, cache: str, kind: str = "text/plain; charset=utf-8",
                more: dict[str, str] | None = None, status: int = 200) -> None:  # fmt: skip
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", cache)
        self.send_header("Last-Modified", email.utils.formatdate(usegmt=True))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        print(f"  origin: {format % args}", flush=True)


class _OriginServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A cache that hangs up on its origin is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            print(f"  origin: {type(error).__name__}: {error}", file=sys.stderr)


PROGRAM: Final = "varnishpy demo"
OPTIONS: Final = [
    Option("a:", "[-a <address:port>]", "Where the cache listens (default: 127.0.0.1:6081)", "listen"),
    HELP,
    Option("n:", "[-n <dir>]", "Working directory (default: a temporary one)", "workdir"),
    Option("p:", "[-p <name=value>]", "A parameter for the cache; may be given many times"),
    VERSION,
]


def main(argv: list[str]) -> int:
    """Run the demo until Ctrl-C, or until nobody reads what it prints; returns the exit status."""
    try:
        given = parse(PROGRAM, OPTIONS, argv, error_status=2)
        options = dict(given)
        listen = options.get("a", "127.0.0.1:6081")
        if "/" in listen.split(",")[0]:
            raise ToolError(f"-a takes an address and a port, not a Unix socket ({listen})", 2)
    except ToolError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    parameters = [value for letter, value in given if letter == "p"]
    temporary = None if "n" in options else tempfile.mkdtemp(prefix="varnishpy-demo-")
    workdir = os.path.abspath(temporary or options["n"])
    origin = _OriginServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, name="origin", daemon=True).start()
    try:
        return _run(listen, parameters, workdir, origin.server_address[1])
    except BrokenPipeError:
        return 0
    finally:
        origin.shutdown()
        origin.server_close()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _run(listen: str, parameters: list[str], workdir: str, origin_port: int) -> int:
    os.makedirs(workdir, exist_ok=True)
    vcl = os.path.join(workdir, "demo.vcl")
    with open(vcl, "w", encoding="utf-8") as file:
        file.write(_VCL.format(port=origin_port))
    command = [sys.executable, "-m", "varnishpy", "-F", "-a", listen, "-f", vcl, "-n", workdir]
    command += ["-p", "feature=+http2"]
    dashboard = next((text[13:] for text in parameters if text.startswith("stats_listen=")), "")
    if not dashboard:
        dashboard = f"127.0.0.1:{_free_port()}"
        command += ["-p", f"stats_listen={dashboard}"]
    for parameter in parameters:
        command += ["-p", parameter]
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    # a session of its own, so that Ctrl-C reaches it once, from us
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        url = _wait_until_up(daemon)
        if not url:
            return 2
        _explain(url, workdir, origin_port, dashboard)
        return _wait(daemon)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        return 0
    finally:
        if daemon.poll() is None:
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        os.unlink(vcl)


def _wait(daemon: subprocess.Popen[str]) -> int:
    """Until the daemon ends: its status. A reader of our output that goes away (``| head``) ends it as well."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # only errors: a pipe that nobody reads any more
    while True:
        try:
            return daemon.wait(0.5)
        except subprocess.TimeoutExpired:
            if poll.poll(0):
                # what the origin still prints must not fail at the interpreter's end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0


def _wait_until_up(daemon: subprocess.Popen[str]) -> str:
    """The URL at which the daemon says that it serves; its messages, and nothing, if it does not."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    up = threading.Event()
    threading.Thread(target=_relay, args=(daemon.stderr, said, up), daemon=True).start()
    seen = []
    deadline = time.monotonic() + 30
    while line := _next(said, deadline):
        seen.append(line)
        found = _LISTENING.match(line)
        if found:
            up.set()
            return found[1]
    sys.stderr.write("".join(seen) or "Error: the daemon does not start\n")
    if any("already in use" in line for line in seen):
        sys.stderr.write(f"(another address: {_own_name()} demo -a 127.0.0.1:PORT)\n")
    return ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _next(said: queue.SimpleQueue[str], deadline: float) -> str:
    """The next line; empty at the end of all lines, and when there is none by then."""
    try:
        return said.get(timeout=max(deadline - time.monotonic(), 0.0))
    except queue.Empty:
        return ""


def _relay(stream: Iterable[str], said: queue.SimpleQueue[str], up: threading.Event) -> None:
    """Hand the daemon's messages over until it is up; from then on they are shown."""
    for line in stream:
        if not up.is_set():
            said.put(line)
        elif not line.startswith("Debug:"):
            sys.stderr.write(f"  varnishpy: {line}")
    said.put("")


def _own_name() -> str:
    """What to type for ``varnishpy``: the name alone if the shell finds it, else where it is."""
    own = os.path.abspath(sys.argv[0])
    if os.path.basename(own) != "varnishpy":
        return f"{shlex.quote(sys.executable)} -m varnishpy"
    found = shutil.which("varnishpy")
    return "varnishpy" if found and os.path.samefile(found, own) else shlex.quote(own)


def _explain(url: str, workdir: str, origin_port: int, dashboard: str) -> None:
    command = _own_name()
    print(
        f"""varnishpy is serving {url}/ in front of an origin on 127.0.0.1:{origin_port}

Watch it in a browser: http://{dashboard}/

Try, in another terminal (or open {url}/ in a browser):

  # twice: the second answer is a hit (X-Varnish has two ids, Age)
  curl -i {url}/
  # the same over HTTP/2, at once or after an h2c upgrade
  curl -i --http2-prior-knowledge {url}/
  curl -i --http2 {url}/
  # never stored
  curl -sI {url}/uncached
  # two clients, one fetch
  curl -s '{url}/slow?seconds=2' & curl -s '{url}/slow?seconds=2'
  # a range of a 10 MB object
  curl -s -o /dev/null -r 0-99 -D - {url}/big

  # every transaction, counters, the management CLI, metrics
  {command} log -n {workdir}
  {command} stat -n {workdir}
  {command} adm -n {workdir} ban req.url == /
  curl --unix-socket {workdir}/stats.sock http://v/metrics

Requests that reach the origin are shown below; Ctrl-C ends.
""",
        flush=True,
    )
