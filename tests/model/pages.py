"""The origin of the model: pages whose answers can be told apart, and a record of every answer ever given.

Each answer with a body has a serial number, in its ``X-Serial`` and all through its body, so a client can tell from
what it got which answer it was made of, and whether all of it is there.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from tests.e2e.harness import Exchange, Origin

FAILURES: Final = ("close", "error", "short", "bad chunk", "bad gzip")
"""Ways in which a page may fail: no answer, a 500, fewer octets than announced, broken framing, broken coding."""


@dataclass(frozen=True)
class Plan:
    """How the origin answers for a page from now on; durations in seconds."""

    ttl: int = 100
    grace: int = 0
    keep: int = 0
    size: int = 200
    chunked: bool = False
    gzip: bool = False
    stream: bool = True
    fail: str = ""


@dataclass(frozen=True)
class Page:
    """What does not change about a page.

    :param varies: by the request header X-Variant
    :param includes: paths of pages that are included (ESI)
    :param storage: name of the storage its objects go to; what is in ``small`` may be evicted at any time
    """

    path: str
    varies: bool = False
    keys: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    storage: str = "s0"


@dataclass
class Told:
    """One answer of the origin: a new body, or word (304) that the one with this serial number is still good.

    :param born: the cache's clock when it was given, in seconds ahead of the machine's
    :param number: its place among all answers of the history
    :param ttl: ends early where a soft purge says so
    :param unsure: whether an invalidation took it cannot be known, because it hangs on parts of a second
    """

    number: int
    page: Page
    variant: str
    serial: int
    born: int
    plan: Plan
    ttl: float
    cacheable: bool
    dead: bool = False
    settled: bool = False
    unsure: bool = False


@dataclass(frozen=True)
class Made:
    """A body that the origin made, before any coding."""

    path: str
    variant: str
    body: bytes


@dataclass
class Site:
    """All pages. The origin's threads and the model's use it: `lock` is held for each look and change."""

    pages: dict[str, Page]
    ahead: Callable[[], int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    plans: dict[str, Plan] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    made: dict[int, Made] = field(default_factory=dict)
    current: dict[tuple[str, str], int] = field(default_factory=dict)
    asked: int = 0

    def open(self) -> Origin:
        """A server with these pages."""
        origin = Origin()
        for path in self.pages:
            origin.pages[path] = self.serve
        return origin

    def forget(self) -> None:
        """Another history begins. Serial numbers go on: nothing of the last one may come up again."""
        with self.lock:
            self.plans = {path: Plan() for path in self.pages}
            self.told.clear()
            self.current.clear()

    def change(self, path: str) -> None:
        """The page has another content from now on: a validator of the old one is not confirmed any more."""
        with self.lock:
            for key in [key for key in self.current if key[0] == path]:
                del self.current[key]

    def serve(self, exchange: Exchange) -> None:
        """Answer one request. Runs on a thread of its connection."""
        page = self.pages[exchange.target]
        passed = exchange.method != "GET" or "x-pass" in exchange.headers
        variant = exchange.headers.get("x-variant", "") if page.varies else ""
        with self.lock:
            self.asked += 1
            plan = self.plans[page.path]
            serial = self.current.get((page.path, variant), 0)
            confirmed = not plan.fail and serial and exchange.headers.get("if-none-match") == f'"{serial}"'
            if not confirmed:
                serial = self._make(page, variant, plan, exchange)
            self._tell(page, variant, serial, plan, passed)
            body = self.made[serial].body
        if plan.fail == "close":
            exchange.close = True
        elif confirmed:
            exchange.send(head_of("304 Not Modified", page, plan, serial, []))
        else:
            status = "500 Internal Server Error" if plan.fail == "error" else "200 OK"
            send(exchange, status, page, plan, serial, body)

    def _make(self, page: Page, variant: str, plan: Plan, exchange: Exchange) -> int:
        serial = len(self.made) + 1
        if page.includes:
            parts = "".join(f'<esi:include src="{path}"/>' for path in page.includes)
            body = f"<{serial}>{parts}</{serial}>".encode()
        else:
            sample = f"<{serial} {page.path} {variant} {exchange.body.decode()}>".encode()
            body = (sample * (plan.size // len(sample) + 1))[: plan.size + len(sample)]
        self.made[serial] = Made(page.path, variant, body)
        if not plan.fail and exchange.method == "GET":
            self.current[page.path, variant] = serial
        return serial

    def _tell(self, page: Page, variant: str, serial: int, plan: Plan, passed: bool) -> None:
        cacheable = not passed and not plan.fail and plan.ttl > 0
        self.told.append(
            Told(len(self.told), page, variant, serial, self.ahead(), plan, plan.ttl, cacheable),
        )

    def set(self, path: str, **changes: object) -> None:
        """Change a page's plan."""
        with self.lock:
            self.plans[path] = replace(self.plans[path], **changes)  # type: ignore[arg-type]


def head_of(status: str, page: Page, plan: Plan, serial: int, framing: list[str]) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status}", f"X-Serial: {serial}", f"X-Path: {page.path}", f'ETag: "{serial}"']
    lines += [f"Cache-Control: max-age={plan.ttl}, stale-while-revalidate={plan.grace}", f"X-Keep: {plan.keep}s"]
    lines += [f"X-Storage: {page.storage}", f"X-Stream: {'yes' if plan.stream else 'no'}"]
    if page.varies:
        lines.append("Vary: X-Variant")
    if page.keys:
        lines.append(f"xkey: {' '.join(page.keys)}")
    if page.includes:
        lines.append("X-ESI: yes")
    return "\r\n".join([*lines, *framing, "", ""]).encode()


def send(exchange: Exchange, status: str, page: Page, plan: Plan, serial: int, body: bytes) -> None:
    """Send an answer with a body, or what a failure makes of it."""
    framing = []
    if plan.gzip or plan.fail == "bad gzip":
        body = gzip.compress(body, 1)
        framing.append("Content-Encoding: gzip")
    if plan.fail == "bad gzip":
        body = body[:-6]
    if plan.chunked or plan.fail == "bad chunk":
        framing.append("Transfer-Encoding: chunked")
        last = b"nonsense\r\n" if plan.fail == "bad chunk" else b"0\r\n\r\n"
        pieces = [body[: len(body) // 2], body[len(body) // 2 :]]
        body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces if piece) + last
    else:
        framing.append(f"Content-Length: {len(body)}")
    if plan.fail == "short":
        body = body[:-1]
    if plan.fail in ("short", "bad chunk"):
        framing.append("Connection: close")
        exchange.close = True
    head = head_of(status, page, plan, serial, framing)
    exchange.send(head if exchange.method == "HEAD" else head + body)
