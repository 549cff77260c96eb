"""An origin whose every answer tells which page it is, which answer, and when it was given; and what is checked of it.

A path says what the page is like: ``/KIND/NUMBER/SIZE``. What comes back begins with ``SERIAL PATH VARIANT`` and a line
feed; the rest follows from these, so nothing has to be remembered to know every octet of it.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from dataclasses import dataclass
from typing import Final

from tests.e2e.harness import Exchange, Origin, Page

TTL: Final = {"c": 5, "z": 8, "v": 3, "e": 4, "k": 1, "b": 30}
"""Seconds that a kind is fresh: plain, gzip, with Vary, with ESI, kept to be asked about, big. Others are not kept."""

GRACE: Final = {"c": 3}
KEPT: Final = 120.0  # seconds for which it is remembered when an answer was given
_SYNTHETIC: Final = b"<!DOCTYPE html>"
_BLOCK: Final = bytes(range(33, 127))


def body_of(serial: int, path: str, variant: str) -> bytes:
    """The whole body of an answer."""
    kind, number, size = path.strip("/").split("/")
    head = f"{serial} {path} {variant}\n".encode()
    if kind == "e":
        parts = "".join(f'<esi:include src="/{each}/{number}/{size}"/>' for each in "cv")
        return head + parts.encode()
    start = serial % len(_BLOCK)
    block = _BLOCK[start:] + _BLOCK[:start]
    return head + (block * (int(size) // len(block) + 1))[: int(size)]


@dataclass
class Mistake(Exception):
    """An answer that should never have been given; the text says why."""

    text: str

    def __str__(self) -> str:
        return self.text


class PartFailed(Exception):
    """A page is right but for a part, in whose place is what the cache says of a failure."""


class Site:
    """The origin. ``answers``: how many requests it has answered."""

    def __init__(self) -> None:
        self._serials = itertools.count(1)
        self._lock = threading.Lock()
        self._born: dict[int, float] = {}
        self.answers = 0
        self.ages = True  # answers are held to their age
        self.origin = Origin()
        self.origin.pages = _EveryPage(self.serve)
        self.banned: dict[str, float] = {}  # when a page was last banned

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.origin.port)

    def close(self) -> None:
        """End it."""
        self.origin.close()

    def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.target
        if exchange.headers.get("upgrade"):
            self._pipe(exchange)
            return
        kind = path.split("/")[1]
        variant = exchange.headers.get("x-variant", "") if kind == "v" else ""
        with self._lock:
            self.answers += 1
            serial = next(self._serials)
            now = time.monotonic()
            self._born[serial] = now
            while self._born and next(iter(self._born.values())) < now - KEPT:
                del self._born[next(iter(self._born))]
        tag = exchange.headers.get("if-none-match", "").strip('"').split("-")
        if kind == "k" and tag[0] and serial % 4:
            with self._lock:
                self._born[int(tag[0])] = now  # as good as new; in its old place, so forgotten a little earlier
            exchange.send(self._head("304 Not Modified", path, kind, int(tag[0]), []))
            return
        body = body_of(serial, path, variant)
        if kind == "u":
            body += f"{len(exchange.body)} {sum(exchange.body)}".encode()
        fields = []
        if kind == "z":
            body = gzip.compress(body, 1)
            fields.append("Content-Encoding: gzip")
        if int(path.split("/")[2]) % 3 == 0:
            fields.append("Transfer-Encoding: chunked")
            pieces = [body[n : n + 5000] for n in range(0, len(body), 5000)]
            body = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in pieces) + b"0\r\n\r\n"
        else:
            fields.append(f"Content-Length: {len(body)}")
        head = self._head("200 OK", path, kind, serial, fields)
        exchange.send(head if exchange.method == "HEAD" else head + body)

    @staticmethod
    def _head(status: str, path: str, kind: str, serial: int, fields: list[str]) -> bytes:
        ttl = TTL.get(kind)
        control = f"max-age={ttl}, stale-while-revalidate={GRACE.get(kind, 0)}" if ttl else "private, no-store"
        rows = [f"HTTP/1.1 {status}", f"Cache-Control: {control}", f'ETag: "{serial}"', f"X-Path: {path}"]
        if kind == "v":
            rows.append("Vary: X-Variant")
        if kind == "e":
            rows.append("X-ESI: yes")
        rows.append(f"xkey: n{path.split('/')[2]}")
        return "\r\n".join([*rows, *fields, "", ""]).encode()

    @staticmethod
    def _pipe(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
        exchange.close = True
        exchange.sock.settimeout(30)
        while data := exchange.sock.recv(65536):
            exchange.sock.sendall(data)
        exchange.sock.shutdown(socket.SHUT_WR)

    # -- checking --------------------------------------------------------------------------------------------------

    def check(self, path: str, variant: str, body: bytes, since: float) -> None:
        """Is this an answer for that page that may be given now?

        :param since: when the request was made (monotonic clock)
        :raises Mistake: it is not
        :raises PartFailed: as far as it could be fetched
        """
        head, _, _ = body.partition(b"\n")
        words = head.decode("latin-1").split(" ")
        if len(words) != 3 or not words[0].isdigit():
            raise Mistake(f"{path}: no answer of the origin: {body[:80]!r}")
        kind = path.split("/")[1]
        wanted = variant if kind == "v" else ""
        serial = int(words[0])
        if words[1] != path or words[2] != wanted:
            raise Mistake(f"{path} {wanted}: an answer for {words[1]} {words[2]}")
        self._check_age(path, kind, serial, since)
        whole = body_of(serial, path, wanted)
        if kind == "e":
            self._check_parts(path, body[len(head) + 1 :], variant, since)
        elif kind == "u":
            if not body.startswith(whole):
                raise Mistake(f"{path}: a wrong body")
        elif body != whole:
            raise Mistake(f"{path}: {len(body)} octets of {len(whole)}, or others")

    def _check_parts(self, path: str, rest: bytes, variant: str, since: float) -> None:
        _, number, size = path.strip("/").split("/")
        for each in "cv":
            if rest.startswith(_SYNTHETIC):
                raise PartFailed(path)
            end = rest.index(b"\n") + 1 + int(size) if b"\n" in rest else 0
            self.check(f"/{each}/{number}/{size}", variant, rest[:end], since)
            rest = rest[end:]
        if rest:
            raise Mistake(f"{path}: too long by {len(rest)}")

    def _check_age(self, path: str, kind: str, serial: int, since: float) -> None:
        if not self.ages:
            return
        with self._lock:
            born = self._born.get(serial)
            banned = self.banned.get(path, 0.0)
        if born is None:
            raise Mistake(f"{path}: answer {serial} is older than {KEPT:g} s")
        allowed = TTL.get(kind, 0) + GRACE.get(kind, 0) + 2.0
        if since - born > allowed:
            raise Mistake(f"{path}: answer {serial} is {since - born:.1f} s old, {allowed:g} are allowed")
        if born < banned - 5.0 and since > banned:
            raise Mistake(
                f"{path}: answer {serial} was banned {since - banned:.1f} s before, at the age of {banned - born:.1f}"
            )

    def ban(self, path: str) -> None:
        """A page has been banned, just now."""
        with self._lock:
            self.banned[path] = time.monotonic()


class _EveryPage(dict[str, Page]):
    """The same function for each path."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def get(self, path: str, default: object = None) -> Page:
        return self._page
