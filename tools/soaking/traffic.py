"""Clients that make mixed traffic at a given rate and check every answer."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import random
import socket
import ssl
import threading
import time
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from tests.e2e.h2client import H2Client
from tools.soaking.site import Mistake, PartFailed, Site

PATIENCE: Final = 30.0
KINDS: Final = "ccccccczzzvvveekkbpppu"
SIZES: Final = {"b": (200_000, 1_000_000), "u": (10, 100)}


@dataclass
class Tally:
    """What came of all requests, kept by all clients together."""

    outcomes: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=20))  # the last ones
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, mistake: str = "", error: str = "") -> None:
        """One request is over."""
        now = time.strftime("%H:%M:%S")
        with self.lock:
            self.outcomes[outcome] += 1
            if mistake:
                self.mistakes.append(f"{now} {mistake}")
            if error:
                self.errors.append(f"{now} {error}")

    def count_sent(self, number: int = 1) -> None:
        """Requests leave."""
        with self.lock:
            self.sent += number


@dataclass(frozen=True)
class Want:
    """One request."""

    path: str
    variant: str
    method: str
    gzip: bool
    body: bytes = b""
    range: tuple[int, int] | None = None

    def headers(self) -> dict[str, str]:
        """Its headers."""
        rows = {"x-variant": self.variant, "accept-encoding": "gzip" if self.gzip else "identity"}
        if self.range:
            rows["range"] = f"bytes={self.range[0]}-{self.range[1]}"
        return rows


def path_of(kind: str, number: int) -> str:
    """A page's path; its size follows from its number."""
    low, high = SIZES.get(kind, (0, 20_000))
    return f"/{kind}/{number}/{low + (high - low) * (number * 7919 % 100) // 100}"


def draw(rng: random.Random) -> Want:
    """A request drawn by lot."""
    kind = rng.choice(KINDS)
    path = path_of(kind, rng.randrange(40 if kind != "b" else 8))
    if kind == "u":
        return Want(path, "a", "POST", False, rng.randbytes(rng.choice([0, 100, 20_000, 100_000])))
    if kind in "ckb" and rng.random() < 0.1:
        first = rng.randrange(100)
        return Want(path, "a", "GET", False, range=(first, first + rng.randrange(1000)))
    method = "HEAD" if rng.random() < 0.05 else "GET"
    return Want(path, rng.choice("ab"), method, rng.random() < 0.5)


class Client(threading.Thread):
    """One client: connections of one sort, used again until they end.

    :param sort: "h1", "h2", "tls", "pipe", "quit"
    :param rate: requests per second
    """

    def __init__(self, sort: str, port: int, site: Site, tally: Tally, rate: float, seed: int) -> None:
        super().__init__(name=f"{sort} {seed}", daemon=True)
        self._sort = sort
        self._port = port
        self._site = site
        self._tally = tally
        self._pause = 1.0 / rate
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self._http1: http.client.HTTPConnection | None = None
        self._http2: H2Client | None = None

    def stop(self) -> None:
        """End after the request that is under way."""
        self._over.set()

    def run(self) -> None:
        """Requests, until `stop`."""
        while not self._over.wait(self._rng.uniform(0.0, 2.0) * self._pause):
            try:
                self._one()
            except Mistake as error:
                self._tally.note("mistake", f"{self.name}: {error}")
                self._drop()
            except PartFailed:
                self._tally.note(f"{self._sort}: a part is missing")
                self._drop()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self._tally.note(f"{self._sort}: {type(error).__name__}", error=f"{self.name}: {error}")
                self._drop()
        self._drop()

    def _drop(self) -> None:
        if self._http1 is not None:
            self._http1.close()
        if self._http2 is not None:
            self._http2.close()
        self._http1 = self._http2 = None

    def _one(self) -> None:
        if self._sort == "pipe":
            self._pipe()
        elif self._sort == "quit":
            self._quit()
        elif self._sort == "h2":
            self._several()
        else:
            self._plain()
        if self._rng.random() < 0.02:
            self._drop()

    # -- sorts of clients --------------------------------------------------------------------------------------------

    def _connect(self) -> http.client.HTTPConnection:
        if self._sort == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # a certificate made for tests
            return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=PATIENCE, context=context)
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

    def _plain(self) -> None:
        want = draw(self._rng)
        if self._http1 is None or self._http1.sock is None:
            self._http1 = self._connect()
        since = time.monotonic()
        self._tally.count_sent()
        self._http1.request(want.method, want.path, want.body or None, want.headers())
        response = self._http1.getresponse()
        body = response.read()
        self._judge(want, response.status, response.getheader("Content-Encoding"), body, since)

    def _several(self) -> None:
        if self._http2 is None or self._http2.closed or self._http2.goaway is not None:
            self._drop()
            self._http2 = H2Client(self._port)
            self._http2.sock.settimeout(PATIENCE)
        client = self._http2
        wants = [draw(self._rng) for _ in range(self._rng.randint(1, 5))]
        since = time.monotonic()
        self._tally.count_sent(len(wants))
        numbers = [client.request(w.path, w.method, w.body or None, **w.headers()) for w in wants]
        client.finish(*numbers)
        for want, number in zip(wants, numbers, strict=True):
            stream = client.streams.pop(number)
            if not stream.ended:
                self._tally.note(f"h2: reset {stream.reset}")
                continue
            self._judge(want, stream.status, stream.headers.get("content-encoding"), bytes(stream.body), since)

    def _pipe(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as sock:
            self._tally.count_sent()
            sock.sendall(b"GET /x/0/0 HTTP/1.1\r\nHost: test\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(65536)
                if not data:
                    raise ConnectionError("closed before the pipe was open")
                head += data
            if not head.startswith(b"HTTP/1.1 101"):
                self._tally.note(f"pipe: {head[9:12].decode('latin-1')}")
                return
            sent = self._rng.randbytes(self._rng.randrange(1, 30_000))
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            back = head.partition(b"\r\n\r\n")[2] + b"".join(iter(lambda: sock.recv(65536), b""))
        if back != sent[: len(back)]:
            raise Mistake("a pipe gave other octets back")
        self._tally.note("ok" if len(back) == len(sent) else "pipe: cut off")

    def _quit(self) -> None:
        """A client that goes away in the middle."""
        want = draw(self._rng)
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as sock:
            self._tally.count_sent()
            sock.sendall(f"GET {want.path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            if self._rng.random() < 0.7:
                sock.recv(self._rng.randrange(1, 2000))
        self._tally.note("quit")

    # -- judging ---------------------------------------------------------------------------------------------------

    def _judge(self, want: Want, status: int, coding: str | None, body: bytes, since: float) -> None:
        # 400 is for a request body that could not be received to its end
        if status >= 500 or (status == 400 and want.method == "POST"):
            self._tally.note(f"{self._sort}: {status}")
            return
        if want.method == "HEAD":
            if body:
                raise Mistake(f"a body for HEAD {want.path}")
        elif status == 206 or (status == 416 and want.range):
            length = want.range[1] - want.range[0] + 1 if want.range else -1
            if status == 206 and len(body) > length:
                raise Mistake(f"{want.path}: {len(body)} octets in answer to a range of {length}")
        elif status == 200:
            with contextlib.suppress(OSError, EOFError, zlib.error):
                body = gzip.decompress(body) if coding == "gzip" else body
            self._site.check(want.path, want.variant, body, since)
            if want.method == "POST" and not body.endswith(f"{len(want.body)} {sum(want.body)}".encode()):
                raise Mistake(f"{want.path}: the body sent did not arrive")
        else:
            raise Mistake(f"{want.path}: status {status}")
        self._tally.note("ok")
